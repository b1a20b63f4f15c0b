"""Signals of source rankings beside those of `clustering.sources.signals`, a file each; others come by entry points."""
