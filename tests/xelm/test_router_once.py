"""An evaluation of several policies reads each text for its language once, and figures are the same to the bit."""

from __future__ import annotations

import pytest

from router.identify.combined import CombinedIdentifier
from tests.xelm.conftest import write_jsonl
from tests.xelm.made_runs import TEXTS, make_run
from xelm.evaluation.evaluate import evaluate_on
from xelm.evaluation.router_once import RouterOnce
from xelm.inference.run_router import RunRouter
from xelm.run.experts import ExpertSet


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = make_run(tmp_path_factory.mktemp("once"), "full")
    (folder / "eval/heldout").mkdir(parents=True)
    for code, texts in TEXTS.items():
        rows = [{"text": text, "split": "test", "id": str(number)} for number, text in enumerate(texts)]
        write_jsonl(folder / f"eval/heldout/{code}.jsonl", rows)
    return ExpertSet.load(folder)


def test_routes_are_the_router_s_own_and_a_list_is_read_once(run, monkeypatch):
    read, identify = [], CombinedIdentifier.identify_openly

    def counted(self, texts):
        read.append(len(texts))
        return identify(self, texts)

    monkeypatch.setattr(CombinedIdentifier, "identify_openly", counted)
    texts = [text for rows in TEXTS.values() for text in rows]
    once, plain = RouterOnce(run), RunRouter(run)
    first, again = once.routes(texts), once.routes(texts)
    assert read == [len(texts)] and first == again and first is not again
    assert plain.routes(texts) == first
    once.routes(texts[:1])
    assert read == [len(texts), len(texts), 1]


def test_more_policies_read_no_more_and_change_no_figure(run, monkeypatch):
    read, identify = [], CombinedIdentifier.identify_openly

    def counted(self, texts):
        read.append(len(texts))
        return identify(self, texts)

    monkeypatch.setattr(CombinedIdentifier, "identify_openly", counted)
    one = evaluate_on(run, None, policies=("top1",))
    of_one = sum(read)
    read.clear()
    three = evaluate_on(run, None, policies=("ensemble", "top1", "bayes"))
    assert sum(read) == of_one and three.routed["top1"] == one.routed["top1"]
    assert three.routed_by_text["top1"] == one.routed_by_text["top1"]
