"""From languages to weights over experts."""
