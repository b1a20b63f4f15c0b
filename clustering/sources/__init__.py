"""Which languages to transfer from: signals, rankers and reports."""
