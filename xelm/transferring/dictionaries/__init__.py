"""Bilingual dictionaries from FreeDict, tables and MUSE files."""
