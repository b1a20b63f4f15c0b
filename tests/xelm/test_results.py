"""Evaluations as they are kept: figures, what experts gained and forgot, and files that cannot be used."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from clustering.errors import BadInput
from clustering.files import write_json
from xelm.run.records.results import Cell, Evaluation, Forgetting, with_forgetting


def _cell(bits: float) -> Cell:
    return Cell.of(nats=bits * 0.6931471805599453 * 100, tokens=50, num_bytes=100, documents=2)


def _evaluation() -> Evaluation:
    bits = {
        "base": {"deu": 2.0, "nld": 2.5, "rus": 3.0},
        "dense": {"deu": 1.9, "nld": 2.4, "rus": 2.9},
        "c1": {"deu": 1.8, "nld": 2.0, "rus": 4.5},
        "c2": {"deu": 3.0, "nld": 3.0, "rus": 2.7},
    }
    models = {name: {code: _cell(value) for code, value in row.items()} for name, row in bits.items()}
    return Evaluation("test", {"deu": "c1", "nld": "c1", "rus": "c2"}, models)


def test_a_cell_s_figures_follow_from_its_sums() -> None:
    cell = Cell.of(nats=100 * 0.6931471805599453, tokens=50, num_bytes=40, documents=3)
    assert cell.bits_per_byte == pytest.approx(2.5)  # 100 bits over 40 bytes
    assert cell.perplexity == pytest.approx(4.0)  # 2 bits a token
    assert Cell.of(1e9, 1, 1, 1).perplexity < float("inf")
    assert Cell.of(0.0, 0, 0, 0).bits_per_byte == 0


def test_own_gain_and_cost_elsewhere_are_means_of_changes_against_the_base() -> None:
    result = with_forgetting(_evaluation())
    assert set(result.forgetting) == {"c1", "c2"}, "base and dense forget nothing by this measure"
    told = result.forgetting["c1"]
    # 1.8 / 2 - 1 = -10 %, 2 / 2.5 - 1 = -20 %, 4.5 / 3 - 1 = +50 %.
    assert told.change_percent == pytest.approx({"deu": -10.0, "nld": -20.0, "rus": 50.0})
    assert told.own_gain_percent == pytest.approx(15.0)
    assert told.cost_elsewhere_percent == pytest.approx(50.0)
    # c2: rus 2.7 / 3 - 1 = -10 %; deu +50 %, nld +20 %: 35 % elsewhere.
    assert result.forgetting["c2"].own_gain_percent == pytest.approx(10.0)
    assert result.forgetting["c2"].cost_elsewhere_percent == pytest.approx(35.0)
    assert result.summary.own_gain_percent == pytest.approx(12.5)
    assert result.summary.cost_elsewhere_percent == pytest.approx(42.5)


def test_what_was_not_measured_is_no_zero() -> None:
    cells = {"deu": _cell(2.0)}
    assert Forgetting.of({"deu": _cell(1.0)}, cells, ["deu"]) == Forgetting({"deu": -50.0}, 50.0, None)
    assert Forgetting.of({"deu": _cell(3.0)}, cells, ["rus"]) == Forgetting({"deu": 50.0}, None, 50.0)
    assert Forgetting.of({"deu": _cell(3.0)}, {"deu": _cell(0.0)}, ["deu"]) == Forgetting({}, None, None)


def test_an_evaluation_comes_back_as_it_was_written(tmp_path: Path) -> None:
    result = with_forgetting(_evaluation())
    write_json(tmp_path / "test.json", result.to_dict())
    assert Evaluation.read(tmp_path / "test.json") == result
    assert json.loads((tmp_path / "test.json").read_text(encoding="utf-8"))["forgetting"]["c1"]["own_gain_percent"]


def test_an_evaluation_without_the_table_of_an_earlier_version_is_read_with_it(tmp_path: Path) -> None:
    table = _evaluation().to_dict()
    del table["forgetting"]
    write_json(tmp_path / "test.json", table)
    assert Evaluation.read(tmp_path / "test.json") == with_forgetting(_evaluation())


HUGE = 10**400


@pytest.mark.parametrize(
    ("place", "value", "message"),
    [
        (("models", "base", "deu", "nats"), -1e308, r"models\.base\.deu: nats=-1e\+308 must be a number of at least 0"),
        (("models", "base", "deu", "bits_per_byte"), float("nan"), "holds NaN, which is no number"),
        (("models", "base", "deu", "bytes"), HUGE, r"models\.base\.deu"),
        (("models", "base", "deu", "nats"), HUGE, r"models\.base\.deu"),
        (("models", "base", "deu", "nats"), "many", r"models\.base\.deu\.nats"),
        (("models", "base"), {}, "none may be without languages"),
        (("models",), {}, "there must be figures of at least one model"),
        (("models", "c1", "rus"), None, r"models\.c1\.rus"),
        (
            ("models",),
            {"base": {"deu": "CELL"}, "c1": {"rus": "CELL"}},
            r"languages of c1 \(rus\) are not those of base",
        ),
        (("owners",), 3, "owners"),
        (("surprise",), 3, "surprise"),
    ],
    ids=lambda part: ".".join(part) if isinstance(part, tuple) else "",
)
def test_a_damaged_evaluation_is_refused_in_one_sentence(
    tmp_path: Path, place: tuple[str, ...], value: Any, message: str
) -> None:
    table = with_forgetting(_evaluation()).to_dict()
    cell = table["models"]["base"]["deu"]
    if isinstance(value, dict) and value:
        value = {name: dict.fromkeys(cells, cell) for name, cells in value.items()}
    inner = table
    for key in place[:-1]:
        inner = inner[key]
    inner[place[-1]] = value
    (tmp_path / "valid.json").write_text(json.dumps(table), encoding="utf-8")
    with pytest.raises(BadInput, match=rf"valid\.json: .*{message}"):
        Evaluation.read(tmp_path / "valid.json")
