"""Experts moved part of the way back to the base: nearly all of their gain for half of what they forgot."""
