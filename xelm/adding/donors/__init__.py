"""Which model a new language branches from: signals that need no training, then trials of the likeliest starts."""
