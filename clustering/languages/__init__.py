"""Languages: codes, names, facts, and words of text."""
