"""Readers that are open while another process changes the run: they go on with the new one, or say what happened."""

from __future__ import annotations

import shutil
import threading
from pathlib import Path

import pytest

from clustering.errors import BadInput
from tests.xelm.hostile import hashes
from tests.xelm.stored_runs import unpack
from xelm.adding.add import add_language, remove_language
from xelm.inference.routed import RoutedLM
from xelm.making.train import rewrite_report
from xelm.run.experts import ExpertSet
from xelm.run.snapshot import RunChangedError

SWEDISH = "och att det som på är inte jag hus vatten morgon kväll"


@pytest.fixture
def stored(tmp_path: Path) -> Path:
    return unpack(tmp_path)


def test_an_open_run_sees_a_language_that_leaves_and_one_that_comes(stored: Path) -> None:
    run = stored / "grown"
    lm = RoutedLM.from_pretrained(run, device="cpu", languages="run")
    assert "swe" in lm.experts.languages
    lm.generate([SWEDISH[:20]], max_new_tokens=2)  # the expert that it joined is in memory
    before = lm.score(["Haus und Wasser"], "c1-deu-nld")[0].nats
    remove_language(run, "swe")
    assert "swe" not in {route.language for route in lm.route([SWEDISH])}
    assert lm.score(["Haus und Wasser"], "c1-deu-nld")[0].nats != before, "the earlier version answers now"
    add_language(run, "swe", stored / "new" / "swe.jsonl", donor="base", tokens=128)
    assert lm.route([SWEDISH])[0].language == "swe"
    assert "c3-swe" in lm.names
    assert len(lm.generate([SWEDISH[:20]], "c3-swe", max_new_tokens=2)) == 1


def test_a_report_written_again_changes_no_answer(stored: Path) -> None:
    lm = RoutedLM.from_pretrained(stored / "first", device="cpu")
    before = lm.score(["Haus"])[0]
    rewrite_report(stored / "first")
    assert lm.score(["Haus"])[0] == before


def test_an_answer_under_way_says_that_the_run_changed_and_not_that_it_is_damaged(stored: Path) -> None:
    run = stored / "grown"
    lm = RoutedLM.from_pretrained(run, device="cpu", languages="run")
    [route] = lm.route([SWEDISH])
    remove_language(run, "swe")
    with pytest.raises(RunChangedError, match="another process changed this run since it was opened"):
        lm.models.get("c1-deu-nld")
    assert route.language == "swe"


def test_a_model_made_from_the_run_says_that_the_run_changed(stored: Path) -> None:
    import torch

    model = RoutedLM.from_pretrained(stored / "grown", device="cpu").as_causal_lm("ensemble")
    ids = torch.tensor([[5, 6, 7]])
    model(input_ids=ids)
    remove_language(stored / "grown", "swe")
    with pytest.raises(RunChangedError, match="since the model was made from it"):
        model(input_ids=ids)


def test_a_run_that_is_taken_away_goes_on_answering_from_memory(stored: Path) -> None:
    lm = RoutedLM.from_pretrained(stored / "first", device="cpu")
    before = lm.generate(["Haus"], max_new_tokens=2)
    shutil.rmtree(stored / "first")
    assert lm.generate(["Haus"], max_new_tokens=2) == before


def test_damage_is_still_damage(stored: Path) -> None:
    lm = RoutedLM.from_pretrained(stored / "first", device="cpu")
    (stored / "first" / "experts" / "c2-rus" / "config.json").write_text("{}")
    with pytest.raises(BadInput, match=r"config\.json: changed since the run was written"):
        lm.models.get("c2-rus")


def test_looks_during_changes_find_a_whole_run_each_time(stored: Path) -> None:
    run, ended, seen, failures = stored / "first", threading.Event(), set[bool](), list[BaseException]()

    def look() -> None:
        while not ended.is_set():
            try:
                lm = RoutedLM.from_pretrained(run, device="cpu", languages="run")
                seen.add("swe" in lm.experts.languages)
            except BaseException as error:
                failures.append(error)
                return

    reader = threading.Thread(target=look)
    reader.start()
    try:
        add_language(run, "swe", stored / "new" / "swe.jsonl", donor="base", tokens=128)
        remove_language(run, "swe")
    finally:
        ended.set()
        reader.join()
    assert not failures
    assert seen == {True, False}


def test_readers_leave_no_trace(stored: Path) -> None:
    run = stored / "grown"
    before = hashes(run)
    experts = ExpertSet.load(run)
    experts.verify()
    lm = RoutedLM.from_pretrained(run, device="cpu")
    lm.generate(["Haus"], max_new_tokens=1)
    lm.score(["Haus"])
    assert hashes(run) == before
