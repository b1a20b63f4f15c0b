"""Requests sent on to other engines, each to the expert that its text calls for; no model is loaded here."""
