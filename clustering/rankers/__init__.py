"""Rankers of sources learned from measured transfer."""
