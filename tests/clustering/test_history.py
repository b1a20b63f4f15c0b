"""What measured transfer says of a target: languages that served the same others tell which sources suit it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from clustering.rankers.history import History, alikeness, past_features
from clustering.rankers.ranker import fit_ranker, usefulness_of
from clustering.rankers.transfer_table import TransferTable
from clustering.sources.signals import typology_signals

# Two camps that cut across families and places: within one, transfer works.
CAMPS = (("deu", "tur", "zul", "rus", "kor", "quy"), ("nld", "fin", "swa", "pol", "jpn", "spa"))
LANGUAGES = [language for camp in CAMPS for language in camp]


def camp_of(language: str) -> int:
    return 0 if language in CAMPS[0] else 1


def table_of_camps(without_target: str = "", without_source: str = "") -> TransferTable:
    noise = np.random.default_rng(0)
    pairs = [(t, s) for t in LANGUAGES for s in LANGUAGES if s != t]
    scores = [float(camp_of(t) == camp_of(s)) + 0.1 * noise.random() for t, s in pairs]
    kept = [n for n, (t, s) in enumerate(pairs) if t != without_target and s != without_source]
    targets, sources = zip(*(pairs[n] for n in kept), strict=True)
    return TransferTable(targets, sources, np.array(scores)[kept], {}, "camps.csv")


@pytest.mark.parametrize("target", ["kor", "spa"])
def test_a_target_that_was_a_source_is_known_by_whom_it_served(target: str) -> None:
    candidates = [language for language in LANGUAGES if language != target]
    ranker = fit_ranker(table_of_camps(without_target=target), num_trees=30)
    query = typology_signals(target, candidates)
    best = [candidates[n] for n in np.argsort(-ranker.scores(query))[:5]]
    assert {camp_of(language) for language in best} == {camp_of(target)}
    assert "alike" in ranker.contributions(query)


def test_a_target_nowhere_in_the_table_is_ranked_without_it() -> None:
    ranker = fit_ranker(table_of_camps(without_target="kor", without_source="kor"), num_trees=30)
    query = typology_signals("kor", [language for language in LANGUAGES if language != "kor"])
    assert "alike" not in ranker.contributions(query)
    assert "typology+alike" in ranker.models


def test_a_table_whose_targets_are_no_sources_has_no_such_model() -> None:
    table = table_of_camps()
    rows = [n for n, (t, s) in enumerate(zip(table.targets, table.sources, strict=True)) if camp_of(t) < camp_of(s)]
    apart = replace(
        table,
        targets=tuple(table.targets[n] for n in rows),
        sources=tuple(table.sources[n] for n in rows),
        scores=table.scores[rows],
    )
    assert set(fit_ranker(apart, num_trees=5).models) == {"typology"}


def test_alikeness_weighs_the_targets_of_the_same_camp() -> None:
    history = usefulness_of(table_of_camps())
    weights = alikeness("kor", history)
    assert weights is not None and weights.sum() == pytest.approx(1.0)
    others = history.without("kor").targets
    assert sum(w for w, name in zip(weights, others, strict=True) if camp_of(name) == 0) > 0.95


def test_few_shared_targets_are_not_compared() -> None:
    history = History(("deu", "nld"), ("deu", "nld", "fra"), np.array([[np.nan, 1.0, -1.0], [1.0, np.nan, -1.0]]))
    assert alikeness("deu", history) is None
    assert set(past_features(typology_signals("deu", ["nld", "fra"]), history)) == {"prior", "neighbours"}
