"""Text with gaps, as encoder-decoder models learn it: which spans are cut out, their signs, batches and scores."""
