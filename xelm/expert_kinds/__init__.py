"""Kinds of expert: which weights train, and how they are saved, loaded and served. A new kind is one new file here."""
