"""A language added to, or removed from, a finished run."""
