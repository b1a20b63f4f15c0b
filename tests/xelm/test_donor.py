"""Which donor is chosen, and what is said where the three signals disagree."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from xelm.adding import donor
from xelm.adding.donor import DonorCandidate, choose_donor


def _candidate(name: str, loss: float, distance: float | None, words: float | None) -> DonorCandidate:
    return DonorCandidate(name, distance, "deu" if distance is not None else None, words, None, loss)


def _choose(
    monkeypatch: pytest.MonkeyPatch, own: list[DonorCandidate], base_loss: float = 9.9, wanted: str = "auto"
) -> donor.DonorChoice:
    candidates = [_candidate("base", base_loss, None, None), *own]
    monkeypatch.setattr(donor, "weigh_candidates", lambda *arguments: candidates)
    experts: Any = SimpleNamespace(names=[c.name for c in own])
    return choose_donor(experts, "swe", [], {}, wanted=wanted)


def test_the_expert_of_least_loss_is_chosen_and_agreement_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    choice = _choose(monkeypatch, [_candidate("c1", 3.0, 0.1, 0.05), _candidate("c2", 4.0, 0.5, 0.01)])
    assert choice.donor == "c1"
    assert choice.reason == (
        "c1 has the least loss of all experts on the new text (3.000 bits per byte). "
        "Typology agrees (nearest: German). Overlap agrees."
    )


def test_disagreement_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    own = [_candidate("c1", 3.0, 0.5, 0.01), _candidate("c2", 4.0, 0.1, 0.01), _candidate("c3", 5.0, 0.6, 0.05)]
    choice = _choose(monkeypatch, own)
    assert choice.donor == "c1"
    assert "Typology points to c2 (nearest: German). Overlap points to c3." in choice.reason


def test_base_is_no_donor_by_itself_but_is_named_where_it_reads_better(monkeypatch: pytest.MonkeyPatch) -> None:
    choice = _choose(monkeypatch, [_candidate("c1", 3.0, 0.1, 0.1)], base_loss=2.5)
    assert choice.donor == "c1"
    assert "The model base has even less loss (2.500)." in choice.reason


def test_loss_beyond_blind_guessing_gives_way_to_typology(monkeypatch: pytest.MonkeyPatch) -> None:
    own = [_candidate("c1", 15.0, 0.5, None), _candidate("c2", 20.0, 0.1, None)]
    choice = _choose(monkeypatch, own, base_loss=19.0)
    assert choice.donor == "c2"
    assert "c2 is nearest by typology; no expert reads the text better than blind guessing" in choice.reason
    assert "Loss points to c1." in choice.reason


def test_without_typology_overlap_decides_and_without_any_loss(monkeypatch: pytest.MonkeyPatch) -> None:
    own = [_candidate("c1", 15.0, None, 0.0), _candidate("c2", 20.0, None, 0.1)]
    assert _choose(monkeypatch, own).donor == "c2"
    own = [_candidate("c1", 15.0, None, 0.0), _candidate("c2", 20.0, None, None)]
    choice = _choose(monkeypatch, own)
    assert choice.donor == "c1"
    assert "URIEL does not know Swedish" in choice.reason
    assert "shares no words" in choice.reason


def test_a_donor_that_was_asked_for_is_taken_whatever_the_signals_say(monkeypatch: pytest.MonkeyPatch) -> None:
    own = [_candidate("c1", 3.0, 0.1, 0.1), _candidate("c2", 4.0, 0.5, 0.0)]
    choice = _choose(monkeypatch, own, wanted="c2")
    assert choice.donor == "c2"
    assert choice.reason.startswith("c2 was asked for. Loss points to c1. Typology points to c1")
