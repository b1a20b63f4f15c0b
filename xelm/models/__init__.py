"""Models: loading a base from hub or path, making a small new one, tokenizers."""
