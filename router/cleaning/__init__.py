"""Text as it comes from the web, reduced to what was said in a language."""
