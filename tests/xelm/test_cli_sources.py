"""`xelm sources`: both its forms, what it prints and writes, and how it refuses."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from clustering.errors import BadInput
from xelm.cli.sources import command


def run(*arguments: str) -> Result:
    return CliRunner().invoke(command, list(arguments), catch_exceptions=False, standalone_mode=False)


def test_a_target_gives_a_table() -> None:
    result = run("swa", "--candidates", "deu,zul,Swahili")
    assert result.exit_code == 0
    lines = result.output.splitlines()
    assert lines[0] == "Source languages for Swahili (swa), of 2:"
    assert lines[4].split()[1] == "zul"


def test_json_is_all_there_is_on_stdout(tmp_path: Path) -> None:
    result = run("swa", "--candidates", "deu,zul", "--json", "--out", str(tmp_path / "r.md"))
    assert [row["language"] for row in json.loads(result.stdout)["ranking"]] == ["zul", "deu"]
    assert "# Source languages for Swahili" in (tmp_path / "r.md").read_text(encoding="utf-8")


def test_fit_makes_a_ranker_that_ranks(tmp_path: Path) -> None:
    languages = ["deu", "nld", "spa", "ita", "rus"]
    lines = [f"{a},{b},{languages.index(b)}" for a in languages for b in languages if a != b]
    (tmp_path / "t.csv").write_text("\n".join(["target,source,score", *lines]))
    fitted = run("fit", str(tmp_path / "t.csv"), "--out", str(tmp_path / "r.json"))
    assert "20 pairs: 5 targets, 5 sources" in fitted.output
    ranked = run("swe", "--candidates", "deu,rus", "--ranker", str(tmp_path / "r.json"), "--json")
    assert json.loads(ranked.stdout)["method"] == "ranker trained on t.csv (5 targets, 20 pairs)"


def test_help_shows_both_forms() -> None:
    assert "xelm sources fit results.csv --out ranker.json" in run("--help").output
    assert "--lower-is-better" in run("fit", "--help").output


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("swahlii",), "Unknown language"),
        (("swa", "--out", "r.pdf"), "html"),
        (("swa", "--tokenizer", "x"), "give a corpus"),
        (("swa", "--candidates", ""), "No candidate"),
        (("fit", "/nowhere.csv", "--out", "r.json"), "no such file"),
    ],
)
def test_bad_input_is_explained(arguments: tuple[str, ...], message: str) -> None:
    with pytest.raises(BadInput, match=message):
        run(*arguments)
