"""The recipe: what to train, from what, and how."""
