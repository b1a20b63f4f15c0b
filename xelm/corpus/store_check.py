"""Check that a stored language has not changed since it was written, with or without checksums."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from clustering.errors import BadInput
from clustering.files import read_json
from xelm.corpus.intact import damage, is_sealed

HELDOUT = "heldout.jsonl"


def store_damage(folder: Path, vocab_size: int | None = None, first_token: int | None = None) -> str | None:
    """The fault of a store, in words that begin with a file's name; None if it is intact.

    If a store of an older version has no checksums, it is checked that its files fit each other.

    Args:
        folder: Folder of the store.
        vocab_size: If given, tokens of a store without checksums must be below it.
        first_token: If given, every document of a store without checksums must begin with it.
    """
    if is_sealed(folder):
        return damage(folder)
    try:
        return _inconsistency(folder, vocab_size, first_token)
    except (BadInput, OSError, EOFError, KeyError, TypeError, ValueError, RecursionError) as error:
        return f"{type(error).__name__}: {error}"


def _inconsistency(folder: Path, vocab_size: int | None, first_token: int | None) -> str | None:
    info = read_json(folder / "counts.json")
    num_tokens, num_documents = int(info["counts"]["tokens"]), int(info["counts"]["documents"])
    dtype = np.dtype(info["dtype"])
    num_bytes = (folder / "tokens.bin").stat().st_size
    if num_bytes != num_tokens * dtype.itemsize:
        return f"tokens.bin holds {num_bytes:,} bytes where {num_tokens * dtype.itemsize:,} were written"
    starts = np.load(folder / "starts.npy", allow_pickle=False)
    if len(starts) != num_documents or starts[0] != 0 or starts[-1] >= num_tokens or (np.diff(starts) <= 0).any():
        return "starts.npy does not fit counts.json"
    tokens = np.memmap(folder / "tokens.bin", dtype=dtype, mode="r")
    begins_right = first_token is None or bool((tokens[starts] == first_token).all())
    if not begins_right or (vocab_size is not None and int(tokens.max()) >= vocab_size):
        return "tokens.bin holds what no tokenizer wrote"
    for line in (folder / HELDOUT).read_text(encoding="utf-8").split("\n"):
        if line and not isinstance(json.loads(line)["text"], str):
            return f"{HELDOUT} holds other things than documents"
    return None
