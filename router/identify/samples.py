"""A fixed sample of a language's text: most of it for counting, a little held out for measuring."""

from __future__ import annotations

import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from clustering.errors import BadInput
from router.letters import plain_letters

MAX_CHARACTERS_READ = 3_000_000
MAX_CHARACTERS_KEPT = 300_000
PIECE_LENGTH = 500
HELD_OUT_SHARE = 0.1
MAX_PIECES_HELD_OUT = 40
SPAN_LENGTHS = (10, 20, 40, 80, 200)


@dataclass(frozen=True)
class TextSample:
    """Pieces of about 500 characters of one language, in random order."""

    train: tuple[str, ...]
    held_out: tuple[str, ...]


def sample_texts(language: str, texts: Iterable[str], seed: int) -> TextSample:
    """Read texts and draw the sample.

    Args:
        language: Name in messages.
        texts: Read until 3 million characters; documents may be of any length.
        seed: Chooses the pieces.

    Returns:
        At most 300,000 characters. A text of one piece is both counted and measured on.

    Raises:
        BadInput: If the texts have no letters.
    """
    pieces: list[str] = []
    num_read = 0
    for text in texts:
        pieces.extend(text[i : i + PIECE_LENGTH] for i in range(0, len(text), PIECE_LENGTH))
        num_read += len(text)
        if num_read >= MAX_CHARACTERS_READ:
            break
    pieces = [piece for piece in pieces if plain_letters(piece)]
    if not pieces:
        raise BadInput(f"{language}: no text with letters was given. Leave the language out, or give it text.")
    random.Random(seed).shuffle(pieces)
    num_held_out = min(MAX_PIECES_HELD_OUT, int(len(pieces) * HELD_OUT_SHARE))
    if num_held_out == 0:
        return TextSample(tuple(pieces), tuple(pieces))
    return TextSample(tuple(_first(pieces[num_held_out:])), tuple(pieces[:num_held_out]))


def random_spans(texts: Sequence[str], num_spans: int, seed: int) -> list[str]:
    """Cut spans of mixed lengths (`SPAN_LENGTHS` characters) at random places; those without letters are redrawn.

    Args:
        texts: Texts with letters.
        num_spans: Number of spans.
        seed: Chooses places and lengths.
    """
    generator = random.Random(seed)
    spans: list[str] = []
    while len(spans) < num_spans:
        text, length = generator.choice(texts), generator.choice(SPAN_LENGTHS)
        start = generator.randrange(max(1, len(text) - length + 1))
        span = text[start : start + length]
        spans.append(span if plain_letters(span) else text)
    return spans


def _first(pieces: list[str]) -> list[str]:
    kept, num_kept = [], 0
    for piece in pieces:
        kept.append(piece)
        num_kept += len(piece)
        if num_kept >= MAX_CHARACTERS_KEPT:
            break
    return kept
