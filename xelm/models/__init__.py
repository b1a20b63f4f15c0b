"""Models: loading a base from hub or path, making a small new one, turning a base into an expert."""
