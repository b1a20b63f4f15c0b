"""A run directory: its files, lock, manifest and changes."""
