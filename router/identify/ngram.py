"""A language identifier trained on a run's own text, for languages that ready-made identifiers do not know.

Each language has its own table of character n-grams (orders 1 to 5, hashed) with the evidence that each gives:
log(1 + relative frequency / 1e-7), 0 for n-grams that the language lacks. A text's score is the sum over its n-grams.
So n-grams that no language has (names, typing errors) are evidence for none, and a language with much text has no
advantage by size alone. Tables depend only on their own language's text: adding a language does not change the others.
Shape letters: `B` texts, `L` languages, `F` n-grams of a table, `U` n-grams of all tables.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from clustering.errors import BadInput
from clustering.files import atomic_write, read_arrays, read_json, write_json
from clustering.languages.codes import point_beside, points_of, to_point
from router.cleaning.clean import clean
from router.identify.samples import TextSample, sample_texts
from router.letters import plain_letters
from router.ngram_hashes import hashed_ngrams
from router.routes.affinity import softmax

logger = logging.getLogger(__name__)

FORMAT_VERSION = 1
TABLE_FILE = "ngrams.safetensors"
INDEX_FILE = "ngrams.json"
MAX_TABLE_SIZE = 20_000
RARE = 1e-7
_MOST_EVIDENCE = 1e3  # a letter begins 5 n-grams, each of at most 16.1 nats
STEPS_PER_NAT = 16  # weights reach log(1 / RARE) = 16.1 nats and fit one byte
# temperature = scale * letters ** power, fitted on SIB-200's train sentences for models trained on other books
# (experiments/routing/fit_constants.py).
TEMPERATURE_SCALE = 7.8
TEMPERATURE_POWER = 0.416
_FEW = 2**16
_HALF, _LOW = np.uint64(32), np.uint64(2**32 - 1)


@dataclass(frozen=True)
class NgramTable:
    """The evidence of one language's text.

    Attributes:
        keys: Hashes of the n-grams with most evidence, ascending, shape (F,), uint32.
        weights: Their evidence in sixteenths of a nat, shape (F,), uint8.
        usual_evidence: Mean evidence per letter of held-out text of the language, in nats.
        num_letters: Number of letters in which the n-grams were counted.
    """

    keys: np.ndarray
    weights: np.ndarray
    usual_evidence: float
    num_letters: int


class NgramIdentifier:
    """Naive-Bayes-like identifier over hashed character n-grams.

    Example:
        >>> identifier = NgramIdentifier.train({"swh": swahili_texts, "zul": zulu_texts})
        >>> identifier.posterior(["Habari za asubuhi"]).argmax()
        0
    """

    def __init__(self, tables: Mapping[str, NgramTable]):
        if not tables:
            raise BadInput("An identifier needs text of at least one language.")
        self.tables = dict(tables)

    @classmethod
    def train(cls, corpora: Mapping[str, Iterable[str]], seed: int = 0) -> NgramIdentifier:
        """Count n-grams of every language; this takes a fifth of a second for each on one core.

        Args:
            corpora: Language (any code or name) -> its texts. About 300,000 characters are sampled from the first
                3 million; a few thousand are enough to work.
            seed: Chooses the sample.

        Raises:
            BadInput: If there is no language, or one has no letters at all.
        """
        return cls.from_samples({code: sample_texts(code, texts, seed) for code, texts in corpora.items()})

    @classmethod
    def from_samples(cls, samples: Mapping[str, TextSample]) -> NgramIdentifier:
        """Train on samples already drawn."""
        points = points_of(list(samples))
        made = [make_table(code, sample) for code, sample in samples.items()]
        return cls(dict(zip(points, made, strict=True)))

    def with_language(self, code: str, texts: Iterable[str], seed: int = 0) -> NgramIdentifier:
        """A new identifier with one language added or counted again; the other tables are the same objects."""
        return self.with_sample(code, sample_texts(code, texts, seed))

    def with_sample(self, code: str, sample: TextSample) -> NgramIdentifier:
        """The same from a sample already drawn."""
        return NgramIdentifier({**self.tables, point_beside(code, self.tables): make_table(code, sample)})

    def without_language(self, code: str) -> NgramIdentifier:
        """A new identifier without one language; the other tables are the same objects.

        Raises:
            BadInput: If it does not know the language, or knows no other.
        """
        language = point_beside(code, self.tables)
        if language not in self.tables:
            raise BadInput(f"{code}: the identifier does not know it; it knows {', '.join(self.tables)}.")
        return NgramIdentifier({known: table for known, table in self.tables.items() if known != language})

    @property
    def languages(self) -> Sequence[str]:
        """Codes in the order of training."""
        return tuple(self.tables)

    def evidence(self, texts: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
        """Raw scores.

        Returns:
            Evidence for each language in nats, shape (B, L), 0 if no n-gram is known; number of letters, shape (B,).
        """
        vocabulary_U, weights_UL = self._merged
        _, keys, owners = zip(*hashed_ngrams(texts), strict=True)
        # In order, and each once: a large vocabulary is read from one end to the other.
        distinct, place_G = np.unique(np.concatenate(keys), return_inverse=True)
        found = np.minimum(np.searchsorted(vocabulary_U, distinct), len(vocabulary_U) - 1)
        known_G = (vocabulary_U[found] == distinct)[place_G]
        row, column = np.concatenate(owners)[known_G], found[place_G][known_G]
        lengths_B = np.array([len(plain_letters(text)) for text in texts], dtype=np.int64)
        return _sums(row, column, len(texts), weights_UL), lengths_B

    def posterior(self, texts: Sequence[str]) -> np.ndarray:
        """Probabilities of the languages, shape (B, L), rows summing to 1; uniform if no n-gram is known."""
        evidence_BL, lengths_B = self.evidence([clean(text) for text in texts])
        temperature_B = TEMPERATURE_SCALE * np.maximum(lengths_B, 1) ** TEMPERATURE_POWER
        return softmax(evidence_BL / temperature_B[:, None])

    def save(self, folder: str | Path) -> None:
        """Write two files, about 100 kB a language; each appears complete or not at all."""
        from safetensors.numpy import save

        arrays = {f"{code}.keys": t.keys for code, t in self.tables.items()}
        arrays |= {f"{code}.weights": t.weights for code, t in self.tables.items()}
        with atomic_write(Path(folder) / TABLE_FILE) as partial:
            partial.write_bytes(save(arrays))
        languages = {
            code: {"usual_evidence": t.usual_evidence, "num_letters": t.num_letters} for code, t in self.tables.items()
        }
        write_json(Path(folder) / INDEX_FILE, {"version": FORMAT_VERSION, "languages": languages})

    @classmethod
    def load(cls, folder: str | Path) -> NgramIdentifier:
        """Read what `save` wrote.

        Raises:
            BadInput: If a file is missing, damaged, or of another version.
        """
        index = read_json(Path(folder) / INDEX_FILE)
        if not isinstance(index, dict) or index.get("version") != FORMAT_VERSION:
            raise BadInput(
                f"{Path(folder) / INDEX_FILE}: not an identifier of version {FORMAT_VERSION}. Train it again."
            )
        arrays = read_arrays(Path(folder) / TABLE_FILE)
        try:
            tables = {
                to_point(code): NgramTable(arrays[f"{code}.keys"], arrays[f"{code}.weights"], **entry)
                for code, entry in index["languages"].items()
            }
        except (KeyError, TypeError, AttributeError) as error:
            raise BadInput(f"{folder}: {INDEX_FILE} and {TABLE_FILE} do not belong together ({error}).") from None
        for code, table in tables.items():
            if problem := _problem(table):
                raise BadInput(f"{folder}: the table of {code} is damaged ({problem}). Train the identifier again.")
        return cls(tables)

    @cached_property
    def _merged(self) -> tuple[np.ndarray, Any]:
        """All tables as one sorted vocabulary (U,) and a sparse matrix (U, L) of evidence in nats."""
        from scipy.sparse import csr_matrix

        tables = list(self.tables.values())
        keys_F = np.concatenate([table.keys for table in tables])
        # One sort by key, then by table: searching each table's keys in the vocabulary takes seconds for 400 languages.
        order_F = np.sort((keys_F.astype(np.uint64) << _HALF) | np.arange(len(keys_F), dtype=np.uint64))
        sorted_F, place_F = order_F >> _HALF, (order_F & _LOW).astype(np.int64)
        begins_U = np.flatnonzero(np.concatenate([[True], sorted_F[1:] != sorted_F[:-1]]))
        column_F = np.repeat(np.arange(len(tables), dtype=np.int32), [len(table.keys) for table in tables])
        weights_F = np.concatenate([table.weights for table in tables]).astype(np.float32) / STEPS_PER_NAT
        bounds = np.append(begins_U, len(keys_F))
        weights_UL = csr_matrix((weights_F[place_F], column_F[place_F], bounds), shape=(len(begins_U), len(tables)))
        weights_UL.sum_duplicates()  # two n-grams of one table may share a hash
        return sorted_F[begins_U].astype(np.uint32), weights_UL


def _sums(row: np.ndarray, column: np.ndarray, num_texts: int, weights_UL: Any) -> np.ndarray:
    """Evidence of n-grams (columns of the vocabulary) of texts (rows), shape (B, L), float64.

    A few n-grams are added up without the machinery of sparse matrices, which costs more than the sum. Both give the
    same: weights are whole sixteenths of at most 16, so sums of at most `_FEW` of them are exact in float32.
    """
    from scipy.sparse import csr_matrix

    num_languages = weights_UL.shape[1]
    begin, number = weights_UL.indptr[column].astype(np.int64), np.diff(weights_UL.indptr)[column]
    if (total := int(number.sum())) <= _FEW:
        place = np.arange(total) + np.repeat(begin - np.cumsum(number) + number, number)
        cell = np.repeat(row, number) * num_languages + weights_UL.indices[place]
        sums = np.bincount(cell, weights=weights_UL.data[place], minlength=num_texts * num_languages)
        return sums.reshape(num_texts, num_languages)
    counts_BU = csr_matrix((np.ones(len(row), dtype=np.float32), (row, column)), shape=(num_texts, weights_UL.shape[0]))
    return np.asarray((counts_BU @ weights_UL).toarray().astype(np.float64))


def make_table(language: str, sample: TextSample) -> NgramTable:
    """Count one language's n-grams.

    Args:
        language: Name in messages.
        sample: Text of the language.

    Raises:
        BadInput: If the sample has no letters.
    """
    keys, weights = [], []
    for _, keys_G, _ in hashed_ngrams(sample.train):
        unique, counts = np.unique(keys_G, return_counts=True)
        # Subtract half a count: an n-gram that was seen once is usually rarer than that suggests.
        keys.append(unique)
        weights.append(np.log1p((counts - 0.5) / max(1, len(keys_G)) / RARE))
    keys_A, weights_A = np.concatenate(keys), np.concatenate(weights)
    if not len(keys_A):
        raise BadInput(f"{language}: its text has no letters, so it cannot be distinguished from other languages.")
    kept = np.sort(np.argsort(-weights_A, kind="stable")[:MAX_TABLE_SIZE])
    order = np.argsort(keys_A[kept], kind="stable")
    keys_F = keys_A[kept][order]
    weights_F = np.clip(np.round(weights_A[kept][order] * STEPS_PER_NAT), 0, 255).astype(np.uint8)
    num_letters = sum(len(plain_letters(text)) for text in sample.train)
    bare = NgramTable(keys_F, weights_F, 1.0, num_letters)
    evidence_B1, lengths_B = NgramIdentifier({language: bare}).evidence(sample.held_out)
    usual = float(evidence_B1.sum() / max(1, lengths_B.sum())) or 1.0
    return NgramTable(keys_F, weights_F, usual, num_letters)


def _problem(table: NgramTable) -> str | None:
    """The fault of a table that was read; None if it has none."""
    keys, weights = table.keys, table.weights
    if keys.dtype != np.uint32 or weights.dtype != np.uint8 or keys.ndim != 1 or keys.shape != weights.shape:
        return "its n-grams are no numbers of 32 bits, each with evidence of 8"
    if not len(keys) or np.any(keys[1:] < keys[:-1]):
        return "its n-grams are not in order, or none"
    usual, letters = table.usual_evidence, table.num_letters
    if isinstance(usual, bool) or not isinstance(usual, int | float) or not 0 < usual < _MOST_EVIDENCE:
        return f"usual_evidence {usual!r:.40}"
    if isinstance(letters, bool) or not isinstance(letters, int) or letters < 0:
        return f"num_letters {letters!r:.40}"
    return None
