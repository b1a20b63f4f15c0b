"""Text that stands in two splits or two languages is counted before anything is trained on it."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clustering.corpora.shingles import Shingles, letters_of
from tests.xelm.conftest import sentences, write_jsonl
from xelm.corpus.duplicates import HeldOutOverlap, SharedTraining, _Sketch, find_duplicates, kept_duplicates
from xelm.making.train import dry_run
from xelm.recipe.recipe import Recipe

ALPHABET = "abcdefghijklmnopqrstuvwxyz"


def _document(seed: object, words: int = 12) -> str:
    """Words that no other document has."""
    rng = random.Random(str(seed))
    return " ".join("".join(rng.choices(ALPHABET, k=rng.randint(3, 9))) for _ in range(words))


def _found(held: list[str], others: list[str]) -> tuple[set[int], set[int]]:
    return Shingles(held).find(map(letters_of, others))


@pytest.mark.parametrize(
    "change",
    [
        lambda text: f"{text} ",
        lambda text: text.upper(),
        lambda text: text.replace(" ", "\n\t"),
        lambda text: f"„{text}!“".replace(" ", ", "),
        lambda text: "".join(chr(ord(c) + 0xFEE0) if c.isalpha() else c for c in text),  # full width
    ],
)
def test_space_case_and_punctuation_make_no_other_document(change: Callable[[str], str]) -> None:
    held = [_document(n) for n in range(30)]
    others = [_document(f"other {n}") for n in range(50)]
    assert _found(held, [*others, *map(change, held[:20])]) == (set(range(20)), set())


@pytest.mark.parametrize(
    "change",
    [
        lambda text: text.replace(text.split()[5], "anders"),
        lambda text: f"{text} {_document('tail', 4)}",
        lambda text: text[: int(0.7 * len(text))],
        lambda text: f"{_document('page', 400)} {text} {_document('end', 400)}",
    ],
    ids=["a word changed", "a sentence more", "cut", "inside a long document"],
)
def test_a_document_nearly_the_same_is_found(change: Callable[[str], str]) -> None:
    held = [_document(n) for n in range(30)]
    same, near = _found(held, [*(_document(f"other {n}") for n in range(50)), *map(change, held[:20])])
    assert same == set()
    assert near == set(range(20))


def test_other_text_of_the_same_language_is_not(shared: Path) -> None:
    from clustering.corpora.find import source_of

    rows = list(source_of(shared / "progit" / "deu.jsonl.gz", "deu").rows())
    held = [row.text for row in rows if row.split == "test"]
    trained = [row.text for row in rows if row.split == "train"]
    assert _found(held, trained) == (set(), set())


def test_scripts_without_spaces_are_compared_too() -> None:
    held = ["東京都は日本の首都であり、世界でも有数の大都市である。人口は約千四百万人。"]
    assert _found(held, [held[0].replace("、", "").replace("。", " ")]) == ({0}, set())
    assert _found(held, [held[0].replace("世界", "亜細亜")]) == (set(), {0})


def test_windows_are_sampled_where_there_are_many(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("clustering.corpora.shingles._MOST_WINDOWS", 3000)
    held = [_document(n, 60) for n in range(40)]
    others = [f"{text} und noch etwas" for text in held[:25]]
    assert _found(held, others) == (set(), set(range(25)))


@given(
    texts=st.lists(st.text("ab c.日", max_size=60), max_size=6),
    others=st.lists(st.text("ab c.日", max_size=60), max_size=6),
)
def test_the_same_letters_are_always_found_and_no_others_called_the_same(texts: list[str], others: list[str]) -> None:
    there = {letters_of(text) for text in others} - {""}
    same, near = _found(texts, others)
    assert same == {n for n, text in enumerate(texts) if letters_of(text) in there}
    assert not same & near


def _rows(code: str, number: int) -> list[dict[str, str]]:
    rows = [{"text": _document(f"{code} {n}"), "split": "train"} for n in range(number)]
    return [*rows, *({"text": _document(f"{code} t{n}"), "split": "test"} for n in range(20))]


def test_test_documents_in_training_text_are_counted_in_the_dry_run(
    tmp_path: Path, tiny_recipe: Callable[..., Recipe]
) -> None:
    corpus = tmp_path / "corpus"
    deu, nld = _rows("deu", 40), _rows("nld", 40)
    deu += [{"text": f"{row['text']} ", "split": "test"} for row in deu[:20]]
    deu += [{"text": _document(f"deu {n}"), "split": "valid"} for n in range(30, 33)]  # the same: left out
    deu += [{"text": f"{row['text']}.", "split": "train"} for row in nld[40:52]]
    write_jsonl(corpus / "deu.jsonl", list(deu))
    write_jsonl(corpus / "nld.jsonl", list(nld))
    recipe = tiny_recipe(data={"path": str(corpus)})
    told = "\n".join(dry_run(recipe, tmp_path / "run")[1].warnings)
    assert "German (deu): 20 of 40 test documents are in its own training text as well (20 but for spaces" in told
    assert "Dutch (nld): 12 of 20 test documents are in the training text of German (deu) as well (12 but" in told
    assert told.count("Results on them are too good") == 2
    (kept,) = (tmp_path / "run" / "cache").glob("duplicates-*.json")
    assert len(json.loads(kept.read_text())["heldout"]) == 2
    assert "\n".join(dry_run(recipe, tmp_path / "run")[1].warnings) == told


def test_a_corpus_without_duplicates_is_not_warned_of(tmp_path: Path, tiny_recipe: Callable[..., Recipe]) -> None:
    for code in ("deu", "nld"):
        write_jsonl(tmp_path / "corpus" / f"{code}.jsonl", list(_rows(code, 40)))
    warnings = dry_run(tiny_recipe(data={"path": str(tmp_path / "corpus")}), tmp_path / "run")[1].warnings
    assert not [warning for warning in warnings if "are in" in warning]


def test_training_text_of_two_languages_is_compared() -> None:
    deu = [_document(n) for n in range(40)]
    nld = [*(text.upper() for text in deu[:10]), *(_document(f"nld {n}") for n in range(10))]
    found = find_duplicates({}, {"deu": lambda: deu, "nld": lambda: nld, "rus": lambda: [_document("rus")]})
    assert found.training == [SharedTraining(("deu", "nld"), 0.5)]
    assert "German (deu) and Dutch (nld): 50.0% of the training documents of the smaller" in found.warnings()[0]


def test_what_is_shared_by_large_texts_is_estimated(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("xelm.corpus.duplicates._SKETCH", 500)
    deu = [_document(n, 5) for n in range(4000)]
    nld = [*deu[:1000], *(_document(f"nld {n}", 5) for n in range(1000))]
    (shared,) = find_duplicates({}, {"deu": lambda: deu, "nld": lambda: nld}).training
    assert shared.share == pytest.approx(0.5, abs=0.1)


def test_a_sketch_keeps_the_smallest_keys_however_they_come(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("xelm.corpus.duplicates._SKETCH", 20)
    letters = [letters_of(_document(n)) for n in range(200)]
    sketches = []
    for order in (letters, letters[::-1], [*letters, *letters]):
        sketch = _Sketch()
        assert list(sketch.watch(order)) == order
        sketches.append(sketch.keys())
    assert sketches[0] == sketches[1] == sketches[2]
    assert len(sketches[0][0]) == 20
    assert sketches[0][1] == max(sketches[0][0])


def test_valid_and_test_text_are_compared_and_short_text_of_another_language_is_not() -> None:
    held = {"deu": {"test": [_document(1), "Amen."], "valid": [f"{_document(1)}!"]}}
    found = find_duplicates(held, {"deu": lambda: ["amen"], "nld": lambda: ["Amen!"]})
    assert found.heldout == [
        HeldOutOverlap("deu", "test", 2, "deu", 1, 0),
        HeldOutOverlap("deu", "test", 2, "valid", 1, 0),
    ]


def test_a_damaged_result_is_made_again(tmp_path: Path) -> None:
    result = find_duplicates({"deu": {"test": [sentences("deu", 1)[0]]}}, {"deu": lambda: sentences("deu", 1)})
    file = tmp_path / "duplicates.json"
    for content in ("", "[]", '{"heldout": [{"a": 1}], "training": []}', "[" * 100_000):
        file.write_text(content)
        assert kept_duplicates(file, lambda: result) == result
        assert kept_duplicates(file, lambda: 1 / 0) == result  # type: ignore[arg-type,return-value]
