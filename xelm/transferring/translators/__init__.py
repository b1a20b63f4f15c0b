"""Translators: a command, a model, a function; what they gave is kept."""
