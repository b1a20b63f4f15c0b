"""What a model learns to do with text: predict the next token, fill in tokens. A new objective is a new file here."""
