"""The manifest: what is in a run, and every checksum."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from clustering.errors import BadInput
from xelm.run.lock import locked
from xelm.run.records.manifest import FILE_NAME, Manifest, ModelEntry, fingerprint, kept_files, package_versions
from xelm.run.verify import verify


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A run of a few made-up files."""
    files = ["plan.json", "base/model.safetensors", "experts/a/model.safetensors", "logs/a.jsonl", "cache/x", "work/y"]
    for name in files:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(name, encoding="utf-8")
    entry = ModelEntry(["deu"], "base", tokens=5, state="done")
    manifest = Manifest({"train": {"seed": 1}}, base=ModelEntry(["deu"], None), experts={"a": entry})
    manifest.refresh_files(tmp_path)
    manifest.write(tmp_path)
    return tmp_path


def test_a_manifest_comes_back_as_it_was_written(run: Path) -> None:
    manifest = Manifest.read(run)
    assert manifest.experts["a"] == ModelEntry(["deu"], "base", tokens=5, state="done")
    assert manifest.recipe == {"train": {"seed": 1}}
    manifest.write(run)
    assert Manifest.read(run) == manifest


def test_logs_caches_and_half_written_files_are_no_part_of_a_run(run: Path) -> None:
    (run / "experts" / "a" / ".partial-model-x").touch()
    (run / "experts" / ".partial-b").mkdir()
    (run / "experts" / ".partial-b" / "model.safetensors").touch()
    assert kept_files(run) == ["base/model.safetensors", "experts/a/model.safetensors", "plan.json"]
    assert verify(run) == []


def test_verify_finds_what_is_missing_changed_or_extra(run: Path) -> None:
    (run / "plan.json").unlink()
    (run / "base" / "model.safetensors").write_text("base/model.safetensorz", encoding="utf-8")
    (run / "experts" / "b").mkdir()
    (run / "experts" / "b" / "model.safetensors").touch()
    assert sorted(verify(run)) == [
        "changed: base/model.safetensors",
        "missing: plan.json",
        "not in the manifest: experts/b/model.safetensors",
    ]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"format_version": 99}, "not a manifest of format 1 to 2; update xelm"),
        ({"format_version": True}, "not a manifest of format 1 to 2; update xelm"),
        ({"experts": {"a": {"surprise": 1}}}, r"damaged, .*: experts\.a"),
        ({"experts": None}, "damaged, .*: experts: "),
        ({"surprise": 1}, "damaged, .*: surprise: "),
        ({"base": 3}, "damaged, .*: base"),
        (
            {"experts": {"a": {"languages": ["deu"], "parent": "base", "tokens": "many"}}},
            r"damaged, .*: experts\.a\.tokens",
        ),
        ({"ledger": ["por"]}, r"damaged, .*: ledger\.0"),
        ({"ledger": [{"language": "por"}]}, r"damaged, .*: ledger\.0\.\w+"),
        ({"format_version": 1, "base": 3, "ledger": 7}, "damaged, .*: (base|ledger)"),
        ({"format_version": 1, "ledger": [{"as": "join", "expert": ["a"]}]}, r"damaged, .*: ledger\.0\.\w+"),
    ],
)
def test_a_manifest_that_cannot_be_used_is_named(run: Path, change: dict[str, Any], message: str) -> None:
    value = json.loads((run / FILE_NAME).read_text(encoding="utf-8")) | change
    (run / FILE_NAME).write_text(json.dumps(value), encoding="utf-8")
    with pytest.raises(BadInput, match=rf"{FILE_NAME}: {message}"):
        Manifest.read(run)


@pytest.mark.parametrize("content", ["", "{", "[]", "null"])
def test_a_broken_manifest_is_named(run: Path, content: str) -> None:
    (run / FILE_NAME).write_text(content, encoding="utf-8")
    with pytest.raises(BadInput, match=FILE_NAME):
        Manifest.read(run)


def test_a_folder_that_is_no_run_says_how_to_make_one(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"so it is no xelm run. Make one with `xelm train`"):
        Manifest.read(tmp_path)


def test_versions_of_what_decides_results_are_all_known() -> None:
    versions = package_versions()
    assert {"xelm", "torch", "transformers", "numpy"} <= set(versions)
    assert all(versions.values())


def test_a_fingerprint_hangs_on_values_and_not_on_the_order_of_keys() -> None:
    assert fingerprint({"a": 1, "b": [2]}, "x") == fingerprint({"b": [2], "a": 1}, "x")
    assert len({fingerprint(*parts) for parts in [(1, 2), (12,), ("1", "2"), ([1, 2],), ({"a": 1},)]}) == 5


def test_a_second_process_is_refused_while_one_works_in_the_run(run: Path) -> None:
    program = (
        "import sys\nfrom pathlib import Path\nfrom clustering.errors import BadInput\n"
        "from xelm.run.lock import locked\n"
        f"try:\n    with locked(Path({str(run)!r})): print('in')\nexcept BadInput as error: print(error)"
    )

    def other_process() -> str:
        return subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout

    with locked(run):
        assert "another xelm process is working in it. Wait for it, or stop it." in other_process()
    assert other_process().strip() == "in"


def test_the_lock_is_free_again_after_an_error(run: Path) -> None:
    with pytest.raises(KeyError), locked(run):
        raise KeyError
    with locked(run):
        pass


def test_taking_the_lock_clears_what_a_killed_process_left_half_written(run: Path) -> None:
    nested = run / "experts" / ".partial-b" / "deep" / ".partial-c"
    nested.mkdir(parents=True)
    (nested / "file").touch()
    (run / ".partial-xelm.json-abc").touch()
    with locked(run):
        assert not list(run.rglob(".partial-*"))
    assert verify(run) == []


def test_a_run_that_cannot_be_written_to_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(BadInput, match="cannot be written to"), locked(tmp_path / "file" / "run"):
        pass


SAMPLINGS: list[dict[str, Any]] = [
    {"sampling_temperature": 3.0},
    {"sampling": "unimax", "max_epochs": 1.0},
    {"sampling_temperature": 1.0, "final_sampling_temperature": 5.0},
    {"enters": {"rus": 0.5}},
]


@pytest.mark.parametrize("sampling", SAMPLINGS, ids=["temperature", "unimax", "annealed", "enters"])
def test_epochs_and_blocks_are_recorded_as_the_planner_gave_them_and_shown_so(
    tmp_path: Path, sampling: dict[str, Any]
) -> None:
    from tests.xelm.conftest import WORDS, sentences, tiny_table, write_jsonl
    from xelm.making.train import dry_run, train
    from xelm.recipe.recipe import Recipe
    from xelm.report.facts import Facts
    from xelm.report.sections.budget import budget as shown_budget

    for code, number in zip(sorted(WORDS), (40, 80, 140), strict=True):
        write_jsonl(tmp_path / "corpus" / f"{code}.jsonl", list(sentences(code, number)))
    recipe = Recipe.from_dict(tiny_table(data={"path": str(tmp_path / "corpus")}, train=sampling))
    _, budget = dry_run(recipe, tmp_path / "run")
    experts = train(recipe, tmp_path / "run")
    num_blocks = {code: -(-counts["tokens"] // 32) for code, counts in experts.manifest.data.items()}
    before = 0
    for stage in budget.stages():
        entry = experts.entry_or_none(stage.name)
        assert entry is not None and entry.blocks is not None
        assert entry.epochs == stage.epochs
        assert entry.blocks == {code: round(stage.epochs[code] * num_blocks[code]) for code in entry.blocks}
        assert sum(entry.blocks.values()) * 32 == entry.tokens == stage.tokens
        assert (entry.tokens_before, entry.tokens_after) == (before, before + stage.tokens)
        before = before or stage.tokens  # the base comes first, all others start from it
    rows = shown_budget(Facts.of(experts))["texts"]
    assert {row["language"].code: row["epochs"]["dense"] for row in rows} == budget.dense.epochs  # type: ignore[union-attr]
    assert {row["language"].code: row["epochs"]["base"] for row in rows} == budget.base.epochs  # type: ignore[union-attr]
    for row in rows:
        assert row["epochs"]["expert"] == budget.experts[row["language"].expert].epochs[row["language"].code]
