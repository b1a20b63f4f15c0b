"""One training: a model, an order of blocks, a schedule, checkpoints that resume to the bit on CPU."""
