"""Documents cut into sentences, on which routing is measured."""

from __future__ import annotations

import re
from collections.abc import Sequence

SHORTEST_SENTENCE = 50
"""Characters."""
MOST_SENTENCES = 200
"""Of each language."""
_SENTENCE_END = re.compile(r"(?<=[.!?;։።။।])\s+|(?<=[。！？])|\n+")


def sentences_of(texts: Sequence[str]) -> list[str]:
    """Sentences and verses of at least `SHORTEST_SENTENCE` characters, shorter ones joined to the next; at most
    `MOST_SENTENCES`, spread over the texts."""
    sentences = []
    for text in texts:
        part = ""
        for piece in _SENTENCE_END.split(text):
            part = f"{part} {piece}".strip()
            if len(part) >= SHORTEST_SENTENCE:
                sentences.append(part)
                part = ""
    step = max(1, len(sentences) // MOST_SENTENCES)
    return sentences[::step][:MOST_SENTENCES]
