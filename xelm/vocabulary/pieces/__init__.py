"""New pieces: learned from text, and counted in it."""
