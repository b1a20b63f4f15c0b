"""A task that is labelled in some languages, answered in the others: one experiment for every technique."""
