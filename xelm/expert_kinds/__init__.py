"""Kinds of expert: what of the base trains, how it is saved, loaded and served. A new kind is one new file here."""
