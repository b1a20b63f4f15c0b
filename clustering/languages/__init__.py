"""Languages: codes and names, words, and the text of a corpus."""
