"""How well a model puts translations side by side, and training on pairs so that it does so better."""
