"""A run that an earlier version wrote opens, verifies, answers, goes on, and takes an addition."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from clustering.errors import BadInput
from tests.xelm.stored_runs import unpack
from xelm.adding.add import add_language, remove_language
from xelm.inference.routed import RoutedLM
from xelm.making.train import dry_run, train
from xelm.report.page import render
from xelm.run.experts import ExpertSet
from xelm.run.records.manifest import kept_files


@pytest.fixture
def stored(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of both runs, which is also where the commands run."""
    monkeypatch.chdir(unpack(tmp_path))
    return tmp_path


def _contents(run: Path) -> dict[str, bytes]:
    return {name: (run / name).read_bytes() for name in kept_files(run)}


@pytest.mark.parametrize(
    ("name", "languages"), [("first", ["deu", "nld", "rus"]), ("grown", ["deu", "nld", "rus", "swe"])]
)
def test_it_opens_verifies_and_answers(stored: Path, name: str, languages: list[str]) -> None:
    experts = ExpertSet.load(stored / name)
    assert experts.languages == languages
    assert experts.names == ["c1-deu-nld", "c2-rus"]
    assert experts.verify() == []
    lm = RoutedLM.from_pretrained(stored / name, device="cpu")
    [route] = lm.route(["Ночь день солнце хлеб"])
    assert (route.language, max(route.weights, key=route.weights.__getitem__)) == ("rus", "c2-rus")
    assert len(lm.generate(["Haus und"], max_new_tokens=4)[0]) > 0


def test_training_again_makes_nothing_anew(stored: Path) -> None:
    before = _contents(stored / "first")
    models = [name for name in before if name.startswith(("base/", "dense/", "experts/"))]
    train("recipe.toml", stored / "first", report=False)
    after = _contents(stored / "first")
    assert {name: after[name] for name in models} == {name: before[name] for name in models}
    assert ExpertSet.load(stored / "first").verify() == []


def test_another_recipe_is_refused_as_before(stored: Path) -> None:
    with pytest.raises(BadInput, match="made with another recipe, data or parent"):
        train("recipe.toml", stored / "first", overrides=("train.learning_rate=1e-3",))


def test_it_takes_an_addition_and_gives_it_back(stored: Path) -> None:
    before = (stored / "first" / "xelm.json").read_bytes(), _contents(stored / "first")
    grown = add_language(stored / "first", "swe", stored / "new" / "swe.jsonl", donor="base", tokens=256)
    assert grown.languages == ["deu", "nld", "rus", "swe"]
    assert grown.verify() == []
    assert remove_language(stored / "first", "swe").verify() == []
    assert ((stored / "first" / "xelm.json").read_bytes(), _contents(stored / "first")) == before


def test_an_addition_of_then_can_be_undone_now(stored: Path) -> None:
    assert remove_language(stored / "grown", "swe").languages == ["deu", "nld", "rus"]
    assert _contents(stored / "grown") == _contents(stored / "first")
    assert (stored / "grown" / "xelm.json").read_bytes() == (stored / "first" / "xelm.json").read_bytes()


def test_what_its_weights_had_seen_follows_from_who_came_from_whom(stored: Path) -> None:
    manifest = ExpertSet.load(stored / "grown").manifest
    base, joined, other = manifest.base, manifest.experts["c1-deu-nld"], manifest.experts["c2-rus"]
    assert base and (base.tokens_before, base.tokens_after) == (0, base.tokens)
    assert (other.tokens_before, other.parent_fingerprint) == (base.tokens, base.fingerprint)
    first = ExpertSet.load(stored / "first").manifest.experts["c1-deu-nld"]
    assert (joined.tokens_before, joined.parent_fingerprint) == (first.tokens_after, first.fingerprint)
    assert joined.tokens_after == base.tokens + first.tokens + joined.tokens
    assert joined.epochs is None and joined.blocks is None, "these were not recorded, and are not guessed"


def test_its_report_says_that_epochs_were_not_recorded_and_training_again_records_them(stored: Path) -> None:
    assert "did not record how often" in render(ExpertSet.load(stored / "first"))
    experts = train("recipe.toml", stored / "first")
    _, budget = dry_run("recipe.toml", stored / "first")
    recorded = {s.name: experts.entry_or_none(s.name) for s in budget.stages()}
    assert {name: entry.epochs for name, entry in recorded.items() if entry} == {
        s.name: s.epochs for s in budget.stages()
    }
    assert '"format_version": 2' in (stored / "first" / "xelm.json").read_text(encoding="utf-8")
    assert "did not record how often" not in (stored / "first" / "report.html").read_text(encoding="utf-8")
    assert experts.verify() == []


@pytest.mark.parametrize("entry", ["null", "[]", "3", '"x"', '{"tokens": null}', "{}"])
def test_a_damaged_entry_of_an_earlier_version_is_told(stored: Path, entry: str) -> None:
    file = stored / "grown" / "previous" / "c1-deu-nld.v1" / "xelm_model.json"
    file.write_text(entry)
    if not entry.startswith("{"):
        with pytest.raises(BadInput, match=r"xelm_model\.json: damaged, no entry of a model"):
            ExpertSet.load(stored / "grown")
    else:
        assert any("c1-deu-nld.v1" in problem for problem in ExpertSet.load(stored / "grown").verify())


@pytest.mark.parametrize("name", [None, 3, [], {}])
@pytest.mark.parametrize("field", ["expert", "donor"])
def test_an_addition_of_no_name_is_told(stored: Path, field: str, name: object) -> None:
    file = stored / "grown" / "xelm.json"
    manifest = json.loads(file.read_text())
    manifest["ledger"][0][field] = name
    file.write_text(json.dumps(manifest))
    with pytest.raises(BadInput, match="ledger"):
        ExpertSet.load(stored / "grown")


def test_a_tokenizer_of_settings_that_are_none_is_told(stored: Path) -> None:
    file = stored / "grown" / "base" / "tokenizer_config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), "model_max_length": ""}))
    with pytest.raises(BadInput, match="no tokenizer in"):
        ExpertSet.load(stored / "grown").tokenizer()
