"""Labelled text of a task, a language a file, and what must not be on both sides of a split."""
