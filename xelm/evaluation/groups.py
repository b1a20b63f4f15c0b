"""Which languages of a run share an answer, measured on its held-out text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from clustering.languages.codes import match
from router.identify.protocol import OpenSetIdentifier
from router.identify.stored import load_identifier
from router.routes.relatives import Relatives, find_groups
from xelm.evaluation.sentences import sentences_of
from xelm.run.experts import ExpertSet
from xelm.run.folder import RunFolder

MOST = 100
"""Sentences of each language that are read, spread over its text."""


def save_groups(run: Path, relatives: Relatives) -> None:
    """Measure the groups of languages that share an answer, and write them into the run's router with the priors.

    Args:
        run: A run, or the shadow of one, that holds its identifier and held-out text.
        relatives: Whose priors are kept.
    """
    router = RunFolder(run).router
    identifier = load_identifier(router)
    texts: dict[str, list[str]] = {}
    for document in ExpertSet.load(run).heldout("valid"):
        texts.setdefault(document.language, []).append(document.text)
    replace(relatives, groups=find_groups(identifier, _of_identifier(identifier, texts))).save(router)


def _of_identifier(identifier: OpenSetIdentifier, texts: Mapping[str, Sequence[str]]) -> dict[str, list[str]]:
    """Sentences under the codes that the identifier uses; the documents themselves where all are shorter."""
    named = {match(code, identifier.languages): sentences_of(rows) or list(rows) for code, rows in texts.items()}
    return {code: rows[:: max(1, len(rows) // MOST)][:MOST] for code, rows in named.items() if code is not None}
