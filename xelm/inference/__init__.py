"""A run that answers: routing, generation, scoring."""
