"""Plans side by side on one base and one dense baseline, random plans among them."""
