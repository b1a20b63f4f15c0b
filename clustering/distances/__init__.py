"""How far languages are apart: URIEL, URIEL+, one's own distances, and the kinds to choose from."""
