"""A model or a run with only the pieces that some languages need."""
