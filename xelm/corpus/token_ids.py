"""Token ids of many texts, on all cores and without what nobody reads."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

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
