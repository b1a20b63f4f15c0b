"""Log-probabilities of texts under weighted experts."""
