"""Token ids of many texts, on all cores and without what nobody reads."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from xelm.corpus.tokens.word_ids import word_ids

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


def token_ids(texts: list[str], tokenizer: PreTrainedTokenizerBase) -> list[list[int]]:
    """Token ids of each text, without special tokens; one that a text spells is text.

    A tokenizer of `tokenizers` is asked for ids alone, without the offsets and masks that transformers would make of
    them. Whether that gives the same is seen from the first text, since a tokenizer's class may do more.
    """
    # A text longer than the context is cut later without a warning.
    options: dict[str, Any] = {"add_special_tokens": False, "split_special_tokens": True, "verbose": False}
    backend: Any = getattr(tokenizer, "backend_tokenizer", None)
    if not texts or not hasattr(backend, "encode_batch_fast"):
        return list(tokenizer(texts, **options)["input_ids"]) if texts else []
    first = tokenizer(texts[:1], **options)["input_ids"][0]  # and leaves the backend set as the options say
    found = [encoding.ids for encoding in backend.encode_batch_fast(texts, add_special_tokens=False)]
    return found if found[0] == first else list(tokenizer(texts, **options)["input_ids"])


class DocumentIds:
    """Token ids of documents as the bytes of an array, which is what a store keeps.

    Args:
        tokenizer: The tokenizer.
        dtype: Of the ids.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase, dtype: Any):
        self._tokenizer, self._dtype = tokenizer, dtype
        backend: Any = getattr(tokenizer, "backend_tokenizer", None)
        self._words = word_ids(backend, dtype) if hasattr(backend, "encode_batch_fast") else None

    def __call__(self, texts: list[str]) -> list[bytes]:
        """The ids of each text, as `token_ids` gives them."""
        if self._words is not None and texts:
            first = self._bytes(token_ids(texts[:1], self._tokenizer))  # and sets the backend for text without specials
            found = self._words(texts)
            if found is not None and found[0] == first[0]:
                return found
        return self._bytes(token_ids(texts, self._tokenizer))

    def _bytes(self, rows: list[list[int]]) -> list[bytes]:
        return [np.asarray(ids, dtype=self._dtype).tobytes() for ids in rows]
