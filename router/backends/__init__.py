"""Ready-made language identifiers that a run can use instead of one trained on its own text, a file each."""
