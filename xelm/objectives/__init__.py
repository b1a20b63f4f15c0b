"""Objectives of models: to predict the next token, to fill in tokens. A new objective is a new file here."""
