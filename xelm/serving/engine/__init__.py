"""Jobs in a queue, whose rows share passes over a run; there is no HTTP here."""
