"""Jobs in a queue, their rows together in passes over a run; no HTTP here."""
