"""Trainings from one base that are compared: in all of them, a language is read in the same blocks."""
