"""The facts on a corpus that ranking needs: its types with counts and its sizes, in one small mergeable file."""

from __future__ import annotations

import json
import logging
import re
import zipfile
import zlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from clustering.errors import BadInput
from clustering.files import atomic_write
from clustering.languages.romanise import romanised
from clustering.languages.words import count_words, script_shares

FORMAT_VERSION = 1
_BATCH_CHARS = 1 << 18
_BYTE_TOKEN = re.compile(r"<0x[0-9A-Fa-f]{2}>")
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Tokenizer:
    """A function that cuts texts into subwords, with a name for caches.

    Attributes:
        name: Changes whenever the tokens would (a hub id with a digest of the vocabulary, say).
        tokenize: Texts in, one list of token strings per text out.
        unknown_tokens: Token strings that stand for text the tokenizer cannot write, as `<unk>`.
        is_fallback: Whether a token is a piece of a character (a byte) rather than text.
        count: Texts in, how often each token comes out; where a tokenizer can tell faster than by listing tokens.
    """

    name: str
    tokenize: Callable[[list[str]], list[list[str]]]
    unknown_tokens: frozenset[str] = frozenset({"<unk>", "[UNK]"})
    is_fallback: Callable[[str], bool] = field(default=lambda token: _BYTE_TOKEN.fullmatch(token) is not None)
    count: Callable[[list[str]], Mapping[str, int]] | None = None


@dataclass(frozen=True)
class Profile:
    """Types, counts and sizes of one corpus. Everything else about it is derived from these.

    Profiles add up: the profile of two files is the `merge` of theirs, in any order and grouping.

    Attributes:
        words: {word: count}, lower-cased; pairs of characters where a script has no spaces.
        subwords: {token: count} by the tokenizer, or {} when there was none.
        documents: Number of documents that are not blank.
        num_bytes: UTF-8 bytes of their text.
        unknown_tokens: Subword tokens that stand for text the tokenizer cannot write.
        fallback_tokens: Subword tokens that are single bytes of a character.
        tokenizer: Name of the tokenizer, or None.
    """

    words: dict[str, int]
    subwords: dict[str, int]
    documents: int
    num_bytes: int
    unknown_tokens: int = 0
    fallback_tokens: int = 0
    tokenizer: str | None = None

    @cached_property
    def word_tokens(self) -> int:
        """Number of running words."""
        return sum(self.words.values())

    @cached_property
    def subword_tokens(self) -> int:
        """Number of subword tokens."""
        return sum(self.subwords.values())

    @property
    def type_token_ratio(self) -> float:
        """Distinct words per running word, in (0, 1]; NaN for a corpus without words."""
        return len(self.words) / self.word_tokens if self.word_tokens else float("nan")

    @property
    def fertility(self) -> float:
        """Subword tokens per running word; NaN without a tokenizer or words."""
        return self.subword_tokens / self.word_tokens if self.word_tokens and self.subwords else float("nan")

    @property
    def fallback_share(self) -> float:
        """Share of subword tokens that are byte pieces or unknown; NaN without a tokenizer."""
        total = self.subword_tokens
        return (self.unknown_tokens + self.fallback_tokens) / total if total else float("nan")

    @cached_property
    def scripts(self) -> dict[str, float]:
        """Share of letters per script over the word types, largest first."""
        return script_shares(self.words)

    @cached_property
    def romanised(self) -> set[str]:
        """The word types in Latin letters."""
        return romanised(self.words)

    def merge(self, other: Profile) -> Profile:
        """Profile of both corpora together.

        Raises:
            BadInput: If the two were made with different tokenizers.
        """
        if self.tokenizer != other.tokenizer and self.documents and other.documents:
            raise BadInput(
                f"Profiles of different tokenizers do not add up: {self.tokenizer} and {other.tokenizer}. "
                "Profile both corpora with the same tokenizer."
            )
        return Profile(
            words=dict(Counter(self.words) + Counter(other.words)),
            subwords=dict(Counter(self.subwords) + Counter(other.subwords)),
            documents=self.documents + other.documents,
            num_bytes=self.num_bytes + other.num_bytes,
            unknown_tokens=self.unknown_tokens + other.unknown_tokens,
            fallback_tokens=self.fallback_tokens + other.fallback_tokens,
            tokenizer=self.tokenizer if self.documents else other.tokenizer,
        )

    def summary(self) -> dict[str, Any]:
        """The sizes and ratios as plain values, for reports (None where a ratio does not exist)."""
        ratios = {
            "type_token_ratio": self.type_token_ratio,
            "fertility": self.fertility,
            "fallback_share": self.fallback_share,
        }
        return {
            "documents": self.documents,
            "bytes": self.num_bytes,
            "words": self.word_tokens,
            "word_types": len(self.words),
            "subwords": self.subword_tokens,
            "subword_types": len(self.subwords),
            **{name: None if np.isnan(value) else value for name, value in ratios.items()},
            "scripts": {name: share for name, share in self.scripts.items() if share >= 0.01},
            "tokenizer": self.tokenizer,
        }

    def save(self, path: str | Path) -> None:
        """Write the profile as one npz file, complete or not at all (arrays and JSON, no pickle)."""
        header = {
            "format": FORMAT_VERSION,
            "documents": self.documents,
            "num_bytes": self.num_bytes,
            "unknown_tokens": self.unknown_tokens,
            "fallback_tokens": self.fallback_tokens,
            "tokenizer": self.tokenizer,
        }
        arrays = {"header": np.frombuffer(json.dumps(header).encode(), dtype=np.uint8)}
        for name, counts in (("words", self.words), ("subwords", self.subwords)):
            arrays |= {f"{name}_{part}": array for part, array in _pack(counts).items()}
        with atomic_write(path) as partial, partial.open("wb") as handle:
            # Compressing would take as long as reading the text.
            np.savez(handle, **arrays)  # type: ignore[arg-type]

    @classmethod
    def load(cls, path: str | Path) -> Profile:
        """Read a saved profile.

        Raises:
            BadInput: If the file is missing, damaged or of another version.
        """
        file = Path(path)
        try:
            with np.load(file, allow_pickle=False) as stored:
                header = json.loads(stored["header"].tobytes())
                words, subwords = (_unpack(stored, name) for name in ("words", "subwords"))
        except FileNotFoundError:
            raise BadInput(f"{file}: no such file.") from None
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, zlib.error) as error:
            raise BadInput(f"{file}: not a readable profile ({error}). Delete it to have it made again.") from error
        if header.pop("format") != FORMAT_VERSION:
            raise BadInput(f"{file}: a profile of another version of xelm. Delete it to have it made again.")
        return cls(words=words, subwords=subwords, **header)


EMPTY = Profile(words={}, subwords={}, documents=0, num_bytes=0)


def profile_texts(texts: Iterable[str], tokenizer: Tokenizer | None = None) -> Profile:
    """Profile documents as a stream: memory grows with the number of types, not with the text.

    Args:
        texts: Documents, in any order (the profile does not depend on it).
        tokenizer: Cuts subwords; without one only words are counted.

    Raises:
        BadInput: If the tokenizer returns another number of lists than it was given texts.
    """
    words: Counter[str] = Counter()
    subwords: Counter[str] = Counter()
    documents = num_bytes = 0
    # Fast tokenizers work outside Python's lock, so words are counted and the next text is read meanwhile.
    with ThreadPoolExecutor(max_workers=1) as thread:
        pending: Future[Mapping[str, int]] | None = None
        for batch in _batches(texts):
            earlier = pending
            pending = None if tokenizer is None else thread.submit(_count_tokens, tokenizer, batch)
            documents += len(batch)
            num_bytes += sum(len(text.encode("utf-8", "surrogatepass")) for text in batch)
            count_words(batch, words)
            subwords.update({} if earlier is None else earlier.result())
        subwords.update({} if pending is None else pending.result())
    # Counting these on types leaves nothing to do per token.
    unknown = fallback = 0
    if tokenizer is not None:
        unknown = sum(subwords[token] for token in tokenizer.unknown_tokens)
        fallback = sum(count for token, count in subwords.items() if tokenizer.is_fallback(token))
    return Profile(
        words=dict(words),
        subwords=dict(subwords),
        documents=documents,
        num_bytes=num_bytes,
        unknown_tokens=unknown,
        fallback_tokens=fallback,
        tokenizer=None if tokenizer is None else tokenizer.name,
    )


def _count_tokens(tokenizer: Tokenizer, batch: list[str]) -> Mapping[str, int]:
    if tokenizer.count is not None:
        return tokenizer.count(batch)
    pieces = tokenizer.tokenize(batch)
    if len(pieces) != len(batch):
        raise BadInput(
            f"The tokenizer {tokenizer.name} gave {len(pieces)} lists for {len(batch)} texts; "
            "it must return one list of tokens per text."
        )
    return Counter(token for tokens in pieces for token in tokens)


def overlap(types_a: Iterable[str], types_t: Iterable[str]) -> float:
    """Share of types two vocabularies have in common: |Va ∩ Vt| / (|Va| + |Vt|), in [0, 0.5] (LangRank).

    Args:
        types_a: Types of the source language; a dict counts as its keys.
        types_t: Types of the target language.

    Returns:
        The overlap, or NaN if both are empty.
    """
    a = types_a.keys() if isinstance(types_a, dict) else set(types_a)
    t = types_t.keys() if isinstance(types_t, dict) else set(types_t)
    total = len(a) + len(t)
    return len(a & t) / total if total else float("nan")


def _batches(texts: Iterable[str]) -> Iterator[list[str]]:
    batch: list[str] = []
    chars = 0
    for text in texts:
        batch.append(text)
        chars += len(text)
        if chars >= _BATCH_CHARS:
            yield batch
            batch, chars = [], 0
    if batch:
        yield batch


def _pack(counts: dict[str, int]) -> dict[str, np.ndarray]:
    types = sorted(counts)
    encoded = [text.encode("utf-8", "surrogatepass") for text in types]
    return {
        "utf8": np.frombuffer(b"".join(encoded), dtype=np.uint8),
        "ends": np.cumsum([len(piece) for piece in encoded], dtype=np.int64),
        "counts": np.array([counts[text] for text in types], dtype=np.int64),
    }


def _unpack(stored: Any, name: str) -> dict[str, int]:
    data = stored[f"{name}_utf8"].tobytes()
    ends = stored[f"{name}_ends"].tolist()
    types = [data[a:b].decode("utf-8", "surrogatepass") for a, b in zip([0, *ends], ends, strict=False)]
    return dict(zip(types, stored[f"{name}_counts"].tolist(), strict=True))
