"""Trainings from one base that are compared: in all of them a language brings the same blocks."""
