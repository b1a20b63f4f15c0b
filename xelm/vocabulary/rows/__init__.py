"""First embeddings of new pieces."""
