"""The course of a training: its learning rates, and the point from which a longer one goes on."""
