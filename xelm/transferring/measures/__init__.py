"""Figures of answers, with intervals."""
