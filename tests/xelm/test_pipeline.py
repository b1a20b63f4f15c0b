"""From a recipe to a finished run, and what happens when it is run again, changed, or fails in part."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import torch

import xelm
from clustering.errors import BadInput
from tests.xelm.conftest import WORDS, make_corpus, sentences, tiny_table, write_jsonl
from xelm import ExpertSet, Recipe
from xelm.making.workspace import Workspace
from xelm.run.records.manifest import Manifest

MakeRecipe = Callable[..., Recipe]


def _files(run: Path, *folders: str) -> dict[str, bytes]:
    """The bytes of every file that two equal runs have in common."""
    return {
        str(p.relative_to(run)): p.read_bytes()
        for folder in folders or ("base", "dense", "experts", "eval", "router", "plan.json", "xelm.json", "report.html")
        for p in sorted([run / folder] if (run / folder).is_file() else (run / folder).rglob("*"))
        if p.is_file()
    }


def _written(run: Path) -> dict[str, tuple[int, int]]:
    """Inode and time of the last change of every file and folder but the lock and the cache."""
    paths = [p for p in run.rglob("*") if p.name != ".lock" and p.relative_to(run).parts[0] != "cache"]
    return {str(p): (p.stat().st_ino, p.stat().st_mtime_ns) for p in paths}


def _stamps(run: Path) -> dict[str, int]:
    return {str(p): p.stat().st_mtime_ns for p in run.rglob("model.safetensors")}


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory, corpus: Path) -> Path:
    """A run that no test changes."""
    recipe = Recipe.from_dict(tiny_table(data={"path": str(corpus)}))
    return xelm.train(recipe, out=tmp_path_factory.mktemp("runs") / "finished").path


@pytest.fixture
def run(finished: Path, tmp_path: Path) -> Path:
    """A copy of the finished run, to be changed: a run has no absolute paths."""
    return Path(shutil.copytree(finished, tmp_path / "run"))


def test_a_run_holds_every_model_and_every_file_is_accounted_for(finished: Path) -> None:
    experts = ExpertSet.load(finished)
    assert experts.languages == ["deu", "nld", "rus"]
    assert len(experts.names) == 2
    assert experts.models == ["base", "dense", *experts.names]
    assert experts.verify() == []
    assert (finished / "report.html").is_file()
    assert not (finished / "work").exists()


def test_the_experts_were_trained_on_what_dense_was_trained_on(finished: Path) -> None:
    manifest = Manifest.read(finished)
    assert manifest.dense is not None
    assert sum(entry.tokens for entry in manifest.experts.values()) == manifest.dense.tokens == 1536
    assert sorted(code for entry in manifest.experts.values() for code in entry.languages) == sorted(WORDS)
    for entry in manifest.experts.values():
        assert (entry.parent, entry.state, entry.isolation) == ("base", "done", "attention")


def test_a_model_of_a_run_loads_without_xelm(finished: Path) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    for folder in [finished / "base", finished / "dense", *(finished / "experts").iterdir()]:
        model = AutoModelForCausalLM.from_pretrained(folder)
        tokenizer = AutoTokenizer.from_pretrained(folder)
        output = model.generate(**tokenizer("das", return_tensors="pt"), max_new_tokens=3, do_sample=False)
        assert output.shape[1] >= 3


def test_a_run_names_no_folder_of_the_machine_that_made_it(finished: Path, corpus: Path) -> None:
    for name, content in _files(finished).items():
        for place in (str(corpus.parent), str(finished.parent)):
            assert place.encode() not in content, f"{place} in {name}"


def test_held_out_text_of_every_language_is_in_the_run_and_was_not_trained_on(finished: Path) -> None:
    experts = ExpertSet.load(finished)
    for split in ("valid", "test"):
        documents = experts.heldout(split)
        assert {document.language for document in documents} == set(WORDS)
        assert all(document.text in sentences(document.language, 60) for document in documents)
    counts = experts.manifest.data["deu"]
    assert counts["documents"] + sum(d.language == "deu" for s in ("valid", "test") for d in experts.heldout(s)) == 60


def test_held_out_text_may_hold_any_line_separator(run: Path) -> None:
    text = "eins\u2028zwei\x85drei\x0bvier\x1cfünf"
    write_jsonl(run / "eval" / "heldout" / "deu.jsonl", [{"id": 1, "split": "test", "text": text}])
    assert [document.text for document in ExpertSet.load(run).heldout("test", ["deu"])] == [text]


def test_curves_are_kept_with_each_model(finished: Path) -> None:
    experts = ExpertSet.load(finished)
    for name in experts.models:
        history = experts.history(name)
        assert history[-1]["loss"] < history[0]["loss"]
    total = sum(experts.history(name)[-1]["tokens"] for name in experts.names)
    assert total == experts.history("dense")[-1]["tokens"]


def test_the_result_has_a_cell_for_every_model_and_language(finished: Path) -> None:
    experts = ExpertSet.load(finished)
    result = experts.result("test")
    assert result is not None
    assert set(result.models) == set(experts.models)
    for cells in result.models.values():
        assert set(cells) == set(WORDS)
        assert all(cell.bits_per_byte > 0 and cell.bytes > 0 for cell in cells.values())


def test_run_again_it_writes_nothing(run: Path, tiny_recipe: MakeRecipe) -> None:
    before = _written(run)
    for report in (True, False):
        xelm.train(tiny_recipe(), out=run, report=report)
        assert _written(run) == before


@pytest.mark.parametrize("harmed", ["report.html", "plan.json", "router/ngrams.json", "eval/heldout/deu.jsonl"])
def test_run_again_it_makes_what_is_missing_or_damaged(
    run: Path, finished: Path, tiny_recipe: MakeRecipe, harmed: str
) -> None:
    stamps = _stamps(run)
    (run / harmed).write_text("{}") if harmed == "plan.json" else (run / harmed).unlink()
    xelm.train(tiny_recipe(), out=run)
    assert _files(run) == _files(finished)
    assert _stamps(run) == stamps


def test_the_same_recipe_gives_the_same_files_elsewhere(
    finished: Path, tmp_path: Path, tiny_recipe: MakeRecipe
) -> None:
    xelm.train(tiny_recipe(), out=tmp_path / "elsewhere")
    assert _files(tmp_path / "elsewhere") == _files(finished)


def test_a_run_that_was_interrupted_ends_with_the_files_of_an_undisturbed_one(
    finished: Path, tmp_path: Path, tiny_recipe: MakeRecipe, monkeypatch: pytest.MonkeyPatch
) -> None:
    import xelm.training.loop as loop

    real, steps = loop._Training._take_step, iter(range(1000))
    for stop_after in (5, 6, 9, 4):  # in the base, twice, in an expert, in the next

        def stop(*args: Any, limit: int = stop_after, begin: int = next(steps)) -> Any:
            if next(steps) - begin >= limit:
                raise KeyboardInterrupt
            return real(*args)

        with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
            patched.setattr(loop._Training, "_take_step", stop)
            xelm.train(tiny_recipe(), out=tmp_path / "run")
    xelm.train(tiny_recipe(), out=tmp_path / "run")
    assert _files(tmp_path / "run") == _files(finished)


@pytest.mark.parametrize("changed", [{"train": {"learning_rate": 1e-4}}, {"train": {"seed": 3}}], ids=str)
def test_a_changed_recipe_is_refused_with_the_way_out_and_redo_makes_it_anew(
    run: Path, tiny_recipe: MakeRecipe, changed: dict[str, Any]
) -> None:
    before, recipe = _files(run), tiny_recipe(**changed)
    with pytest.raises(BadInput, match=r"made with another recipe, data or parent. .*or give redo=True"):
        xelm.train(recipe, out=run)
    assert _files(run) == before
    assert ExpertSet.load(run).verify() == []
    experts = xelm.train(recipe, out=run, redo=True)
    assert experts.verify() == []
    after = _files(run)
    for name in experts.names:
        weights = f"experts/{name}/model.safetensors"
        assert after[weights] != before[weights]


def test_a_changed_text_is_refused_too(run: Path, tmp_path: Path, tiny_recipe: MakeRecipe) -> None:
    folder = make_corpus(tmp_path / "other")
    write_jsonl(folder / "rus.jsonl", list(sentences("rus", 60, seed=1)))
    with pytest.raises(BadInput, match="made with another recipe, data or parent"):
        xelm.train(tiny_recipe(data={"path": str(folder)}), out=run)


def test_experts_of_another_plan_do_not_stay_in_the_run(run: Path, tiny_recipe: MakeRecipe) -> None:
    before, recipe = _files(run), tiny_recipe(clusters={"k": 1}, train={"dense": False})
    with pytest.raises(BadInput, match="redo=True"):
        xelm.train(recipe, out=run)
    assert _files(run) == before
    experts = xelm.train(recipe, out=run, redo=True)
    assert sorted(p.name for p in (run / "experts").iterdir()) == experts.names
    assert set(experts.manifest.experts) == set(experts.names)
    assert not (run / "dense").exists()
    assert experts.verify() == []


def test_a_setting_that_changes_no_weight_makes_nothing_anew(run: Path, tiny_recipe: MakeRecipe) -> None:
    stamps = _stamps(run)
    xelm.train(tiny_recipe(train={"checkpoint_every_steps": 3}), out=run)
    assert _stamps(run) == stamps


def test_a_failing_expert_does_not_stop_the_others_and_comes_later(
    tmp_path: Path, finished: Path, tiny_recipe: MakeRecipe, monkeypatch: pytest.MonkeyPatch
) -> None:
    import xelm.training.loop as loop

    real, failing = loop.make_gradients, ExpertSet.load(finished).names[0]

    def spoilt(accelerator: Any, model: Any, batches: Any, stage: Any, *rest: Any) -> Any:
        loss, norm = real(accelerator, model, batches, stage, *rest)
        return (loss * float("nan"), norm) if stage.name == failing else (loss, norm)

    with monkeypatch.context() as patched, pytest.raises(Exception, match=rf"1 of .*{failing}: the loss is nan"):
        patched.setattr(loop, "make_gradients", spoilt)
        xelm.train(tiny_recipe(), out=tmp_path / "run")
    states = {name: entry.state for name, entry in Manifest.read(tmp_path / "run").experts.items()}
    assert states.pop(failing) == "pending"
    assert set(states.values()) == {"done"}
    assert Manifest.read(tmp_path / "run").dense.state == "done"  # type: ignore[union-attr]
    xelm.train(tiny_recipe(), out=tmp_path / "run")
    assert _files(tmp_path / "run") == _files(finished)


def test_a_new_base_has_the_precision_that_the_recipe_says(tmp_path: Path, tiny_recipe: MakeRecipe) -> None:
    import torch

    half = tiny_recipe(base={**tiny_table()["base"], "dtype": "bfloat16"})
    makings = [Workspace.prepare(recipe, tmp_path / "run").makings.base for recipe in (tiny_recipe(), half)]
    assert [making.parent().dtype for making in makings] == [torch.float32, torch.bfloat16]
    assert makings[0].entry.fingerprint != makings[1].entry.fingerprint


def test_a_lora_run_keeps_the_base_once(tmp_path: Path, tiny_recipe: MakeRecipe) -> None:
    experts = xelm.train(tiny_recipe(expert={"kind": "lora", "rank": 2}), out=tmp_path / "run", report=False)
    base_bytes = (experts.folder("base") / "model.safetensors").stat().st_size
    for name in experts.names:
        assert not (experts.folder(name) / "model.safetensors").exists()
        assert (experts.folder(name) / "adapter_model.safetensors").stat().st_size < base_bytes
        assert experts.load_model(name).training is False
    assert experts.manifest.dense is not None
    assert experts.manifest.dense.kind == "lora", "dense is trained as the experts are"
    assert not (experts.folder("dense") / "model.safetensors").exists()


def test_a_model_from_a_path_is_a_base_too(tmp_path: Path, finished: Path, corpus: Path) -> None:
    model = shutil.copytree(finished / "base", tmp_path / "model")
    table = tiny_table(data={"path": str(corpus)}, train={"dense": False}) | {"base": {"model": str(model)}}
    experts = xelm.train(Recipe.from_dict(table), out=tmp_path / "run", report=False)
    assert experts.models == ["base", *experts.names]
    assert experts.manifest.base is not None
    assert experts.manifest.base.parent == "model"
    assert str(tmp_path) not in (tmp_path / "run" / "xelm.json").read_text(encoding="utf-8")


def test_a_plan_that_does_not_fit_the_text_is_named(tmp_path: Path, tiny_recipe: MakeRecipe) -> None:
    plan = xelm.cluster_languages(["deu", "nld", "fra"], k=2)
    plan.save(tmp_path / "plan.json")
    recipe = tiny_recipe(clusters={"k": None, "plan": str(tmp_path / "plan.json")})
    with pytest.raises(BadInput, match=r"plan.json does not fit .*no text for fra; text of rus, which no cluster has"):
        xelm.train(recipe, out=tmp_path / "run")


@pytest.mark.parametrize("function", ["train", "dry_run"])
def test_a_folder_that_holds_other_things_is_not_written_to(
    tmp_path: Path, tiny_recipe: MakeRecipe, function: str
) -> None:
    from xelm.making import train as pipeline

    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "cat.jpg").touch()
    with pytest.raises(BadInput, match="holds files that are no xelm run"):
        getattr(pipeline, function)(tiny_recipe(), tmp_path / "photos")
    assert [p.name for p in (tmp_path / "photos").iterdir()] == ["cat.jpg"]


def test_a_dry_run_trains_nothing_and_shows_the_budget(tmp_path: Path, tiny_recipe: MakeRecipe) -> None:
    from xelm.making import train as pipeline

    plan, budget = pipeline.dry_run(tiny_recipe(), tmp_path / "run")[:2]
    assert sorted(plan.languages) == sorted(WORDS)
    assert sum(stage.tokens for stage in budget.experts.values()) == 1536
    assert not list((tmp_path / "run").rglob("*.safetensors"))
    assert json.dumps(budget.to_dict())


def test_another_kernel_of_attention_makes_the_same_models_and_none_again(
    run: Path, tiny_recipe: MakeRecipe, tmp_path: Path
) -> None:
    from safetensors.torch import load_file

    eager = tiny_recipe(base={**tiny_table()["base"], "attn_implementation": "eager"})
    before = _stamps(run)
    xelm.train(eager, out=run, report=False)
    assert _stamps(run) == before, "it is a setting of the engine"
    other = xelm.train(eager, out=tmp_path / "other", report=False).path
    for name in ("base", "dense"):
        one, two = (load_file(folder / name / "model.safetensors") for folder in (run, other))
        assert all(torch.allclose(one[key], two[key], rtol=0, atol=1e-4) for key in one)
        assert not all(torch.equal(one[key], two[key]) for key in one), "it was really another kernel"
        configs = [(folder / name / "config.json").read_bytes() for folder in (run, other)]
        assert configs[0] == configs[1]


def test_a_kernel_that_does_not_run_here_is_refused_before_any_text_is_read(
    tiny_recipe: MakeRecipe, tmp_path: Path
) -> None:
    base = {**tiny_table()["base"], "attn_implementation": "flash_attention_2"}
    with pytest.raises(BadInput, match=r'computes in half precision only: set \[train\] precision = "bf16"'):
        tiny_recipe(base=base)
    if find_spec("flash_attn") is None:
        recipe = tiny_recipe(base=base, train={"precision": "bf16"})
        with pytest.raises(BadInput, match=r'attn_implementation = "flash_attention_2" does not run here: '):
            xelm.train(recipe, out=tmp_path / "run")
        assert not list((tmp_path / "run").rglob("tokens.bin"))
