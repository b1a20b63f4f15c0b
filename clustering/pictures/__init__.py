"""Pictures on pages: a map of languages and a tree that can be zoomed, as inline SVG that needs no other file."""
