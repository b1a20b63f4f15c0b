"""Experts moved part of the way back to the base: exact, undone to the byte, and no obstacle to anything else."""

from __future__ import annotations

import dataclasses
import json
import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

import xelm
from clustering.errors import BadInput
from tests.xelm.adding import contents, copy_of, models_of, new_text, train_tiny
from xelm.adding.add import add_language, remove_language
from xelm.blending.choose import Measured, _lower, _within
from xelm.blending.text import blend_table
from xelm.cli import main
from xelm.making.train import train
from xelm.recipe.recipe import Recipe
from xelm.run.experts import ExpertSet
from xelm.run.records.manifest import Manifest

KINDS = ("full", "lora")
full_only = pytest.mark.parametrize("finished", ["full"], indirect=True)


@pytest.fixture(scope="module", params=KINDS)
def finished(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that no test changes."""
    expert = {"kind": request.param} | ({"rank": 2} if request.param == "lora" else {})
    return train_tiny(
        tmp_path_factory.mktemp(request.param), expert=expert, train={"tokens": 1536, "learning_rate": 2e-2}
    )


@pytest.fixture
def run(finished: Path, tmp_path: Path) -> Path:
    return copy_of(finished, tmp_path)


@pytest.fixture(scope="module")
def grown_unblended(finished: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """The run with Swedish added to it as it was trained, `new` or `join`; no test changes it."""

    @cache
    def grown(kind: Any) -> Path:
        folder = tmp_path_factory.mktemp(f"unblended-{kind}")
        run = copy_of(finished, folder)
        add_language(run, "swe", new_text(folder, "swe"), donor="rus", tokens=128, as_=kind)
        return run

    return grown


def _logits(experts: ExpertSet, name: str) -> torch.Tensor:
    ids = torch.tensor([[5, 70, 80, 90, 100, 33, 60, 7]])
    with torch.no_grad():
        return experts.load_model(name)(input_ids=ids).logits


def _weights(experts: ExpertSet, name: str) -> dict[str, torch.Tensor]:
    model = experts.load_model(name)
    if hasattr(model, "merge_and_unload"):
        model = model.merge_and_unload()
    return dict(model.state_dict())


def test_an_expert_is_base_plus_its_share_of_the_difference(run: Path) -> None:
    before = ExpertSet.load(run)
    base = _weights(before, "base")
    trained = {name: _weights(before, name) for name in before.names}
    experts = xelm.blend(run, keep=0.6)
    for name in experts.names:
        moved = _weights(experts, name)
        assert set(moved) == set(base)
        for key, start in base.items():
            torch.testing.assert_close(moved[key], start + 0.6 * (trained[name][key] - start), rtol=1e-6, atol=1e-7)
        assert any(not torch.equal(moved[key], trained[name][key]) for key in moved)
        entry = experts.manifest.experts[name]
        assert entry.keep == 0.6
        assert entry.fingerprint == before.manifest.experts[name].fingerprint
        assert (experts.folder(name) / "xelm_model.json").is_file()
    assert experts.verify() == []


def test_shares_always_count_from_the_trained_expert_and_base_and_dense_are_never_moved(run: Path) -> None:
    fixed = models_of(run, ["base", "dense"])
    once = xelm.blend(run, keep=0.5)
    weights = {name: _weights(once, name) for name in once.names}
    xelm.blend(run, keep=0.8)
    again = xelm.blend(run, keep=0.5)
    for name in again.names:
        assert all(torch.equal(value, weights[name][key]) for key, value in _weights(again, name).items())
    assert models_of(run, ["base", "dense"]) == fixed


def test_keep_1_undoes_to_the_byte(run: Path) -> None:
    start = contents(run)
    xelm.blend(run, keep=0.7)
    assert contents(run) != start
    xelm.blend(run, keep={ExpertSet.load(run).names[0]: 0.3})
    assert not xelm.blend(run, keep=1).is_blended
    assert contents(run) == start
    xelm.blend(run, keep=1)
    assert contents(run) == start


@full_only
def test_the_evaluation_is_that_of_the_moved_experts(run: Path) -> None:
    experts = xelm.blend(run, keep=0.5)
    table = blend_table(experts)["test"]
    assert set(table) == set(experts.names)
    for name, row in table.items():
        assert row["keep"] == 0.5
        assert row["cost_elsewhere_percent"]["after"] != row["cost_elsewhere_percent"]["before"]
        assert experts.manifest.metrics["forgetting"][name]["cost_elsewhere_percent"] == pytest.approx(
            row["cost_elsewhere_percent"]["after"]
        )
    result = experts.result("test")
    assert result is not None
    from xelm.evaluation.evaluate import evaluate_on

    assert evaluate_on(experts, None).bits(experts.names[0]) == pytest.approx(result.bits(experts.names[0]))


def test_a_router_of_a_blended_run_answers_with_the_moved_expert(run: Path) -> None:
    experts = xelm.blend(run, keep=0.5)
    lm = xelm.RoutedLM.from_pretrained(run, device="cpu")
    name = experts.names[0]
    (score,) = lm.score(["der Morgen und das Haus"], policy=name)
    with torch.no_grad():
        model = experts.load_model(name)
        ids = torch.tensor([lm.tokenizer("der Morgen und das Haus")["input_ids"]])
        if ids[0, 0] != lm.tokenizer.bos_token_id:
            ids = torch.cat([torch.tensor([[lm.tokenizer.bos_token_id]]), ids], dim=1)
        logs = model(input_ids=ids).logits.log_softmax(-1)[0, :-1].gather(1, ids[0, 1:, None]).sum()
    assert score.nats == pytest.approx(-float(logs), rel=1e-4)


@full_only
def test_training_again_has_nothing_to_do(run: Path, finished: Path) -> None:
    xelm.blend(run, keep=0.7)
    start = contents(run)
    manifest = Manifest.read(finished)
    table = manifest.recipe | {"data": manifest.recipe["data"] | {"path": str(finished.parent / "corpus")}}
    train(Recipe.from_dict(table), run)
    assert contents(run) == start
    changed = table | {"train": table["train"] | {"learning_rate": 1e-4}}
    with pytest.raises(BadInput, match=r"Undo it first: `xelm blend RUN --keep 1`"):
        train(Recipe.from_dict(changed), run, redo=True)
    assert contents(run) == start


@pytest.mark.parametrize(
    ("finished", "kind"),
    [
        ("full", "join"),
        ("lora", "new"),
        pytest.param("full", "new", marks=pytest.mark.slow),
        pytest.param("lora", "join", marks=pytest.mark.slow),
    ],
    indirect=["finished"],
)
def test_an_addition_starts_from_the_trained_donor_and_comes_and_goes_without_trace(
    run: Path, finished: Path, grown_unblended: Callable[[str], Path], tmp_path: Path, kind: Any
) -> None:
    file = new_text(tmp_path, "swe")
    options: dict[str, Any] = {"donor": "rus", "tokens": 128, "as_": kind}
    unblended = ExpertSet.load(grown_unblended(kind))
    xelm.blend(run, keep=0.7)
    start = contents(run)
    grown = add_language(run, "swe", file, **options)
    assert grown.verify() == []
    name, donor = grown.plan.cluster_of("swe"), grown.plan.cluster_of("rus")
    entry = grown.manifest.experts[name]
    assert entry.parent_fingerprint == Manifest.read(finished).experts[donor].fingerprint
    assert entry.keep == (None if kind == "new" else 0.7), "a new expert is as it was trained"
    assert grown.manifest.experts[grown.names[0]].keep == 0.7
    trained = grown.trained()
    assert models_of_view(trained) == models_of_view(unblended)
    assert trained.manifest.ledger == unblended.manifest.ledger
    remove_language(run, "swe")
    assert contents(run) == start
    xelm.blend(run, keep=1)
    assert contents(run) == contents(finished)


def models_of_view(experts: ExpertSet) -> dict[str, bytes]:
    return {
        f"{name}/{file.name}": file.read_bytes()
        for name in experts.models
        for file in sorted(experts.folder(name).iterdir())
        if file.name != "README.md"  # peft writes where the base lies into it
    }


@full_only
def test_an_addition_stays_when_the_blend_is_undone(
    run: Path, grown_unblended: Callable[[str], Path], tmp_path: Path
) -> None:
    file, plain = new_text(tmp_path, "swe"), grown_unblended("new")
    xelm.blend(run, keep=0.7)
    add_language(run, "swe", file, donor="rus", tokens=128)
    xelm.blend(run, keep=1)
    kept = [
        {name: sha for name, sha in contents(made).items() if name.split("/")[0] not in ("cache", "logs", "xelm.json")}
        for made in (run, plain)
    ]
    different = {name for name in kept[0] | kept[1] if kept[0].get(name) != kept[1].get(name)}
    assert different <= {"experts/c3-swe/README.md"}, "peft writes where the base lies into it"
    ours, theirs = Manifest.read(run), Manifest.read(plain)
    assert dataclasses.replace(ours, files={}) == dataclasses.replace(theirs, files={})


@full_only
def test_a_killed_blend_leaves_the_run_as_it_was(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    start = contents(run)

    def interrupt(*arguments: object, **options: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr("xelm.blending.overlay.seal", interrupt)
        xelm.blend(run, keep=0.5)
    assert {k: v for k, v in contents(run).items() if not k.startswith("cache/")} == {
        k: v for k, v in start.items() if not k.startswith("cache/")
    }
    assert ExpertSet.load(run).verify() == []
    assert xelm.blend(run, keep=0.5).verify() == []


@full_only
def test_verify_sees_the_trained_weights_too(run: Path) -> None:
    experts = xelm.blend(run, keep=0.5)
    file = next((run / "trained" / "experts" / experts.names[0]).glob("*.safetensors"))
    file.write_bytes(file.read_bytes()[:-1] + b"x")
    assert experts.verify() == [f"changed: {file.relative_to(run).as_posix()}"]
    with pytest.raises(BadInput, match="the run is not whole"):
        xelm.blend(run, keep=1)


@full_only
def test_auto_measures_on_valid_text_and_stays_within_the_loss_that_is_allowed(run: Path) -> None:
    before = ExpertSet.load(run).result("valid")
    assert before is not None
    chosen = {lose: xelm.blend(run, keep="auto", lose=lose) for lose in (0.05, 0.4)}
    table = blend_table(chosen[0.4])["valid"]
    keeps = {lose: {n: e.keep or 1.0 for n, e in made.manifest.experts.items()} for lose, made in chosen.items()}
    assert any(keep < 1 for keep in keeps[0.4].values())
    for name, row in table.items():
        assert keeps[0.4][name] <= keeps[0.05][name], "who may lose more goes further back"
        if row["own_gain_percent"]["before"] <= 0:
            assert keeps[0.4][name] == 1.0, "who gained nothing is left alone"
    assert not (run / "work").exists()


@full_only
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"keep": 0.0}, r"keep=0\.0: λ is how much of the way"),
        ({"keep": 1.5}, r"keep=1\.5: λ is"),
        ({"keep": float("nan")}, r"keep=nan: λ is"),
        ({"keep": "most"}, r"keep='most': give a number"),
        ({"keep": {"c9": 0.5}}, r"no expert 'c9'\. There are: c1"),
        ({"keep": {"base": 0.5}}, r"no expert 'base'"),
        ({"keep": "auto", "lose": 1.0}, r"lose=1\.0 is a share of an expert's own gain"),
    ],
)
def test_what_cannot_be_is_refused(finished: Path, options: dict[str, Any], message: str) -> None:
    with pytest.raises(BadInput, match=message):
        xelm.blend(finished, **options)


@full_only
def test_the_command_prints_before_and_after_and_json(
    run: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def shell(*words: object) -> str:
        monkeypatch.setattr(sys, "argv", ["xelm", "-q", *map(str, words)])
        main()
        return capsys.readouterr().out

    out = shell("blend", run, "--keep", 0.5)
    assert "own gain %" in out and "cost elsewhere %" in out and "test text" in out
    assert "0.50" in shell("info", run)
    table = json.loads(shell("blend", run, "--keep", 1, "--json"))
    assert all(row["keep"] == 1 and row["cost_left"] in (1.0, None) for row in table["test"].values())
    monkeypatch.setattr(sys, "argv", ["xelm", "blend", str(run), "--keep", "0.5", "--auto"])
    with pytest.raises(SystemExit, match="2"):
        main()


def _line(share: float, cost: float, number: int = 400) -> Measured:
    """An expert of one own language and one other, whose gain and cost go along known curves."""
    base = {"deu": np.full(number, 100.0), "rus": np.full(number, 100.0)}
    nats = {}
    for keep in (1.0, 0.9, 0.8, 0.7, 0.6, 0.5):
        kept = 1 - (1 - share) * ((1 - keep) / 0.2) ** 2  # 1 at keep 1, `share` at 0.8
        nats[keep] = {"deu": base["deu"] * (1 - 0.1 * kept), "rus": base["rus"] * (1 + cost * keep**2)}
    return Measured(["deu"], base, nats)


def test_the_share_of_least_cost_within_the_bound_is_chosen() -> None:
    steps = [1.0, 0.9, 0.8, 0.7, 0.6, 0.5]
    (keep,) = _within({"a": _line(0.95, 0.5)}, steps, 0.9).values()
    # 1 - 0.05 ((1 - λ) / 0.2)² = 0.9 at λ = 1 - 0.2 √2 = 0.717; no noise, so no margin.
    assert keep == pytest.approx(0.72, abs=0.011)
    looser = _within({"a": _line(0.95, 0.5)}, steps, 0.8)["a"]
    assert looser == pytest.approx(0.6, abs=0.011)
    # An expert that helps others keeps all: there is nothing to gain by going back.
    assert _within({"a": _line(0.95, -0.2)}, steps, 0.9)["a"] == 1.0


def test_the_median_stands_for_experts_whose_share_is_not_surely_another() -> None:
    alike = _lower({"a": (0.95, 0.02), "b": (0.88, 0.01), "c": (0.9, 0.02)})
    # The median 0.9, less √2 × 0.02 (the median error).
    assert alike == pytest.approx(dict.fromkeys("abc", 0.9 - 2**0.5 * 0.02))
    # 0.99 lies 0.09 from the median 0.9, more than 3 × √2 × 0.01.
    apart = _lower({"a": (0.99, 0.01), "b": (0.88, 0.02), "c": (0.9, 0.02)})
    assert apart["a"] == pytest.approx(0.99 - 2**0.5 * 0.02), "with the margin that is usual"
    assert apart["b"] == apart["c"] == pytest.approx(0.9 - 2**0.5 * 0.02)
    assert _lower({"a": (0.9, 0.02)})["a"] == pytest.approx(0.9 - 2**0.5 * 0.02)


def test_weights_that_the_base_has_not_are_refused(tmp_path: Path) -> None:
    from safetensors.torch import save_file

    from xelm.models.interpolation import move_back

    for folder, rows in (("base", 4), ("expert", 6)):
        (tmp_path / folder).mkdir()
        save_file({"embed": torch.ones(rows, 2), "ids": torch.arange(3)}, tmp_path / folder / "model.safetensors")
    with pytest.raises(BadInput, match=r"embed has the shape \(6, 2\), the base's \(4, 2\)"):
        move_back(tmp_path / "expert", tmp_path / "base", 0.5)
    save_file({"embed": torch.full((4, 2), 3, dtype=torch.bfloat16)}, tmp_path / "expert" / "model.safetensors")
    move_back(tmp_path / "expert", tmp_path / "base", 0.5)
    moved = load_file(tmp_path / "expert" / "model.safetensors")["embed"]
    assert moved.dtype == torch.bfloat16 and torch.equal(moved.float(), torch.full((4, 2), 2.0))
    save_file({"other": torch.ones(2)}, tmp_path / "expert" / "model.safetensors")
    with pytest.raises(BadInput, match="other is a weight that the base does not have"):
        move_back(tmp_path / "expert", tmp_path / "base", 0.5)
