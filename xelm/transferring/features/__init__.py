"""What texts are turned into for a frozen head: hidden states of a model, or n-grams; kept once for each text."""
