"""Text as the words inside which a tokenizer looks for pieces."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from typing import Any

_SPACES = "Ġ▁ĊĉčĀ"
"""The letters that stand for white space: the byte-level space, line feed, tab and others; SentencePiece's space."""
_WORD = re.compile(f"[{_SPACES}]*[^{_SPACES}]+|[{_SPACES}]+$")


def words_of(backend: Any, texts: Iterable[str]) -> Counter[str]:
    """Words of the texts with their counts, spelled as the tokenizer's pieces are.

    A tokenizer that cuts no words would let a piece reach over several of them, which serves only the text it was
    learned from; so words end before white space in any case.

    Args:
        backend: A tokenizer of the `tokenizers` library.
        texts: Any texts.
    """
    found: Counter[str] = Counter()
    for text in texts:
        clean = backend.normalizer.normalize_str(text) if backend.normalizer is not None else text
        pre = backend.pre_tokenizer
        parts = [part for part, _ in pre.pre_tokenize_str(clean)] if pre is not None else [clean]
        for part in parts:
            found.update(_WORD.findall(part))
    return found
