"""Between a run and its answers: its models in memory, streams of text, a transformers model, an HTTP server."""
