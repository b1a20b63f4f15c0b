"""`xelm cluster` from the command line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from clustering.errors import BadInput
from clustering.plans.plan import ClusterPlan
from xelm.cli.cluster import command


def _run(*arguments: str) -> Result:
    return CliRunner().invoke(command, arguments)


def test_clusters_coverage_and_quality_are_printed(tmp_path: Path) -> None:
    result = _run(
        "de", "nl", "lvs", "fil", "-k", "2", "--out", str(tmp_path / "p.json"), "--plot", str(tmp_path / "t.svg")
    )
    assert result.exit_code == 0, result.output
    assert "German, Standard Latvian, Dutch" in result.stdout
    assert "read as lav" in result.stdout and "79/103" in result.stdout
    assert "silhouette" in result.stdout
    assert ClusterPlan.load(tmp_path / "p.json").cluster_of("lv") == ClusterPlan.load(tmp_path / "p.json").cluster_of(
        "de"
    )
    assert (tmp_path / "t.svg").stat().st_size > 1000


def test_json_is_the_plan_and_nothing_else() -> None:
    result = _run("de", "nl", "ja", "-k", "2", "--json")
    assert json.loads(result.stdout)["clusters"] == {"c1-deu-nld": ["deu", "nld"], "c2-jpn": ["jpn"]}


def test_suggest_k_prints_a_row_per_k_and_json() -> None:
    table = _run("de", "nl", "ja", "ko", "--suggest-k").stdout
    assert len([line for line in table.splitlines() if line[:1].isdigit()]) == 4
    assert "0.43 *" in table or " *" in table
    rows = json.loads(_run("de", "nl", "ja", "ko", "--suggest-k", "--stability", "--json").stdout)
    assert [row["k"] for row in rows] == [1, 2, 3, 4]
    assert rows[1]["quality"]["stability"] is not None


def test_own_distances_and_tokens_are_obeyed(tmp_path: Path) -> None:
    (tmp_path / "d.csv").write_text(",de,nl,ja\nde,0,1,0.1\nnl,1,0,1\nja,0.1,1,0\n", encoding="utf-8")
    result = _run("de", "nl", "ja", "-k", "2", "--distances", str(tmp_path / "d.csv"), "--json")
    assert json.loads(result.stdout)["clusters"] == {"c1-deu-jpn": ["deu", "jpn"], "c2-nld": ["nld"]}
    loads = [f"--tokens={code}={number}" for code, number in (("de", "9e6"), ("nl", "1_000"), ("ja", "1000"))]
    balanced = _run("de", "nl", "ja", "-k", "2", "--balance", "tokens", *loads, "--json")
    assert json.loads(balanced.stdout)["clusters"]["c2-deu"] == ["deu"]


def test_languages_of_which_nothing_is_known_are_pointed_out() -> None:
    assert "Nothing is known of the features of Standard Moroccan Tamazight" in _run("de", "zgh", "-k", "1").stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("de", "nl"), "How many clusters"),
        (("de", "nl", "-k", "3"), "-k 3 does not fit"),
        (("de", "nl", "-k", "1", "--method", "wards"), "Did you mean 'ward'"),
        (("de", "nl", "-k", "1", "--distance", "syntactic", "--distances", "d.csv"), "one of them"),
        (("de", "nl", "-k", "1", "--suggest-k"), "without -k"),
        (("de", "nl", "-k", "1", "--balance", "tokens", "--tokens", "de"), "LANG=NUMBER"),
        (("de", "nl", "-k", "1", "--balance", "tokens"), "--balance tokens needs --tokens LANG=N"),
        (("de", "nl", "-k", "1", "--method", "tfidf"), "--method tfidf groups by text: give --corpus FOLDER"),
        (("de", "dutchh", "-k", "1"), "Did you mean Dutch"),
        (("de", "nl", "-k", "1", "--distances", "none.csv"), "no such file"),
    ],
)
def test_bad_usage_is_one_clear_message(arguments: tuple[str, ...], message: str) -> None:
    error = _run(*arguments).exception
    assert isinstance(error, BadInput)
    assert message in str(error)


def test_help_lists_every_method_and_every_kind_of_distance() -> None:
    text = " ".join(_run("--help").output.split())
    assert "tfidf (even clusters by the languages' text)" in text
    assert "x-elm (of the X-ELM authors, for method pairs)" in text and "combined (mean of syntactic" in text


def test_method_tfidf_groups_by_a_corpus(tmp_path: Path) -> None:
    for code, text in (
        ("deu", "guten Morgen"),
        ("nld", "goede morgen"),
        ("rus", "доброе утро"),
        ("ukr", "добрий ранок"),
    ):
        (tmp_path / f"{code}.txt").write_text(f"{text}\n", encoding="utf-8")
    result = _run("de", "nl", "ru", "uk", "-k", "2", "--method", "tfidf", "--corpus", str(tmp_path))
    assert "German, Dutch\n" in result.output and "Russian, Ukrainian\n" in result.output
    assert "tfidf on tf-idf distances" in result.output
