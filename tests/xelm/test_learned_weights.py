"""`[router] weights = "learned"`: learned when a run is finished, again with each language, taken back with it."""

from __future__ import annotations

import json
import logging
import shutil
from pathlib import Path

import pytest

from clustering.errors import BadInput
from router.routes.learned import ARRAYS_FILE, INDEX_FILE, LearnedWeights
from tests.xelm.adding import contents, copy_of, train_tiny
from tests.xelm.conftest import WORDS, sentences, write_jsonl
from xelm import ExpertSet, RoutedLM
from xelm.adding.add import add_language, remove_language


def text_of(folder: Path, code: str, words: str = "deu") -> Path:
    """`<code>.jsonl` with enough valid documents to learn from."""
    splits = ["train"] * 40 + ["valid"] * 6 + ["test"] * 3
    rows = zip(sentences(words, len(splits)), splits, strict=True)
    return write_jsonl(folder / f"{code}.jsonl", [{"text": text, "split": split} for text, split in rows])


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("learned")
    for code in WORDS:
        text_of(folder / "text", code, code)
    return train_tiny(folder, data={"path": str(folder / "text")}, router={"weights": "learned"})


def test_what_was_learned_is_kept_with_what_it_saves_and_the_run_is_whole(finished: Path) -> None:
    assert ExpertSet.load(finished).verify() == []
    learned = LearnedWeights.load(finished / "router")
    assert learned is not None and learned.gain.documents == 18
    lm = RoutedLM.from_pretrained(finished, device="cpu")
    assert set(learned.experts) == set(lm.names)
    [route] = lm.route([sentences("rus", 1, seed=7)[0]])
    assert route.language == "rus" and sum(route.weights.values()) == pytest.approx(1)


def test_a_win_decides_and_the_reason_says_so(finished: Path, tmp_path: Path) -> None:
    run, text = copy_of(finished, tmp_path), sentences("rus", 1, seed=7)[0]
    learned = LearnedWeights.load(run / "router")
    assert learned is not None
    index = json.loads((run / "router" / INDEX_FILE).read_text())
    index["gain"] |= {"percent": 5.0, "error": 0.1}
    (run / "router" / INDEX_FILE).write_text(json.dumps(index))
    [route] = RoutedLM.from_pretrained(run, device="cpu", check_files=False).route([text])
    [plain] = RoutedLM.from_pretrained(finished, device="cpu").route([text])
    [bits] = learned.corrections([text])
    odds = {name: route.weights[name] / plain.weights[name] for name in learned.experts}
    first, *others = learned.experts
    assert all(
        odds[name] / odds[first] == pytest.approx(2.718281828 ** ((bits[0] - bits[k]) / 0.02), rel=1e-6)
        for k, name in enumerate(others, 1)
    )


def test_a_language_comes_and_leaves_and_each_time_the_weights_are_learned_for_the_experts(
    finished: Path, tmp_path: Path
) -> None:
    run = copy_of(finished, tmp_path)
    before = contents(run)
    add_language(run, "swe", text_of(tmp_path, "swe", "nld"), tokens=512, believe_label=True, trial=0.0)
    grown = ExpertSet.load(run)
    learned = LearnedWeights.load(run / "router")
    assert learned is not None and set(learned.experts) == {*grown.names, "base"} and learned.gain.documents == 24
    remove_language(run, "swe")
    assert contents(run) == before


def test_too_few_documents_are_said_and_weighed_by_language(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        run = train_tiny(tmp_path, router={"weights": "learned"})
    assert "held-out documents are too few" in caplog.text and "weighed by language" in caplog.text
    assert not (run / "router" / INDEX_FILE).exists()
    assert RoutedLM.from_pretrained(run, device="cpu").route([sentences("rus", 1, seed=7)[0]])[0].language == "rus"


def test_weights_of_other_experts_are_refused(finished: Path, tmp_path: Path) -> None:
    run = Path(shutil.copytree(finished, tmp_path / "other"))
    index = json.loads((run / "router" / INDEX_FILE).read_text())
    index["experts"][0] = "somebody"
    (run / "router" / INDEX_FILE).write_text(json.dumps(index))
    with pytest.raises(BadInput, match=r"weights are learned for somebody.*Restore the router"):
        RoutedLM.from_pretrained(run, device="cpu", check_files=False)
    assert (run / "router" / ARRAYS_FILE).exists()
