"""What a run records: manifest, ledger, results, held-out text."""
