"""`xelm route`, `generate` and `score` print what the Python calls return."""

from __future__ import annotations

import json

import pytest
from click.testing import CliRunner

from clustering.errors import BadInput
from tests.xelm.made_runs import TEXTS, make_run
from xelm.cli import group


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return str(make_run(tmp_path_factory.getbasetemp(), "full"))


def invoke(*arguments):
    # Errors come through as they are: the program's `main` turns BadInput into exit code 2.
    return CliRunner().invoke(group, ["-q", *arguments], catch_exceptions=False)


def test_route_prints_languages_and_spans(run):
    routes = json.loads(invoke("route", run, TEXTS["deu"][0], TEXTS["rus"][0], "--json").stdout)
    assert [route["language"] for route in routes] == ["deu", "rus"]
    mixed = f"{TEXTS['deu'][0]} {TEXTS['rus'][0]}"
    [spans] = json.loads(invoke("route", run, mixed, "--spans", "--json").stdout)
    assert [span["route"]["language"] for span in spans] == ["deu", "rus"]
    assert "-> russian" in invoke("route", run, TEXTS["rus"][0]).stdout


def test_generate_streams_what_it_prints_whole(run):
    text = TEXTS["rus"][0]
    [row] = json.loads(invoke("generate", run, text, "--max-new-tokens", "5", "--json", "--device", "cpu").stdout)
    streamed = invoke("generate", run, text, "--max-new-tokens", "5", "--stream", "--device", "cpu").stdout_bytes
    assert streamed.decode() == text + row["text"] + "\n"
    assert row["route"]["language"] == "rus"


def test_score_prints_bits_per_byte(run):
    rows = json.loads(invoke("score", run, TEXTS["deu"][0], "", "--policy", "topm", "--m", "2", "--json").stdout)
    assert rows[0]["bits_per_byte"] > 0 and rows[0]["bytes"] == len(TEXTS["deu"][0].encode())
    assert rows[1]["bits_per_byte"] is None and rows[1]["tokens"] == 0
    assert "bits per byte" in invoke("score", run, TEXTS["deu"][0], "--spans").stdout


def test_score_takes_one_prefix_for_all_or_one_for_each(run):
    answer = TEXTS["deu"][0]
    asked = ["score", run, answer, answer, "--policy", "top1", "--json"]

    def nats(*prefixes):
        given = [part for prefix in prefixes for part in ("--prefix", prefix)]
        return [row["nats"] for row in json.loads(invoke(*asked, *given).stdout)]

    one, other = nats("Der Hund. "), nats("Dom. ")
    assert one[0] == one[1] != other[0] and nats("Der Hund. ", "Dom. ") == pytest.approx([one[0], other[1]])
    with pytest.raises(BadInput, match="3 prefixes for 2 texts"):
        nats("a", "b", "c")


def test_generate_draws_from_as_many_tokens_as_it_is_told(run):
    asked = ["generate", run, TEXTS["deu"][0], "--max-new-tokens", "8", "--json", "--device", "cpu"]
    [greedy] = json.loads(invoke(*asked).stdout)
    [drawn] = json.loads(invoke(*asked, "--temperature", "5", "--top-k", "0").stdout)
    assert drawn["text"] != greedy["text"]
    for only in (["--top-k", "1"], ["--min-p", "1"], ["--top-p", "1e-9"]):
        [likeliest] = json.loads(invoke(*asked, "--temperature", "5", *only).stdout)
        assert likeliest["text"] == greedy["text"]


def test_bad_use_is_refused(run):
    assert invoke("generate", run).exit_code == 2
    assert invoke("score", run).exit_code == 2
    assert invoke("generate", run, "a", "--stream", "--json").exit_code == 2
    assert invoke("generate", run, "a", "--top-p", "1.5").exit_code == 2
    with pytest.raises(BadInput, match=r"^--top-p 0.5: nothing is drawn. Give --temperature too"):
        invoke("generate", run, "a", "--top-p", "0.5")
    with pytest.raises(BadInput, match="Did you mean russian"):
        invoke("generate", run, "a", "--policy", "rusian")
