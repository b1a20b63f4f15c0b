"""Text corpora on disk or on the hub: which files are of which language, and their documents one at a time."""
