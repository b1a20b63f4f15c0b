"""How well translations find each other: pairs, arithmetic against plain loops, models, runs, the command."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

import xelm
from tests.router.tiny import save_byte_model
from tests.xelm.conftest import write_jsonl
from tests.xelm.made_runs import make_run
from tests.xelm.seq2seq import make_gap_run
from tests.xelm.transfers import sentence, topic_of, word_in, write_task
from xelm import BadInput
from xelm.aligning.pairs import read_pairs
from xelm.aligning.probes import Vectors, leakage, retrieval, rotation_of


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_byte_model(tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="module")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Rows that hold the English sentence themselves, without splits; German here is Dutch with other endings."""
    folder = tmp_path_factory.mktemp("pairs")
    for code in ("deu", "nld"):
        write_jsonl(folder / f"{code}.jsonl", [_row(number, code) for number in range(80)])
    return folder


def _row(number: int, code: str) -> dict[str, Any]:
    words = [*sentence(number, topic_of(number)), "abcdefghijkl"[number % 12] * (number + 3)]
    return {"text": " ".join(word_in(word, code) for word in words), "eng": " ".join(words), "id": number}


def test_pairs_are_read_from_rows_or_by_id_with_one_sentence_on_one_side(pairs: Path, tmp_path: Path) -> None:
    found = read_pairs(pairs, "English", heldout=0.3)
    assert list(found) == ["deu", "nld"]
    tested = [{pair.pivot for pair in own.held} for own in found.values()]
    assert tested[0] == tested[1] and 10 < len(tested[0]) < 40
    assert not tested[0] & {pair.pivot for own in found.values() for pair in own.fit}
    by_id = read_pairs(write_task(tmp_path / "task", number=60, languages=("eng", "deu", "nld")), "eng")
    assert len(by_id["nld"].held) == 18 and len(by_id["deu"].fit) == 42
    assert by_id["nld"].fit[0].text.endswith("en")


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ([{"text": "een", "eng": "one"}], "with a sentence of an earlier pair"),
        ([{"text": "same", "eng": "same"}], "with the same text on both sides"),
        ([{"text": "vier"}], "without a translation"),
        ([{"text": "vier", "eng": "  "}], "with an empty side"),
    ],
)
def test_what_is_left_out_is_counted(tmp_path: Path, changes: list[Any], reason: str) -> None:
    words = {"een": "one", "twee": "two", "drie": "three", "vijf": "five", "zes": "six", "zeven": "seven"}
    rows = [{"text": text, "eng": other} for text, other in words.items()]
    write_jsonl(tmp_path / "nld.jsonl", [*rows, *changes])
    found = read_pairs(tmp_path, "eng", heldout=0.6)["nld"]
    assert found.left_out == {reason: 1} and len(found.fit) + len(found.held) == 6


def test_a_sentence_that_one_language_tests_teaches_in_none(tmp_path: Path) -> None:
    for code, split in (("nld", "train"), ("deu", "test")):
        rows = [{"text": f"{code} {n}", "eng": f"sentence {n}", "split": split} for n in range(3)]
        more = [{"text": f"{code} x{n}", "eng": f"{code} other {n}", "split": "test"} for n in range(2)]
        write_jsonl(tmp_path / f"{code}.jsonl", [*rows, *more])
    found = read_pairs(tmp_path, "eng")
    assert found["nld"].fit == () and found["nld"].left_out == {"whose translation is tested": 3}


def test_retrieval_is_that_of_plain_loops() -> None:
    rng = np.random.default_rng(0)
    theirs, fit_theirs = rng.normal(size=(15, 6)), rng.normal(size=(40, 6))
    ours = theirs + rng.normal(scale=0.8, size=theirs.shape) + 3
    fit_ours = fit_theirs + rng.normal(scale=0.8, size=fit_theirs.shape) + 3
    found = retrieval(Vectors(ours, theirs, fit_ours, fit_theirs))
    centred = (ours - fit_ours.mean(0), theirs - fit_theirs.mean(0))
    rotation = rotation_of(fit_ours - fit_ours.mean(0), fit_theirs - fit_theirs.mean(0))
    assert np.allclose(rotation @ rotation.T, np.eye(6))
    sides = {"raw": (ours, theirs), "centred": centred, "procrustes": (centred[0] @ rotation, centred[1])}
    for way, (one, other) in sides.items():
        cosine = np.array([[a @ b / np.linalg.norm(a) / np.linalg.norm(b) for b in other] for a in one])
        assert found[way].to_pivot.tolist() == [int(np.argmax(row)) == n for n, row in enumerate(cosine)]
        assert found[way].from_pivot.tolist() == [int(np.argmax(row)) == n for n, row in enumerate(cosine.T)]
        if way == "raw":
            near, back = (np.array([np.mean(sorted(row)[-10:]) for row in m]) for m in (cosine, cosine.T))
            csls = np.array([[2 * cosine[i, j] - near[i] - back[j] for j in range(15)] for i in range(15)])
            assert found["csls"].to_pivot.tolist() == [int(np.argmax(row)) == n for n, row in enumerate(csls)]
    assert found["centred"].to_pivot.mean() > found["raw"].to_pivot.mean()


def test_a_rotation_is_undone_exactly_with_enough_pairs_and_harms_with_few() -> None:
    rng = np.random.default_rng(1)
    turn, _ = np.linalg.qr(rng.normal(size=(16, 16)))
    theirs, fit = rng.normal(size=(60, 16)), rng.normal(size=(64, 16))
    shift = 0.3
    near = theirs @ (np.eye(16) + shift * (turn - np.eye(16)))
    many = retrieval(Vectors(theirs @ turn, theirs, fit @ turn, fit))
    assert many["procrustes"].to_pivot.mean() > 0.95 > many["raw"].to_pivot.mean()
    few = retrieval(Vectors(near, theirs, near[:4], theirs[:4]))
    assert few["procrustes"].to_pivot.mean() < few["centred"].to_pivot.mean()


def test_leakage_is_one_where_languages_lie_apart_and_chance_where_they_do_not() -> None:
    rng = np.random.default_rng(0)
    fit = {code: rng.normal(size=(200, 5)) + place for place, code in enumerate(("deu", "eng", "nld"))}
    fit["eng"] += 40
    fit["nld"] -= 40
    held = {code: own[::2] + 0.1 for code, own in fit.items()}
    assert leakage(fit, held, centred=False) > 0.99
    assert leakage(fit, held, centred=True) < 0.5


def test_a_model_is_measured_in_every_language_and_the_mean(model: Path, pairs: Path) -> None:
    found = xelm.align(model, pairs, heldout=0.4, device="cpu")
    assert [(row["model"], row["language"]) for row in found.table] == [("model", c) for c in ("deu", "nld", "mean")]
    deu, nld, mean = found.table
    for key in ("raw_to", "centred_from", "csls_to", "centred_csls_from", "procrustes_to"):
        assert mean[key] == pytest.approx((deu[key] + nld[key]) / 2) and 0 <= deu[key] <= 1
    interval = found.rows[0].ways["raw"].to_pivot
    assert interval.low is not None and interval.high is not None and interval.low <= interval.value <= interval.high
    assert any("64" in note and "Procrustes" in note for note in found.notes)  # 32 dimensions
    assert found.leakage[0].chance == pytest.approx(1 / 3) and found.leakage[0].raw > 0.6
    assert json.loads(found.to_json())["rows"][0]["tested"] == deu["tested"]
    assert xelm.align(model, pairs, heldout=0.4, device="cpu").to_json() == found.to_json()


def test_vectors_are_those_of_the_model(model: Path, pairs: Path) -> None:
    import torch
    from transformers import AutoModel, AutoTokenizer

    found = xelm.align(model, pairs, languages=["Dutch"], heldout=0.4, layer=0, device="cpu")
    bare, tokenizer = AutoModel.from_pretrained(model).eval(), AutoTokenizer.from_pretrained(model)

    def vector(text: str) -> np.ndarray:
        with torch.no_grad():
            ids = tokenizer(text, return_tensors="pt")["input_ids"]
            states = bare(input_ids=ids, output_hidden_states=True).hidden_states[0][0]
        mean = states.mean(0).double().numpy()
        return mean / np.linalg.norm(mean)

    held = read_pairs(pairs, "eng", heldout=0.4)["nld"].held
    cosine = np.stack([vector(p.text) for p in held]) @ np.stack([vector(p.pivot) for p in held]).T
    wanted = float(np.mean(cosine.argmax(1) == np.arange(len(held))))
    assert found.table[0]["raw_to"] == pytest.approx(wanted, abs=1.5 / len(held))


def test_a_run_is_measured_by_base_and_the_experts_of_the_languages(pairs: Path, tmp_path: Path) -> None:
    run = make_run(tmp_path, "lora")
    found = xelm.align(run, pairs, device="cpu", max_length=100)
    assert [(row["model"], row["language"]) for row in found.table] == [
        *(("base", code) for code in ("deu", "nld", "mean")),
        ("german", "deu"),
        ("dutch", "nld"),
    ]
    one = xelm.align(run, pairs, device="cpu", max_length=100, expert="dutch", languages=["nld"])
    assert [row["model"] for row in one.table] == ["base", "dutch"]
    assert one.table[1] == found.table[4]


def test_models_that_fill_gaps_are_measured_by_their_encoder(pairs: Path, tmp_path: Path) -> None:
    run = make_gap_run(tmp_path / "run")
    found = xelm.align(run, pairs, device="cpu", languages=["nld"])
    assert [row["model"] for row in found.table] == ["base", "only-nld"]
    assert (
        xelm.align(run / "base", pairs, device="cpu", languages=["nld"]).table[0]["raw_to"] == found.table[0]["raw_to"]
    )


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"pivot": "xyzzy"}, "xyzzy"),
        ({"pivot": "deu", "languages": ["deu"]}, "is the pivot language"),
        ({"languages": ["Finnish"]}, "no pairs of 'Finnish'. There are: deu, nld"),
        ({"pivot": "fin"}, "deu: no pairs. A row needs its translation under the key 'fin'"),
        ({"heldout": 1.0}, "heldout=1.0: a share"),
        ({"heldout": 1e-9}, "0 of 80 pairs to test on"),
        ({"most": 1}, "most=1: must be at least 2"),
        ({"max_length": 4}, "max_length=4: must be at least 8"),
        ({"layer": 9}, "^layer = 9: .* has layers 0 to 2"),
        ({"expert": "dutch"}, "is no run"),
        ({"languages": "nld"}, "is one text"),
    ],
)
def test_what_cannot_be_done_is_refused_in_a_sentence(
    model: Path, pairs: Path, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(BadInput, match=message):
        xelm.align(model, pairs, **{"device": "cpu", **options})


def test_the_command_prints_a_table_or_json(model: Path, pairs: Path) -> None:
    from xelm.cli import group

    arguments = ["align", str(model), "--pairs", str(pairs), "--heldout", "0.4", "--device", "cpu", "--languages", "nl"]
    text = CliRunner().invoke(group, arguments, catch_exceptions=False)
    assert text.exit_code == 0 and "centred CSLS" in text.output and "language told from a vector" in text.output
    value = json.loads(CliRunner().invoke(group, [*arguments, "--json"], catch_exceptions=False).stdout)
    assert value["pivot"] == "eng" and value["rows"][0]["language"] == "nld"
