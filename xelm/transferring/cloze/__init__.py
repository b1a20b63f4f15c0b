"""Cloze templates: questions with a gap, and the words that stand for labels, by language."""
