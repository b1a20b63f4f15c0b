"""Text in many languages: found, read strictly, split, tokenised once, packed without padding, drawn."""
