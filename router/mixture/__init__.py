"""Several experts as one causal model."""
