"""The report of a transfer experiment: as values, Markdown and a page."""
