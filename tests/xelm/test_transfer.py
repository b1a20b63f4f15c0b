"""Transfers with n-grams: sources, shots, leaks, figures, resume, files, the command."""

from __future__ import annotations

import json
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

import xelm
from tests.xelm.conftest import write_jsonl
from tests.xelm.transfers import recipe_of, topic_of, write_task
from xelm import BadInput
from xelm.transferring.measures.bootstrap import Draws, Hits
from xelm.transferring.measures.figures import macro_f1


@pytest.fixture(scope="module")
def task(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_task(tmp_path_factory.mktemp("task"))


def _row(report: xelm.TransferReport, **wanted: Any) -> dict[str, Any]:
    [row] = [row for row in report.table if all(row[key] == value for key, value in wanted.items())]
    return row


def test_a_related_language_is_answered_and_a_foreign_one_is_not(task: Path, tmp_path: Path) -> None:
    report = xelm.transfer(recipe_of(task, sources={"languages": ["deu"]}), tmp_path / "out")
    zero = _row(report, label="zero-shot")
    assert set(zero["by_language"]) == {"eng", "nld", "spa"}
    assert zero["by_language"]["nld"] > 0.8 > 0.6 > zero["by_language"]["spa"]
    assert zero["worst_language"] in ("eng", "spa")
    assert zero["n"] == 3 * 27 and zero["seeds"] == 1
    own = _row(report, label="own rows")
    assert own["accuracy"] > 0.9
    assert own["interval"][0] <= own["accuracy"] <= own["interval"][1]


def test_gap_and_variance_are_what_their_formulas_say(task: Path, tmp_path: Path) -> None:
    report = xelm.transfer(recipe_of(task, sources={"languages": ["deu"]}), tmp_path / "out")
    by_language = _row(report, label="zero-shot")["by_language"]
    at_home = next(
        cell.accuracy.value for row in report.rows if row.sources == "deu" for cell in row.cells if cell.target == "deu"
    )
    assert report.gap["deu"] == pytest.approx({code: at_home - value for code, value in by_language.items()})
    values = np.array(list(by_language.values()))
    assert report.variance["deu"] == pytest.approx(values.var())
    own = _row(report, label="own rows")["by_language"]
    shares = [(own[code] - value) / own[code] for code, value in by_language.items()]
    assert _row(report, label="zero-shot")["own_gap"] == pytest.approx(np.mean(shares))


def test_each_source_makes_the_full_matrix_and_says_what_ranking_would_have_cost(task: Path, tmp_path: Path) -> None:
    report = xelm.transfer(recipe_of(task, sources={"languages": "each"}), tmp_path / "out")
    assert {row["sources"] for row in report.table} == {"deu", "eng", "nld", "spa", "own"}
    assert report.best_source["nld"] == "deu"
    assert {choice.target for choice in report.choices} == {"deu", "eng", "nld", "spa"}
    choice = next(choice for choice in report.choices if choice.target == "nld")
    assert choice.loss(choice.best) == 0
    assert set(choice.ranking) == {"deu", "eng", "spa"}


@pytest.mark.parametrize(
    ("sources", "taught"),
    [
        ({"languages": "all-but-target"}, {"nld": ["deu", "eng", "spa"], "deu": ["eng", "nld", "spa"]}),
        ({"languages": ["deu", "spa"]}, {"nld": ["deu", "spa"], "eng": ["deu", "spa"]}),
        ({"languages": "auto", "top": 1}, {"nld": ["deu"], "deu": ["nld"]}),
    ],
)
def test_sources_are_resolved_for_each_target(
    task: Path, tmp_path: Path, sources: dict[str, Any], taught: dict[str, list[str]]
) -> None:
    report = xelm.transfer(recipe_of(task, sources=sources), tmp_path / "out")
    first = next(row for row in report.rows if row.transfer and row.sources != "own")
    found = {cell.target: cell.languages for cell in first.transfer}
    assert {target: found[target] for target in taught} == taught


def test_shots_are_nested_and_the_same_for_all_sources(task: Path, tmp_path: Path) -> None:
    train = {"shots": [0, 6, 30], "seeds": 3}
    report = xelm.transfer(
        recipe_of(task, sources={"sets": ["eng", "none"]}, train=train, evaluate={"targets": ["spa"]}), tmp_path / "o"
    )
    accuracies = [_row(report, sources="eng", shots=shots)["accuracy"] for shots in train["shots"]]
    assert accuracies[0] < accuracies[1] < accuracies[2]
    assert _row(report, sources="none", shots=30)["accuracy"] > 0.6
    assert _row(report, sources="eng", shots=6)["seeds"] == 3
    assert _row(report, sources="eng", shots=6)["spread"] > 0
    assert _row(report, sources="eng", shots=0)["spread"] is None


def test_shots_of_each_class_are_balanced(task: Path) -> None:
    from xelm.transferring.cells import Cell
    from xelm.transferring.experiment import Experiment
    from xelm.transferring.recipe import TransferRecipe
    from xelm.transferring.shots import draw_shots

    experiment = Experiment(TransferRecipe.from_dict(recipe_of(task)), task / "unused")
    cell = Cell("plain", "ngrams", "head", "eng", ("eng",), "spa", 4, 0, 1)
    rows = experiment.rowset.train("spa")
    drawn = draw_shots(rows, cell, per_class=True)
    assert sorted(row.label or "" for row in drawn) == ["food"] * 4 + ["sky"] * 4 + ["sport"] * 4
    few = draw_shots(rows, Cell(*cell.row[:3], "none", (), "spa", 2, 0, 1), per_class=False)
    assert few == draw_shots(rows, Cell(*cell.row[:3], "eng", ("eng",), "spa", 9, 0, 1), per_class=False)[:2]
    assert all(topic_of(row.id) == row.label for row in drawn)


def test_translations_of_test_rows_never_teach(tmp_path: Path) -> None:
    folder = write_task(tmp_path / "task", languages=("deu", "nld"))
    rows = [json.loads(line) for line in (folder / "deu.jsonl").read_text(encoding="utf-8").splitlines()]
    moved = [{**row, "split": "train"} for row in rows]  # German rows teach whose Dutch translations are tested
    write_jsonl(folder / "deu.jsonl", moved)
    report = xelm.transfer(recipe_of(folder, sources={"languages": ["deu"]}), tmp_path / "out")
    assert report.leaks == {"translations": 27, "repeats": 0, "shared_ids": 27}
    [cell] = [cell for row in report.rows if row.sources == "deu" for cell in row.cells if cell.target == "nld"]
    assert cell.num_taught == 63
    own = recipe_of(folder, sources={"languages": ["deu"]}, task={"parallel": False})
    report = xelm.transfer(own, tmp_path / "apart")
    assert report.leaks["translations"] == 0


def test_a_text_that_is_tested_does_not_teach_under_another_id(tmp_path: Path) -> None:
    folder = write_task(tmp_path / "task", languages=("deu", "nld"))
    text = (folder / "nld.jsonl").read_text(encoding="utf-8")
    tested = next(json.loads(line) for line in text.splitlines() if '"test"' in line)
    (folder / "nld.jsonl").write_text(
        text + json.dumps({**tested, "id": 999, "split": "train"}) + "\n", encoding="utf-8"
    )
    report = xelm.transfer(recipe_of(folder, sources={"languages": ["deu"]}), tmp_path / "out")
    assert report.leaks == {"translations": 0, "repeats": 1, "shared_ids": 0}


def test_stopped_and_run_again_gives_the_same_bytes(
    task: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from xelm.transferring.heads.frozen import Frozen

    recipe = recipe_of(task, sources={"languages": "each"}, train={"shots": [0, 5], "seeds": 2})
    xelm.transfer(recipe, tmp_path / "whole")
    whole, taught = Frozen.answer, []

    def stops(self: Frozen, lesson: Any, desk: Any) -> Any:
        if len(taught) == 5:
            raise KeyboardInterrupt
        taught.append(lesson)
        return whole(self, lesson, desk)

    monkeypatch.setattr(Frozen, "answer", stops)
    with pytest.raises(KeyboardInterrupt):
        xelm.transfer(recipe, tmp_path / "halves")
    monkeypatch.setattr(Frozen, "answer", whole)
    assert not (tmp_path / "halves" / "transfer.json").exists()
    xelm.transfer(recipe, tmp_path / "halves")
    for name in ("transfer.json", "transfer.md", "transfer.html"):
        assert (tmp_path / "halves" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()


def test_killed_at_any_moment_it_goes_on(task: Path, tmp_path: Path) -> None:
    recipe = recipe_of(task, sources={"languages": ["eng"]})
    whole = xelm.transfer(recipe, tmp_path / "out")
    for name in ("transfer.json", "answers/x/deu-1.safetensors"):  # as a killed process leaves them
        half = tmp_path / "out" / Path(name).parent / f".partial-{Path(name).name}-abc"
        half.parent.mkdir(exist_ok=True)
        half.write_bytes(b"half")
    assert xelm.transfer(recipe, tmp_path / "out") == whole
    assert not list((tmp_path / "out").rglob(".partial-*"))


@pytest.mark.slow
def test_killed_ten_times_it_gives_the_same_bytes(task: Path, tmp_path: Path) -> None:
    recipe = recipe_of(task, sources={"languages": "each"}, train={"shots": [0, 5], "seeds": 2})
    xelm.transfer(recipe, tmp_path / "whole")
    (tmp_path / "recipe.json").write_text(json.dumps(recipe), "utf-8")
    code = "import json, sys, xelm; xelm.transfer(json.load(open(sys.argv[1])), sys.argv[2])"
    command = [sys.executable, "-c", code, str(tmp_path / "recipe.json"), str(tmp_path / "halves")]
    rng, seen = random.Random(0), 0
    for _kill in range(10):
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        while process.poll() is None:
            found = len(list((tmp_path / "halves").rglob("*.safetensors")))
            if found > seen:  # as soon as one more lesson lies there, so that every start gets further
                seen = found
                time.sleep(rng.uniform(0, 0.05))
                process.kill()
            time.sleep(0.002)
        assert process.wait() == -signal.SIGKILL, "it ended before the tenth kill"
    xelm.transfer(recipe, tmp_path / "halves")
    for name in ("transfer.json", "transfer.md", "transfer.html"):
        assert (tmp_path / "halves" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()


def test_finished_work_is_not_done_again(task: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from xelm.transferring.heads.frozen import Frozen

    recipe = recipe_of(task, sources={"languages": ["eng"]})
    xelm.transfer(recipe, tmp_path / "out")
    monkeypatch.setattr(Frozen, "answer", lambda *_: pytest.fail("taught again"))
    xelm.transfer(recipe, tmp_path / "out")
    damaged = next((tmp_path / "out" / "answers").rglob("*.safetensors"))
    damaged.write_bytes(b"no answers")
    monkeypatch.undo()
    xelm.transfer(recipe, tmp_path / "out")
    assert damaged.stat().st_size > 20


@pytest.mark.slow
def test_workers_give_the_same_report(task: Path, tmp_path: Path) -> None:
    recipe = recipe_of(task, sources={"languages": "each"})
    alone = xelm.transfer(recipe, tmp_path / "alone")
    apart = xelm.transfer(recipe, tmp_path / "apart", launch=xelm.Launch(workers=2))
    assert alone.to_json() == apart.to_json()


def test_the_report_is_read_back_and_all_forms_have_the_same_content(task: Path, tmp_path: Path) -> None:
    report = xelm.transfer(recipe_of(task, sources={"languages": "each"}, train={"shots": [0, 6]}), tmp_path / "out")
    assert xelm.TransferReport.load(tmp_path / "out" / "transfer.json") == report
    page, markdown = report.to_html(), report.to_markdown()
    for row in report.table:
        assert f"{row['accuracy']:.3f}" in page and f"{row['accuracy']:.3f}" in markdown
    for note in ("gap: accuracy of the sources at home", "0 training rows were left out"):
        assert note in page and note in markdown
    assert "<script" not in page and "http" not in page
    assert "Which source" in page and "always English" in markdown
    assert json.loads(report.to_json())["format"] == "xelm-transfer"


@pytest.mark.parametrize(
    ("section", "message"),
    [
        ({"sources": {"languages": ["eng", "fra"]}}, "no rows of 'fra'. There are: deu, eng, nld, spa"),
        ({"task": {"kind": "clasification"}}, r"\[task\] kind = 'clasification': choose classification .*\?\)"),
        ({"train": {"adapter": "loar"}}, r"\[train\] adapter = 'loar'"),
        ({"train": {"shots": [-1]}}, "numbers from 0 on"),
        ({"task": {"label": "topic"}}, "no label in the field 'topic' .*category"),
        ({"base": {"model": "x"}}, "needs no model"),
        ({"sources": {"sorces": 1}}, "unknown key 'sorces'"),
        ({"augment": [{"kind": "code-swich"}]}, r"\[\[augment\]\] kind = 'code-swich': choose .*code-switch"),
        ({"augment": [{"kind": "code-switch", "dictionary": "x", "rat": 1}]}, "did you mean 'rate'"),
        ({"augment": [{"kind": "center"}, {"kind": "center"}]}, "two techniques are called 'center'"),
        ({"train": {"adapter": "lora"}}, "has no model to train"),
        ({"evaluate": {"targets": ["eng"]}}, "no source teaches any other language"),
    ],
)
def test_what_cannot_be_is_refused_in_a_sentence(
    task: Path, tmp_path: Path, section: dict[str, Any], message: str
) -> None:
    with pytest.raises(BadInput, match=message):
        xelm.transfer(recipe_of(task, **section), tmp_path / "out")


def test_rows_without_a_split_are_refused_and_file_names_may_say_it(tmp_path: Path) -> None:
    folder = write_task(tmp_path / "task", languages=("deu", "nld"))
    rows = [json.loads(line) for line in (folder / "nld.jsonl").read_text(encoding="utf-8").splitlines()]
    write_jsonl(folder / "nld.jsonl", [{key: row[key] for key in ("id", "text", "category")} for row in rows])
    with pytest.raises(BadInput, match="nothing says whether it is for training"):
        xelm.transfer(recipe_of(folder, sources={"languages": ["deu"]}), tmp_path / "out")
    (folder / "nld.jsonl").unlink()
    for split in ("train", "test"):
        own = [{key: row[key] for key in ("id", "text", "category")} for row in rows if row["split"] == split]
        write_jsonl(folder / "nld" / f"{split}.jsonl", own)
    report = xelm.transfer(recipe_of(folder, sources={"languages": ["deu"]}), tmp_path / "out")
    assert _row(report, label="zero-shot")["by_language"]["nld"] > 0.8


def test_the_command_prints_a_table_and_a_dry_run_teaches_nothing(task: Path, tmp_path: Path) -> None:
    from xelm.cli import group

    recipe = tmp_path / "topics.toml"
    recipe.write_text(
        f'[base]\nfeatures = "ngrams"\n[task]\nkind = "classification"\npath = "{task}"\n'
        '[sources]\nlanguages = "auto"\n[evaluate]\nreplicates = 200\n',
        encoding="utf-8",
    )
    dry = CliRunner().invoke(group, ["transfer", str(recipe), "--out", str(tmp_path / "out"), "--dry-run"])
    assert dry.exit_code == 0, dry.output
    assert "nld by deu" in dry.output and not (tmp_path / "out").exists()
    done = CliRunner().invoke(group, ["transfer", str(recipe), "--out", str(tmp_path / "out"), "--json"])
    assert done.exit_code == 0, done.output
    table = json.loads(done.stdout)["table"]
    assert {row["label"] for row in table} == {"zero-shot", "own rows"}
    with pytest.raises(BadInput, match="holds files that are no transfer"):
        xelm.transfer(recipe_of(task), task)


def test_pairs_are_compared_and_labels_may_be_numbers(tmp_path: Path) -> None:
    words = ["ball", "team", "bread", "soup", "cloud", "storm", "match", "salt"]
    for code, ending in (("deu", ""), ("nld", "e")):
        rows = []
        for n in range(120):
            first, second = words[n % 8], words[(n % 8) if n % 2 else (n + 3) % 8]
            texts = {"text": f"{first}{ending} {n // 8}", "hypothesis": f"{second}{ending} {n // 8}"}
            rows.append({"id": n, **texts, "label": int(first == second), "split": "test" if n % 3 == 0 else "train"})
        write_jsonl(tmp_path / "task" / f"{code}.jsonl", rows)
    recipe = recipe_of(tmp_path / "task", task={"kind": "pair"}, sources={"languages": ["deu"]})
    report = xelm.transfer(recipe, tmp_path / "out")
    assert report.labels == ["0", "1"]
    assert _row(report, label="zero-shot")["accuracy"] > 0.8


def test_translations_are_found_without_teaching(tmp_path: Path) -> None:
    folder = write_task(tmp_path / "task", languages=("deu", "nld", "spa"))
    recipe = recipe_of(folder, task={"kind": "retrieval"}, sources={"languages": ["deu"]}, augment=[{"kind": "csls"}])
    report = xelm.transfer(recipe, tmp_path / "out")
    by_language = _row(report, technique="plain")["by_language"]
    assert by_language["nld"] > 0.9 and by_language["spa"] < 0.5
    assert {row["technique"] for row in report.table} == {"plain", "csls"}


def test_retrieval_takes_translations_from_the_row(tmp_path: Path) -> None:
    rows = [{"id": n, "text": f"wort{n}en satz{n}", "eng": f"wort{n} satz{n}"} for n in range(30)]
    write_jsonl(tmp_path / "task" / "deu.jsonl", rows)
    recipe = recipe_of(tmp_path / "task", task={"kind": "retrieval", "second": "eng"}, sources={"languages": ["eng"]})
    assert xelm.transfer(recipe, tmp_path / "out").table[0]["by_language"]["deu"] > 0.9


def test_bootstrap_draws_translations_together_and_pairs_techniques() -> None:
    rows = {"deu": list(range(50)), "nld": list(range(50))}
    rng = np.random.default_rng(0)
    right = (rng.random(50) < 0.6).astype(float)
    same = {code: Hits(right, np.ones(50)) for code in rows}
    draws = Draws(rows, 500)
    accuracies = draws.accuracies(same)
    assert np.allclose(accuracies[:, 0], accuracies[:, 1])  # the same rows in both languages
    interval = draws.interval(accuracies.mean(axis=1))
    assert interval.value == right.mean()
    assert interval.low is not None and interval.high is not None
    expected = 1.96 * np.sqrt(right.mean() * (1 - right.mean()) / 50)
    assert interval.high - interval.low == pytest.approx(2 * expected, rel=0.15)
    better = {code: Hits(np.minimum(right + (np.arange(50) < 5), 1), np.ones(50)) for code in rows}
    gain = draws.interval(draws.accuracies(better).mean(axis=1) - accuracies.mean(axis=1))
    assert gain.low is not None and gain.low >= 0  # never worse in any replicate, as rows are paired


def test_macro_f1_is_that_of_scikit_learn() -> None:
    from sklearn.metrics import f1_score

    gold, given = list("aabbbcc"), list("abbbacc")
    assert macro_f1(gold, given) == pytest.approx(f1_score(gold, given, average="macro"))
    assert macro_f1(["a", "b"], ["a", "a"]) == pytest.approx(f1_score(["a", "b"], ["a", "a"], average="macro"))


def test_the_function_is_not_hidden_by_its_room() -> None:
    import xelm.transferring.transfer

    assert callable(xelm.transfer)
