"""Languages as points: codes, typology, overlap, clusters and source ranking. No torch here."""
