"""Kinds of tasks, one file each; a new one is a new file here."""
