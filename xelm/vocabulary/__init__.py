"""Vocabularies: pieces of a new language's own, and what the same text costs in each language."""
