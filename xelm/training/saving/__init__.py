"""Checkpoints are written while the training goes on."""
