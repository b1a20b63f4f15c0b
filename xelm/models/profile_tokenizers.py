"""Source ranking with tokenizers by name: loads them for `clustering`, which knows no transformers."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from functools import lru_cache
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from clustering.errors import BadInput
from clustering.sources.candidates import CandidateRules
from clustering.sources.given import Given, read_signals
from clustering.sources.profiles import Tokenizer, profile_texts
from clustering.sources.rank import Corpora, Tokenize
from clustering.sources.rank import rank_sources as _rank_sources

if TYPE_CHECKING:
    from clustering.plans.effects import Effects
    from clustering.rankers.ranker import Ranker
    from clustering.sources.report import SourceReport


def rank_sources(
    target: str,
    candidates: Iterable[str] | None = None,
    corpora: Corpora | None = None,
    tokenizer: str | Tokenize | None = None,
    top: int | None = None,
    ranker: Ranker | str | Path | None = None,
    *,
    cache: str | Path | None = None,
    min_speakers: int = 0,
    text_field: str = "text",
    rules: CandidateRules | None = None,
    quality: Mapping[str, float] | str | Path | None = None,
    signals: Given | str | Path | None = None,
    sets: int | None = None,
    model: str | Path | None = None,
    effects: Effects | str | Path | None = None,
) -> SourceReport:
    if model is not None:
        from xelm.models.source_view import ModelView

        view = ModelView.of(str(model), corpora, text_field)
        tokenizer = view.model if tokenizer is None else tokenizer
        candidates = None if candidates is None else list(candidates)
        signals = with_view(view.signals(target, view.texts if candidates is None else candidates), signals)
        effects = view.effects if effects is None else effects
    loaded = load_tokenizer(tokenizer) if isinstance(tokenizer, str) else tokenizer
    if model is not None and corpora is None:
        corpora = {code: profile_texts(texts, _named(loaded)) for code, texts in view.texts.items()}
    return _rank_sources(
        target,
        candidates,
        corpora,
        loaded,
        top,
        ranker,
        cache=cache,
        min_speakers=min_speakers,
        text_field=text_field,
        rules=rules,
        quality=quality,
        signals=signals,
        sets=sets,
        effects=effects,
    )


# Only what is said of the tokenizer and of the model differs.
rank_sources.__doc__ = (
    (_rank_sources.__doc__ or "")
    .replace(
        """For names of hub tokenizers use
            `xelm.rank_sources`.""",
        """Or the name of a
            tokenizer on the hub, or of a folder that holds one.""",
    )
    .replace(
        "\n    Returns:",
        """        model: A causal, masked or encoder model (hub id or path) or a run, whose view is added: distances of
            hidden states, effects measured in the run, and overlap by its tokenizer unless another is given. It reads
            the corpora; of a run without corpora, its held-out text.

    Returns:""",
        1,
    )
)


def with_view(view: Mapping[str, Mapping[str, float]], signals: Given | str | Path | None) -> Given:
    """The model's numbers with the user's, which count before them."""
    given = dict(read_signals(signals) if isinstance(signals, str | Path) else signals or {})
    for name, values in view.items():
        own = given.get(name, {})
        given[name] = {**values, **own} if isinstance(own, Mapping) else own
    return given


def _named(tokenizer: Tokenize | None) -> Tokenizer | None:
    return Tokenizer("function", tokenizer) if tokenizer and not isinstance(tokenizer, Tokenizer) else tokenizer


def load_tokenizer(name: str) -> Tokenizer:
    """Load a tokenizer by hub id or folder for profiles.

    Its name in caches is the id with a digest of its vocabulary, so that a changed tokenizer is not mistaken
    for the old one.

    Raises:
        BadInput: If there is none of this name, or it cannot be fetched.
    """
    from transformers import AutoTokenizer

    try:
        loaded: Any = AutoTokenizer.from_pretrained(name)
    except (OSError, ValueError, KeyError) as error:
        first_line = str(error).strip().split("\n")[0]
        raise BadInput(f"No tokenizer {name!r}: {first_line} Give a hub id or a folder with tokenizer.json.") from None
    return profile_tokenizer(name, loaded)


def profile_tokenizer(name: str, loaded: Any) -> Tokenizer:
    """A loaded tokenizer for profiles; it no longer truncates or pads.

    Args:
        name: What it is called in caches, before the digest of its vocabulary.
        loaded: A tokenizer of transformers.
    """
    vocabulary = loaded.get_vocab()
    digest = hashlib.sha256(json.dumps(sorted(vocabulary.items())).encode()).hexdigest()[:12]
    backend = getattr(loaded, "backend_tokenizer", None)
    unknown = {loaded.unk_token} - {None}
    options: dict[str, Any] = {"unknown_tokens": frozenset(unknown)}
    if backend is not None and "ByteLevel" in type(backend.decoder).__name__:
        options["is_fallback"] = _is_piece_of_character
    # Truncation set in tokenizer.json would silently profile only the head of each document.
    if backend is not None:
        backend.no_truncation()
        backend.no_padding()
        return fast_tokenizer(f"{name}@{digest}", backend, **options)
    return Tokenizer(f"{name}@{digest}", lambda texts: [loaded.tokenize(text) for text in texts], **options)


def fast_tokenizer(name: str, backend: Any, **options: Any) -> Tokenizer:
    """A tokenizer of the `tokenizers` library for profiles, which counts ids and looks up each token once.

    Args:
        name: What it is called in caches.
        backend: A `tokenizers.Tokenizer`.
        options: `unknown_tokens`, `is_fallback` of `clustering.sources.profiles.Tokenizer`.
    """
    # The fast way leaves the encodings' token strings empty; their ids are whole.
    token_of = {index: token for token, index in backend.get_vocab(with_added_tokens=True).items()}

    def encode(texts: list[str]) -> list[list[int]]:
        return [encoding.ids for encoding in backend.encode_batch_fast(texts, add_special_tokens=False)]

    def count(texts: list[str]) -> dict[str, int]:
        ids = np.fromiter(chain.from_iterable(encode(texts)), dtype=np.int64)
        counts = np.bincount(ids)
        return {token_of[index]: int(counts[index]) for index in np.flatnonzero(counts).tolist()}

    def tokenize(texts: list[str]) -> list[list[str]]:
        return [[token_of[index] for index in ids] for ids in encode(texts)]

    return Tokenizer(name, tokenize, count=count, **options)


def _is_piece_of_character(token: str) -> bool:
    """Whether a token of a byte-level vocabulary is not whole characters."""
    byte_of = byte_of_letter()
    if not all(letter in byte_of for letter in token):
        return False  # an added token, written as text
    try:
        bytes(byte_of[letter] for letter in token).decode("utf-8")
    except UnicodeDecodeError:
        return True
    return False


@lru_cache(maxsize=1)
def byte_of_letter() -> dict[str, int]:
    """GPT-2's table: printable bytes stand for themselves, the other 68 for the letters from U+0100."""
    printable = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    others = [byte for byte in range(256) if byte not in printable]
    table = {chr(byte): byte for byte in printable}
    return table | {chr(256 + number): byte for number, byte in enumerate(others)}
