"""`verify` covers the manifest itself: what it says of models and additions is what was written, and agrees."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

import xelm.cli
from clustering.errors import BadInput
from tests.xelm.stored_runs import unpack
from xelm.adding.add import add_language, remove_language
from xelm.run.experts import ExpertSet
from xelm.run.records.lineage import origin
from xelm.run.records.manifest import FILE_NAME, digest

Table = dict[str, Any]


@pytest.fixture(scope="module")
def stored(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return unpack(tmp_path_factory.mktemp("stored"))


@pytest.fixture(scope="module")
def grown(stored: Path) -> Path:
    """A run to which today's xelm added a language."""
    run = Path(shutil.copytree(stored / "first", stored / "grown-now"))
    add_language(run, "swe", stored / "new" / "swe.jsonl", donor="base", tokens=128)
    return run


def _falsify(run: Path, change: Callable[[Table], Any], *, sealed: bool) -> None:
    """Change the manifest; `sealed`: with a checksum that fits, as who knows how it is taken can."""
    value = json.loads((run / FILE_NAME).read_text())
    change(value)
    if sealed and "sha256" in value:
        value["sha256"] = digest(value)
    (run / FILE_NAME).write_text(json.dumps(value))


CHANGES: dict[str, Callable[[Table], Any]] = {
    "donor": lambda value: value["ledger"][0].update(donor="c2-rus"),
    "sha256": lambda value: value["ledger"][0].update(sha256="0" * 64),
    "bits per byte": lambda value: value["ledger"][0]["bits_per_byte"]["deu"].update(after=0.5),
    "tokens": lambda value: value["ledger"][0].update(tokens=10**9),
    "expert": lambda value: value["ledger"][0].update(expert="c2-rus"),
    "language": lambda value: value["ledger"][0].update(language="fra"),
    "another line": lambda value: value["ledger"].append(value["ledger"][0]),
    "parent": lambda value: value["experts"]["c2-rus"].update(parent="dense"),
    "kind": lambda value: value["experts"]["c2-rus"].update(kind="lora"),
}


@pytest.mark.parametrize("what", CHANGES)
@pytest.mark.parametrize("sealed", [False, True])
def test_a_falsified_ledger_or_model_is_found_and_nothing_is_removed(
    grown: Path, tmp_path: Path, what: str, sealed: bool
) -> None:
    run = Path(shutil.copytree(grown, tmp_path / "run"))
    _falsify(run, CHANGES[what], sealed=sealed)
    problems = ExpertSet.load(run).verify()
    assert any(FILE_NAME in problem for problem in problems)
    assert (f"changed: {FILE_NAME}" in problems) is not sealed
    with pytest.raises(BadInput, match="the run is not whole"):
        remove_language(run, "swe")


@pytest.mark.parametrize("what", [name for name in CHANGES if name != "expert"])
def test_a_falsified_ledger_of_an_earlier_version_is_found_too(stored: Path, tmp_path: Path, what: str) -> None:
    run = Path(shutil.copytree(stored / "grown", tmp_path / "run"))
    _falsify(run, CHANGES[what], sealed=False)
    assert any(FILE_NAME in problem for problem in ExpertSet.load(run).verify())


def test_what_nothing_denies_is_found_by_the_manifest_s_own_checksum(grown: Path, tmp_path: Path) -> None:
    run = Path(shutil.copytree(grown, tmp_path / "run"))
    _falsify(run, lambda value: value["metrics"].update(mean_gain_percent=99.0), sealed=False)
    assert ExpertSet.load(run).verify() == [f"changed: {FILE_NAME}"]


def test_a_checksum_that_was_taken_out_is_missed(grown: Path, tmp_path: Path) -> None:
    run = Path(shutil.copytree(grown, tmp_path / "run"))
    _falsify(run, lambda value: value.pop("sha256"), sealed=False)
    assert ExpertSet.load(run).verify() == [f"{FILE_NAME}: its own checksum is gone"]


def test_verify_says_what_it_does_not_cover(stored: Path, grown: Path) -> None:
    def said(run: Path) -> str:
        result = CliRunner().invoke(xelm.cli.group, ["verify", str(run)])
        assert result.exit_code == 0, result.output
        return result.output

    assert f"note: {FILE_NAME} itself is not covered" in said(stored / "first")
    assert "note:" not in said(grown)


def test_nobody_is_its_own_parent_and_no_version_is_named_that_is_gone(stored: Path, tmp_path: Path) -> None:
    run = Path(shutil.copytree(stored / "grown", tmp_path / "run"))
    text = stored / "new" / "swe.jsonl"

    def origins() -> dict[str, str]:
        experts = ExpertSet.load(run)
        return {name: origin(run, experts.manifest, name) for name in experts.names}

    assert origins() == {"c1-deu-nld": "c1-deu-nld (version 1, kept)", "c2-rus": "base"}
    remove_language(run, "swe")
    assert origins() == {"c1-deu-nld": "base", "c2-rus": "base"}
    add_language(run, "swe", text, donor="deu", as_="join", tokens=128, replay=0)
    assert origins() == {"c1-deu-nld": "c1-deu-nld (version 1, kept)", "c2-rus": "base"}
    assert "c1-deu-nld (version 1, kept)" in (run / "report.html").read_text(encoding="utf-8")
    assert ExpertSet.load(run).verify() == []
    pol = tmp_path / "pol.jsonl"
    pol.write_text(text.read_text(encoding="utf-8").replace("och", "nie"), encoding="utf-8")
    add_language(run, "pol", pol, donor="c1-deu-nld", tokens=128, believe_label=True)
    assert origins()["c3-pol"] == "c1-deu-nld"
    remove_language(run, "swe")
    assert origins() == {"c1-deu-nld": "base", "c2-rus": "base", "c3-pol": "c1-deu-nld (a version that is gone)"}
    assert ExpertSet.load(run).verify() == []
