"""A language model over tokens as one over bytes: the probability of every next byte, after Phan et al. 2025.

The tokens of a text that ends in mid-sentence are not known: its last bytes may belong to a longer token. So the
probability of a text's bytes is the sum over its *covers*: a beginning of the text as the tokenizer cuts it, and one
token that begins there and reaches to the end or beyond ("Exact byte-level probabilities from tokenized language
models", arXiv 2410.09303). Covers whose last token the tokenizer would not have chosen there count with the little
probability that the model gives them. The next byte's distribution is normalised over the 256 bytes and the text's end.
It holds for byte-level BPE tokenizers without a normalizer, whose tokens are bytes.

Shape letters: `T` bytes, `V` tokens, `N` tokens of one context.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import numpy as np

from clustering.errors import BadInput
from xelm.models.profile_tokenizers import byte_of_letter
from xelm.vocabulary.tokenizer_table import algorithm, is_byte_level, pieces_of, table_of

END = 256
"""The column of the text's end, after those of the 256 bytes."""
_AT_ONCE_TOKENS = 4096


def cannot_read_bytes(tokenizer: Any) -> str | None:
    """Why a tokenizer's model cannot be read as one over bytes; None if it can."""
    try:
        table = table_of(tokenizer)
    except BadInput as error:
        return str(error)
    if algorithm(table) != "BPE" or not is_byte_level(table):
        return f"its tokenizer ({algorithm(table)}) is not byte-level BPE"
    if table.get("normalizer") is not None:
        return "its tokenizer changes text before it cuts it"
    if _prefixes_space(table):
        return "its tokenizer puts a space before a text"
    if tokenizer.bos_token_id is None and tokenizer.eos_token_id is None:
        return "its tokenizer has no start token"
    return None


class ByteModel:
    """An expert read byte by byte.

    Args:
        model: A causal language model of transformers.
        tokenizer: Its tokenizer; one that `cannot_read_bytes` allows.
        context: Most tokens that it reads.
    """

    def __init__(self, model: Any, tokenizer: Any, context: int):
        self._model, self._backend, self._context = model, tokenizer.backend_tokenizer, context
        start = tokenizer.bos_token_id if tokenizer.bos_token_id is not None else tokenizer.eos_token_id
        self._start, self._end = int(start), tokenizer.eos_token_id
        table = table_of(tokenizer)
        special = {token["id"] for token in table["added_tokens"]}
        letters = byte_of_letter()
        spelled = {
            bytes(letters[letter] for letter in piece): index
            for index, piece in pieces_of(table).items()
            if index not in special
        }
        self._tokens = sorted(spelled)
        self._ids_V = np.array([spelled[token] for token in self._tokens])
        self._lengths_V = np.array([len(token) for token in self._tokens])
        width = int(self._lengths_V.max())
        self._bytes_VL = np.zeros((len(self._tokens), width), dtype=np.int64)
        for row, token in enumerate(self._tokens):
            self._bytes_VL[row, : len(token)] = list(token)

    def next_bytes(self, text: str) -> np.ndarray:
        """Log-probabilities of the next byte after every beginning of a text.

        Args:
            text: The text, T bytes.

        Returns:
            Row t is the distribution after the first t bytes: 256 bytes, then the end; shape (T + 1, 257), in nats;
            its exponentials sum to 1.

        Raises:
            BadInput: If the text does not fit into the model's context.
        """
        raw = text.encode()
        self._refuse_longer(len(self._backend.encode(text, add_special_tokens=False).ids) + 1, len(raw))
        contexts = self._contexts(text)
        self._refuse_longer(max(len(ids) for ids in contexts), len(raw))
        mass = np.full((len(raw) + 1, END + 1), -np.inf)
        for place, log_prob, next_V in self._read(contexts):
            self._spread(mass, raw, place, log_prob, next_V)
        with np.errstate(divide="ignore"):
            return mass - np.logaddexp.reduce(mass, axis=1, keepdims=True)

    def log_probs(self, text: str) -> np.ndarray:
        """Log-probabilities of a text's own bytes, shape (T,), in nats."""
        raw = np.frombuffer(text.encode(), dtype=np.uint8)
        return np.asarray(self.next_bytes(text)[np.arange(len(raw)), raw])

    def _refuse_longer(self, num_tokens: int, num_bytes: int) -> None:
        if num_tokens > self._context:
            raise BadInput(
                f"a text of {num_bytes:,} bytes takes {num_tokens} tokens, and an expert reads {self._context}: "
                "experts of different pieces are mixed byte by byte within one context. Score it in parts, or use top1."
            )

    def _contexts(self, text: str) -> list[tuple[int, ...]]:
        """The tokens of every beginning of the text, after the start token; beginnings may end inside a character.

        Beginnings inside a character are cut as its word is cut up to there.
        """
        found: list[tuple[int, ...]] = [(self._start,)]
        model, done = self._backend.model, 0
        for stop in range(1, len(text) + 1):
            words = self._words(text[:stop])
            before = [token.id for word in words[:-1] for token in model.tokenize(word)]
            last, total = words[-1], sum(len(word) for word in words)
            for place in range(done + 1, total + 1):
                cut = last[: len(last) - (total - place)]
                ids = [token.id for token in model.tokenize(cut)] if cut else []
                found.append((self._start, *before, *ids))
            done = total
        return found

    def _words(self, text: str) -> list[str]:
        pre = self._backend.pre_tokenizer
        return [word for word, _ in pre.pre_tokenize_str(text)]

    def _read(self, contexts: Sequence[tuple[int, ...]]) -> Any:
        """For every context: its place, its log-probability, and the probabilities of the next token, (V,)."""
        import torch

        places: dict[tuple[int, ...], list[int]] = {}
        for place, ids in enumerate(contexts):
            places.setdefault(ids, []).append(place)
        inner = {ids[:length] for ids in places for length in range(1, len(ids))}
        whole = sorted((ids for ids in places if ids not in inner), key=len)
        told: set[tuple[int, ...]] = set()
        for rows in _batches(whole):
            width = max(map(len, rows))
            ids_BN = torch.zeros((len(rows), width), dtype=torch.long)
            for number, row in enumerate(rows):
                ids_BN[number, : len(row)] = torch.tensor(row)
            with torch.inference_mode():
                logits = self._model(input_ids=ids_BN.to(self._model.device), use_cache=False).logits
            log_probs = logits.double().log_softmax(dim=-1).cpu().numpy()
            for number, row in enumerate(rows):
                before = 0.0
                for length in range(1, len(row) + 1):
                    if length > 1:
                        before += log_probs[number, length - 2, row[length - 1]]
                    beginning = row[:length]
                    if beginning in places and beginning not in told:
                        told.add(beginning)
                        for place in places[beginning]:
                            yield place, before, log_probs[number, length - 1]

    def _spread(self, mass: np.ndarray, raw: bytes, place: int, log_prob: float, next_log_V: np.ndarray) -> None:
        """Add what the tokens that may begin at `place` say of each later byte, in place."""
        probs_V = np.exp(next_log_V[self._ids_V])
        first, stop, depth = 0, len(self._tokens), 0
        while first < stop and place + depth <= len(raw):
            reach = slice(first, stop)
            longer_V = self._lengths_V[reach] > depth
            if depth < self._bytes_VL.shape[1] and longer_V.any():
                following_V = self._bytes_VL[reach, depth][longer_V]
                sums = np.bincount(following_V, weights=probs_V[reach][longer_V], minlength=END)
                with np.errstate(divide="ignore"):
                    told = np.logaddexp(mass[place + depth, :END], log_prob + np.log(sums))
                mass[place + depth, :END] = told
            if place + depth >= len(raw):
                break
            first, stop = self._narrowed(first, stop, depth, raw[place + depth])
            depth += 1
        if self._end is not None:
            mass[place, END] = np.logaddexp(mass[place, END], log_prob + next_log_V[self._end])

    def _narrowed(self, first: int, stop: int, depth: int, byte: int) -> tuple[int, int]:
        """The tokens among those in order whose byte at `depth` is the given one."""
        if depth >= self._bytes_VL.shape[1]:
            return stop, stop
        column = np.where(self._lengths_V[first:stop] > depth, self._bytes_VL[first:stop, depth], -1)
        return (
            first + int(np.searchsorted(column, byte, side="left")),
            first + int(np.searchsorted(column, byte, side="right")),
        )


def _batches(rows: Sequence[tuple[int, ...]]) -> Any:
    batch: list[tuple[int, ...]] = []
    for row in rows:  # from short to long
        if batch and (len(batch) + 1) * len(row) > _AT_ONCE_TOKENS:
            yield batch
            batch = []
        batch.append(row)
    if batch:
        yield batch


def _prefixes_space(table: Any) -> bool:
    return '"add_prefix_space": true' in json.dumps(table.get("pre_tokenizer"))
