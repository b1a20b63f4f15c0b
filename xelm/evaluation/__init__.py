"""How well each model of a run reads each language."""
