"""Transfer tables as they come: missing cells, Glottocodes and names, wide and long, several scores; what is told."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from clustering.errors import BadInput
from clustering.languages.codes import language
from clustering.rankers.metrics import ndcg, regret
from clustering.rankers.ranker import fit_ranker, usefulness_of
from clustering.rankers.transfer_table import read_transfer_table
from clustering.rankers.validate import cross_validate
from xelm.cli import group

LANGUAGES = ("deu", "nld", "swe", "dan", "spa", "ita", "por")
GERMANIC = LANGUAGES[:4]


def _score(target: str, source: str, sign: int = 1) -> float:
    """Good where both are of one family; sources differ a little, the same for all."""
    return sign * (10.0 * ((target in GERMANIC) == (source in GERMANIC)) + LANGUAGES.index(source) / 10)


def _long(path: Path, *, sign: int = 1, noise: np.random.Generator | None = None) -> Path:
    rows = [
        f"{a},{b},{noise.normal() if noise else _score(a, b, sign)}" for a in LANGUAGES for b in LANGUAGES if a != b
    ]
    path.write_text("target,source,score\n" + "\n".join(rows) + "\n", encoding="utf-8")
    return path


def test_rows_without_a_score_are_left_out_and_counted(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    table = _long(tmp_path / "t.csv")
    lines = table.read_text().splitlines()
    for row, cell in ((1, "nan"), (2, ""), (3, "-"), (9, "N/A")):
        lines[row] = ",".join([*lines[row].split(",")[:2], cell])
    table.write_text("\n".join(lines))
    assert len(read_transfer_table(table).targets) == 42 - 4
    assert "4 rows without a score, a target or a source are left out" in caplog.text


def test_missing_cells_of_features_are_unknown(tmp_path: Path) -> None:
    lines = _long(tmp_path / "t.csv").read_text().splitlines()
    lines = [
        line + (",overlap" if row == 0 else f",{'nan' if row % 5 == 0 else row / 50}") for row, line in enumerate(lines)
    ]
    (tmp_path / "t.csv").write_text("\n".join(lines))
    found = read_transfer_table(tmp_path / "t.csv").features["word_overlap"]
    assert np.isnan(found).sum() == 8
    assert np.nanmax(found) == pytest.approx(0.84)


def test_a_wide_table_is_the_long_one(tmp_path: Path) -> None:
    long = read_transfer_table(_long(tmp_path / "long.csv"))
    rows = [[a, *("" if a == b else str(_score(a, b)) for b in LANGUAGES)] for a in LANGUAGES]
    names = ["Deutsch", "Dutch", "swed1254", *LANGUAGES[3:]]
    (tmp_path / "wide.csv").write_text("\n".join(",".join(row) for row in [["language", *names], *rows]))
    wide = read_transfer_table(tmp_path / "wide.csv")
    pairs = dict(zip(zip(wide.targets, wide.sources, strict=True), wide.scores, strict=True))
    assert pairs == dict(zip(zip(long.targets, long.sources, strict=True), long.scores, strict=True))
    assert wide.taken == {"target": "(wide)", "source": "(wide)", "score": "(wide)"}


def test_several_scores_are_told_and_one_can_be_named(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    rows = [f"{a},{b},{_score(a, b)},{_score(b, a)}" for a in LANGUAGES for b in LANGUAGES if a != b]
    (tmp_path / "t.csv").write_text("\n".join(["target,source,BLEU,chrF", *rows]))
    table = read_transfer_table(tmp_path / "t.csv")
    assert (table.taken["score"], "'chrF' could be it too" in caplog.text) == ("BLEU", True)
    assert read_transfer_table(tmp_path / "t.csv", score_column="chrF").taken["score"] == "chrF"
    with pytest.raises(BadInput, match="no column 'COMET'"):
        read_transfer_table(tmp_path / "t.csv", score_column="COMET")


@pytest.mark.parametrize(("code", "found"), [("stan1293", "eng"), ("swah1253", "swh"), ("mand1415", "cmn")])
def test_glottocodes_are_read(code: str, found: str) -> None:
    assert language(code) == found


def test_a_glottocode_of_no_language_is_refused() -> None:
    with pytest.raises(BadInput, match="no language of Glottolog"):
        language("indo1319")  # the family Indo-European


def test_ndcg_and_regret_by_hand() -> None:
    scores = np.array([3.0, 2.0, 1.0])
    assert ndcg(scores, scores) == pytest.approx(100.0)
    # The best source second: (511 + 1023/log2(3) + 255/2) over (1023 + 511/log2(3) + 255/2).
    assert ndcg(np.array([2.0, 3.0, 1.0]), scores) == pytest.approx(
        100 * (511 + 1023 / np.log2(3) + 255 / 2) / (1023 + 511 / np.log2(3) + 255 / 2)
    )
    assert regret(np.array([0.0, 3.0, 2.0, 1.0]), np.array([4.0, 3.0, 2.0, 1.0])) == pytest.approx(25.0)


def test_validation_ranks_each_target_without_its_own_results(tmp_path: Path) -> None:
    table = read_transfer_table(_long(tmp_path / "t.csv", noise=np.random.default_rng(0)))
    found = {row.name: row for row in cross_validate(table, folds=3).rows}
    assert found["trained"].ndcg < 95  # scores of chance cannot be foretold
    assert {"default", "shared_family", "syntactic", "geographic"} <= set(found)
    assert all(row.low <= row.ndcg <= row.high for row in found.values())


def test_fit_says_what_it_took_and_refuses_what_does_not_beat_the_default(tmp_path: Path) -> None:
    table, ranker = _long(tmp_path / "t.csv"), tmp_path / "r.json"
    words = ["fit", str(table), "--out", str(ranker), "--folds", "3"]
    # Relatives always help here, which is all that the default knows: the trained one can at best be level.
    refused = CliRunner().invoke(group, words)
    assert "taken: target target, source source, score score" in refused.output
    assert "trained - default:" in refused.output
    told = json.loads(CliRunner().invoke(group, [*words, "--anyway", "--json"]).stdout)
    assert ranker.is_file()
    beaten = told["validation"]["gain"] > 0
    assert beaten == (refused.exception is None)
    if not beaten:
        assert "--anyway" in str(refused.exception)


def test_fit_saves_what_beats_the_default(tmp_path: Path) -> None:
    # Strangers help most: the default has it upside down, and only results can say so.
    table, ranker = _long(tmp_path / "t.csv", sign=-1), tmp_path / "r.json"
    done = CliRunner().invoke(group, ["fit", str(table), "--out", str(ranker), "--folds", "3"])
    assert done.exception is None, done.output
    assert ranker.is_file()


TASKS = ("target", "source", "task", "score", "F1", "size")


def several_tasks(folder: Path, tasks: tuple[str, ...] = ("pos", "ner"), heading: str = ",".join(TASKS)) -> Path:
    """Seven targets and eight sources; what is good for one task is bad for the other."""
    targets = ("deu", "fra", "rus", "tur", "hin", "ind", "swh")
    sources = ("nld", "ita", "bul", "azj", "urd", "jav", "zul", "eng")
    rows = [
        f"{target},{source},{task},{(1 - 2 * number) * ((3 * i + 5 * j) % 11)},{(i * j) % 7},{10 * j}"
        for number, task in enumerate(tasks)
        for i, target in enumerate(targets)
        for j, source in enumerate(sources)
    ]
    file = folder / "tasks.csv"
    file.write_text("\n".join([heading, *rows]) + "\n", encoding="utf-8")
    return file


def test_tasks_of_one_table_are_compared_each_within_itself(tmp_path: Path) -> None:
    table = read_transfer_table(several_tasks(tmp_path))
    assert set(table.tasks) == {"pos", "ner"} and len(table.scores) == 2 * 7 * 8
    assert table.taken["tasks"] == "task (ner, pos)"
    assert "F1" not in table.features  # another score is nothing that one has before the transfer
    assert len(table.queries()) == 14 and {len(rows) for _, rows in table.queries()} == {8}
    # One task is the other turned round, so the mean standing of each source over both is nothing.
    assert np.abs(np.nan_to_num(usefulness_of(table).usefulness)).max() == 0
    alone = read_transfer_table(several_tasks(tmp_path), task="ner")
    assert alone.tasks == () and len(alone.scores) == 56
    assert np.array_equal(table.by_task()["ner"].scores, alone.scores)
    assert np.array_equal(usefulness_of(alone).usefulness, usefulness_of(table.by_task()["ner"]).usefulness)
    assert fit_ranker(table, num_trees=3).origin.startswith("tasks.csv (7 targets, 112 pairs)")


def test_all_tasks_of_a_target_are_left_out_together(tmp_path: Path) -> None:
    checked = cross_validate(read_transfer_table(several_tasks(tmp_path)), folds=100)
    assert checked.folds == 7


def test_several_scores_may_be_tasks(tmp_path: Path) -> None:
    file = several_tasks(tmp_path, ("pos",), heading="target,source,kind,score,F1,size")
    table = read_transfer_table(file, score_column=["score", "F1"])
    assert set(table.tasks) == {"score", "F1"} and len(table.scores) == 112
    assert "size" in table.features or "source_size" in table.features
    with pytest.raises(BadInput, match="no column 'BLEU'"):
        read_transfer_table(file, score_column=["score", "BLEU"])
    with pytest.raises(BadInput, match="which the column 'task' does too"):
        read_transfer_table(several_tasks(tmp_path), score_column=["score", "F1"])


def test_a_task_that_is_not_there_and_pairs_of_unnamed_tasks_are_refused(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"no task 'mt'\. It has: ner, pos"):
        read_transfer_table(several_tasks(tmp_path), task="mt")
    unnamed = several_tasks(tmp_path, heading="target,source,kind,score,F1,size")
    with pytest.raises(BadInput, match="name the task in a column headed task"):
        read_transfer_table(unnamed)
    with pytest.raises(BadInput, match="no column of tasks"):
        read_transfer_table(several_tasks(tmp_path, heading="target,source,kind,score,F1,size"), task="pos")


def test_a_column_headed_task_may_be_the_target(tmp_path: Path) -> None:
    file = several_tasks(tmp_path, ("x",), heading="task,source,kind,score,F1,size")
    assert read_transfer_table(file).taken["target"] == "task"
