"""Whether a model is made already, the same or otherwise, and what happens then."""
