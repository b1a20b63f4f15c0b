"""A corpus with one language in two scripts: two points for plan, experts, router, evaluation and additions."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from clustering.errors import BadInput
from tests.xelm.adding import contents, copy_of
from tests.xelm.conftest import make_corpus, sentences, tiny_table, write_jsonl
from xelm import ExpertSet, Recipe, RoutedLM
from xelm.adding.add import add_language, remove_language
from xelm.evaluation.evaluate import evaluate_on
from xelm.making.train import train

LATIN = str.maketrans("абвгдежзийклмнопрстуфхцчшщыэюя", "abvgdežziiklmnoprstufhcčššyeua")


def in_latin(code: str, number: int, seed: int = 0) -> list[str]:
    return [text.lower().translate(LATIN).replace("ё", "e").replace("ь", "") for text in sentences(code, number, seed)]


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run on German, Dutch, and Russian in both scripts."""
    folder = tmp_path_factory.mktemp("scripts")
    corpus = make_corpus(folder / "corpus")
    (corpus / "rus.jsonl").rename(corpus / "rus_Cyrl.jsonl")
    write_jsonl(corpus / "rus_Latn.jsonl", list(in_latin("rus", 60)))
    table = tiny_table(data={"path": str(corpus)}, train={"tokens": 2048})
    return train(Recipe.from_dict(table), folder / "run").path


def test_each_script_is_a_point_of_its_own(finished: Path) -> None:
    experts = ExpertSet.load(finished)
    assert experts.verify() == []
    assert sorted(experts.languages) == ["deu", "nld", "rus_Cyrl", "rus_Latn"]
    assert sorted(file.stem for file in (finished / "eval" / "heldout").iterdir()) == sorted(experts.languages)
    result = experts.result("test")
    assert result is not None and set(result.bits("base")) == set(experts.languages)
    assert "Russian (Latin)" in (finished / "report.html").read_text(encoding="utf-8")


def test_text_is_routed_by_its_script(finished: Path) -> None:
    lm = RoutedLM.from_pretrained(finished, device="cpu")
    texts = [sentences("rus", 1, seed=5)[0], in_latin("rus", 1, seed=5)[0]]
    assert [route.language for route in lm.route(texts)] == ["rus_Cyrl", "rus_Latn"]
    assert "Russian (Latin) (rus_Latn)" in lm.route(texts)[1].reason


def test_other_text_is_measured_under_its_script(finished: Path, tmp_path: Path) -> None:
    write_jsonl(tmp_path / "rus_Latn.jsonl", list(in_latin("rus", 4, seed=3)))
    found = evaluate_on(ExpertSet.load(finished), str(tmp_path))
    assert set(found.bits("base")) == {"rus_Latn"}


def test_a_third_script_may_be_added_and_removed(finished: Path, tmp_path: Path) -> None:
    run = copy_of(finished, tmp_path)
    before = contents(run)
    greek = [{"text": f"{text} και δεν"} for text in sentences("deu", 40, seed=2)]
    data = write_jsonl(tmp_path / "text.jsonl", greek)
    with pytest.raises(BadInput, match="in this run already"):
        add_language(run, "rus_Latn", data=data, tokens=512)
    add_language(run, "rus_Grek", data=data, tokens=512, believe_label=True)
    grown = ExpertSet.load(run)
    assert "rus_Grek" in grown.languages and json.loads((run / "xelm.json").read_text())["ledger"]
    remove_language(run, "rus_Grek")
    assert contents(run) == before
