"""What training on one language does to the others, measured by short branches from the base."""
