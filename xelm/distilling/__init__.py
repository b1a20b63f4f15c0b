"""Experts teach one student: their mixture under the router's weights, on text of all languages."""
