"""Effects of training on one language on the others, measured by short branches from the base."""
