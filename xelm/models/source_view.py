"""A model's own view of sources: distances of its hidden states, effects measured in a run, its tokenizer."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from clustering.corpora.find import Source, find_sources, source_of
from clustering.corpora.rows import Reading
from clustering.distances.own import distances_from_vectors
from clustering.errors import BadInput, arg
from clustering.languages.codes import match, name_of, points_of
from clustering.plans.effects import Effects
from clustering.sources.profiles import Profile
from xelm.models.language_vectors import language_vectors, load_reader
from xelm.run.experts import ExpertSet
from xelm.run.names import BASE
from xelm.run.records.manifest import FILE_NAME

if TYPE_CHECKING:
    from clustering.sources.rank import Corpora

log = logging.getLogger(__name__)
TOKENS = 5_000
"""Tokens of each language that the model reads. Mean states of a few thousand tokens hardly move with more."""


@dataclass(frozen=True)
class ModelView:
    """A model, and the text that it reads."""

    model: str
    """Hub id or path of the model; of a run, that of its base."""
    texts: Mapping[str, Iterable[str]]
    """Point -> its text."""
    effects: Effects | None = None
    """Effects that were measured in the run, if they were."""

    @classmethod
    def of(cls, name: str, corpora: Corpora | None, text_field: str = "text") -> ModelView:
        """The view of a model or a run.

        Args:
            name: Hub id or path of a causal, masked or encoder model, or a run.
            corpora: {language: file or folder}, or one folder or hub dataset of all. None: the held-out text of a run.
            text_field: Key or column of the text.

        Raises:
            BadInput: If a model comes without text, or text is only there as profiles.
        """
        run = Path(name).expanduser()
        if not (run / FILE_NAME).is_file():
            if corpora is None:
                raise BadInput(
                    f"{arg('model', name)}: it reads text of each language. Give {arg('corpora')}, or a run, which "
                    "has its own text."
                )
            return cls(name, _texts(corpora, text_field))
        experts = ExpertSet.load(run).trained()
        effects = Effects.load(experts.files.effects) if experts.files.effects.is_file() else None
        texts = _texts(corpora, text_field) if corpora is not None else _heldout(experts)
        return cls(str(experts.folder(BASE)), texts, effects)

    def signals(self, target: str, candidates: Iterable[str]) -> dict[str, dict[str, float]]:
        """Distances of hidden states as numbers on the sources of a target, for `rank_sources(signals=…)`.

        Args:
            target: A code, tag or name.
            candidates: Candidates, which may be without text.

        Returns:
            `model_distance` by language; empty without text of the target or of any source.

        Raises:
            BadInput: If the model cannot be loaded.
        """
        own, others = self._mine(target, candidates)
        if own is None or not others:
            name = name_of(points_of([target])[0])
            log.warning("the model has no text of %s or of no source to read: its view is left out", name)
            return {}
        model, tokenizer = load_reader(self.model)
        texts = {point: self.texts[point] for point in (own, *others)}
        vectors = language_vectors(model, tokenizer, texts, max_tokens=TOKENS)
        row = distances_from_vectors(vectors, kind="model").values[0]
        return {"model_distance": dict(zip(others, map(float, row[1:]), strict=True))}

    def _mine(self, target: str, candidates: Iterable[str]) -> tuple[str | None, list[str]]:
        own = match(target, self.texts)
        others = [point for candidate in candidates if (point := match(candidate, self.texts)) not in (None, own)]
        return own, [point for point in dict.fromkeys(others) if point is not None]


def _heldout(experts: ExpertSet) -> dict[str, list[str]]:
    texts: dict[str, list[str]] = {code: [] for code in experts.languages}
    for split in ("valid", "test"):
        for document in experts.heldout(split):
            texts[document.language].append(document.text)
    return {code: found for code, found in texts.items() if found}


def _texts(corpora: Any, text_field: str) -> dict[str, Iterable[str]]:
    reading = Reading(text_field=text_field)
    if isinstance(corpora, str | Path):
        return {source.tag or source.code: _Again(source, reading) for source in find_sources(corpora)}
    texts: dict[str, Iterable[str]] = {}
    for name, corpus in corpora.items():
        if isinstance(corpus, Profile) or str(corpus).endswith(".npz"):
            raise BadInput(
                f"{arg('corpora')} of {name}: a profile has no text that the model could read. Give its text."
            )
        texts[name] = _Again(corpus if isinstance(corpus, Source) else source_of(corpus, name), reading)
    return texts


@dataclass(frozen=True)
class _Again:
    """The texts of a source, read anew each time."""

    source: Source
    reading: Reading

    def __iter__(self) -> Iterator[str]:
        return self.source.texts(self.reading)
