"""Losses of a model on held-out text, document by document, kept beside the place."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from clustering.files import read_json, write_json
from xelm.evaluation.log_probs import measure
from xelm.making.make_model import Making
from xelm.run.experts import Document
from xelm.run.records.manifest import fingerprint
from xelm.trials.place import Place, Trial

_FOLDER = "cache/scores"
Scores = dict[str, np.ndarray]
"""Language -> a figure for each of its documents."""


def score_base(place: Place, split: str, codes: Sequence[str]) -> Scores:
    """Nats of each document under the base."""
    return _scores(place, place.base, None, split, codes)


def score_trial(place: Place, trial: Trial) -> Scores:
    """Nats of each document that a trial reads, under its model."""
    return _scores(place, place.making(trial), trial, trial.split, trial.reads)


def num_bytes(place: Place, split: str, codes: Sequence[str]) -> Scores:
    """UTF-8 bytes of each document, by language."""
    documents = place.documents(split, codes)
    return {code: np.array([len(d.text.encode()) for d in found], dtype=np.int64) for code, found in documents.items()}


def is_scored(place: Place, trial: Trial) -> bool:
    """Whether all text of a trial has been read."""
    making = place.making(trial)
    key = str(making.entry.fingerprint)
    documents = place.documents(trial.split, trial.reads)
    return all(_file(place, making.folder.name, key, found, trial.split).is_file() for found in documents.values())


def _scores(place: Place, making: Making, trial: Trial | None, split: str, codes: Sequence[str]) -> Scores:
    found, model = Scores(), None
    experts, name = place.experts(trial), making.folder.name
    for code, documents in place.documents(split, codes).items():
        file = _file(place, name, str(making.entry.fingerprint), documents, split)
        if not file.is_file():
            model = model or experts.load_model(name)
            values = measure(experts, model, documents)
            write_json(file, {"nats": [-float(part.sum(dtype=np.float64)) for part in values]})
        found[code] = np.array(read_json(file)["nats"], dtype=np.float64)
    return found


def _file(place: Place, name: str, model_key: str, documents: Sequence[Document], split: str) -> Path:
    key = fingerprint(model_key, [(document.language, document.text) for document in documents])
    language = documents[0].language if documents else "none"
    return place.folder / _FOLDER / name / f"{split}-{language}-{key[:12]}.json"
