"""Texts with gaps: which spans are left out, how they are written, batched and scored; for `denoise`."""
