"""Plans: which languages share an expert."""
