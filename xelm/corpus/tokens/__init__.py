"""From text to token ids, fast."""
