"""Effects of languages on one another: measured as defined, kept, paid within the share, and used for a run's plan."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import tomli_w
from click.testing import CliRunner

import xelm
from clustering.errors import BadInput
from clustering.plans.effects import Effects
from tests.xelm.conftest import tiny_table
from xelm import ExpertSet, Recipe
from xelm.cli.cluster import command as cluster
from xelm.cli.measure import command as measure
from xelm.measuring.branches import plan_branches
from xelm.measuring.measure import effect
from xelm.measuring.updates import compare_updates
from xelm.models.layer_groups import layer_of
from xelm.run.records.manifest import Manifest
from xelm.trials.place import Place

MakeRecipe = Callable[..., Recipe]
HELD = {"valid_fraction": 0.2, "test_fraction": 0.1}
LONG = {"tokens": 128 * 120}


@pytest.fixture(scope="module")
def recipe(corpus: Path) -> Recipe:
    return Recipe.from_dict(tiny_table(data={"path": str(corpus), **HELD}, train=LONG))


@pytest.fixture(scope="module")
def measured(recipe: Recipe, tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("measured") / "effects.json"
    xelm.measure_effects(recipe, file, share=0.2)
    return file


def test_effects_hold_what_was_measured_within_the_share(recipe: Recipe, measured: Path) -> None:
    effects = Effects.load(measured)
    assert effects.languages == ("deu", "nld", "rus")
    assert effects.matrix.shape == effects.errors.shape == (3, 3)
    assert np.isfinite(effects.matrix).all() and (effects.errors > 0).all()
    assert effects.shorter is not None
    assert 0 < effects.tokens <= 2 * 0.2 * recipe.train.tokens
    gains = effects.probe.split_gains
    assert gains is not None and np.isfinite(gains).all()
    for code in effects.languages:
        assert effects.shorter.tokens[code] < effects.probe.tokens[code]
    # Text of one's own helps one most.
    assert (np.diag(effects.matrix) <= effects.matrix.min(axis=0) + 1e-12).all()
    assert np.diag(effects.cosines) == pytest.approx(np.ones(3))
    assert list(effects.layer_cosines) == ["embedding", "0", "other"]
    assert effects.distances().values.min() == 0 and effects.distances().values.max() == 1


def test_an_effect_is_the_change_of_bits_under_the_branch(recipe: Recipe, measured: Path, tmp_path: Path) -> None:
    effects = Effects.load(measured)
    work = Path(shutil.copytree(measured.with_name("effects.work"), tmp_path / "work"))
    place = Place.prepare(recipe, work)
    trial = plan_branches(place, 0.2).longer["rus"]
    from xelm.launch.attempt import attempt

    making = place.making(trial)
    assert not making.folder.exists()  # branches are gone once they are measured
    assert attempt(work, making.folder.name, making) is None
    bits = {}
    for name, model in (
        ("before", place.experts().load_model("base")),
        ("after", place.experts(trial).load_model(making.folder.name)),
    ):
        from router.scoring.texts import encode
        from router.scoring.tokens import token_log_probs

        texts = [document.text for document in place.documents("valid", ["deu"])["deu"]]
        bits[name] = -sum(
            part.sum() for part in token_log_probs(model, encode(texts, place.workspace.inputs.tokenizer))
        )
    row, column = effects.languages.index("rus"), effects.languages.index("deu")
    assert effects.matrix[row, column] == pytest.approx(bits["after"] / bits["before"] - 1, abs=1e-6)


def test_errors_are_those_of_a_ratio_over_documents() -> None:
    rng = np.random.default_rng(0)
    before = rng.uniform(50, 150, 400)
    after = before * rng.normal(1.1, 0.2, 400)
    value, error = effect(before, after)
    assert value == pytest.approx(after.sum() / before.sum() - 1)
    draws = [rng.integers(400, size=400) for _ in range(2000)]
    assert error == pytest.approx(np.std([after[d].sum() / before[d].sum() for d in draws]), rel=0.1)
    assert np.isnan(effect(before[:1], after[:1])[1])


def test_measured_again_nothing_is_trained(recipe: Recipe, measured: Path, tmp_path: Path) -> None:
    folder = tmp_path / "again"
    shutil.copytree(measured.parent, folder)
    (folder / "effects.json").unlink()
    base = folder / "effects.work" / "base" / "model.safetensors"
    stamp = base.stat().st_mtime_ns
    xelm.measure_effects(recipe, folder / "effects.json", share=0.2)
    assert (folder / "effects.json").read_bytes() == measured.read_bytes()
    assert base.stat().st_mtime_ns == stamp


def test_interrupted_it_goes_on_to_the_same_effects(recipe: Recipe, measured: Path, tmp_path: Path) -> None:
    folder = tmp_path / "again"
    shutil.copytree(measured.parent, folder)
    (folder / "effects.work" / "effects.json").unlink()  # as if killed before it was written; some rows are read
    lost = sorted((folder / "effects.work" / "cache" / "scores").iterdir())[1]
    shutil.rmtree(lost)
    xelm.measure_effects(recipe, folder / "effects.json", share=0.2)
    assert (folder / "effects.json").read_bytes() == measured.read_bytes()


@pytest.mark.parametrize("kind", ["full", "lora"])
def test_cosines_of_updates_are_those_of_the_weights(kind: str, tiny_recipe: MakeRecipe, tmp_path: Path) -> None:
    recipe = tiny_recipe(data=HELD, train=LONG, expert={"kind": kind, **({"rank": 2} if kind == "lora" else {})})
    place = Place.prepare(recipe, tmp_path)
    from xelm.launch.attempt import attempt

    assert attempt(tmp_path, "base", place.base) is None
    trials = list(plan_branches(place, 0.2).longer.values())[:2]
    weights = []
    for trial in trials:
        making = place.making(trial)
        assert attempt(tmp_path, making.folder.name, making) is None
        model = place.experts(trial).load_model(making.folder.name)
        whole = model.merge_and_unload() if kind == "lora" else model
        weights.append({name: value.detach().double().numpy().ravel() for name, value in whole.named_parameters()})
    before = {n: v.detach().double().numpy().ravel() for n, v in place.experts().load_model("base").named_parameters()}
    one, other = ({name: table[name] - before[name] for name in before} for table in weights)
    names = [name for name in before if ".layers.0." in name]
    for parts, found in ((list(before), 0), (names, 1)):
        a, b = (np.concatenate([table[name] for name in parts]) for table in (one, other))
        updates = compare_updates(tmp_path / "base", [place.making(trial).folder for trial in trials])
        value = updates.cosines[0, 1] if found == 0 else updates.layer_cosines["0"][0, 1]
        assert value == pytest.approx(a @ b / np.linalg.norm(a) / np.linalg.norm(b), abs=1e-3)
    start = np.concatenate([before[name] for name in names]) if kind == "full" else np.ones(1)
    sizes = [np.linalg.norm(update) / np.linalg.norm(start) for update in (a, b)]
    assert updates.layer_sizes["0"] == pytest.approx(sizes, rel=1e-3)


def test_layers_are_found_by_name() -> None:
    assert layer_of("model.layers.11.mlp.up_proj.weight") == "11"
    assert layer_of("transformer.h.3.attn.c_attn.weight") == "3"
    assert layer_of("bert.encoder.layer.2.output.dense.weight") == "2"
    assert layer_of("model.embed_tokens.weight") == layer_of("transformer.wte.weight") == "embedding"
    assert layer_of("model.norm.weight") == "other"


def test_a_recipe_may_ask_for_a_measured_plan(corpus: Path, tmp_path: Path) -> None:
    table = tiny_table(data={"path": str(corpus), **HELD}, train=LONG, clusters={"method": "measured"})
    run = xelm.train(Recipe.from_dict(table), tmp_path / "run").path
    effects = Effects.load(run / "effects.json")
    plan = ExpertSet.load(run).plan
    assert plan.method == "measured"
    assert plan.clusters == xelm.cluster_languages(effects.languages, k=2, effects=effects).clusters
    assert ExpertSet.load(run).verify() == []
    assert Manifest.read(run).recipe["clusters"]["effects"] is None  # as it was written: no folder of this machine
    stamps = {path: path.stat().st_mtime_ns for path in run.rglob("model.safetensors")}
    xelm.train(Recipe.from_dict(table), run)
    assert {path: path.stat().st_mtime_ns for path in run.rglob("model.safetensors")} == stamps
    page = (run / "report.html").read_text(encoding="utf-8")
    assert "Measured effects" in page and "measured interference" in page
    # A run with the same effects given as a file has the same plan.
    given = tiny_table(data={"path": str(corpus), **HELD}, train=LONG, clusters={"effects": str(run / "effects.json")})
    assert Place.prepare(Recipe.from_dict(given), tmp_path / "place").codes == list(effects.languages)


def test_commands_measure_and_advise(corpus: Path, measured: Path, tmp_path: Path) -> None:
    file = tmp_path / "recipe.toml"
    file.write_text(tomli_w.dumps(tiny_table(data={"path": str(corpus), **HELD}, train=LONG)))
    bill = CliRunner().invoke(measure, [str(file), "--out", str(tmp_path / "e.json"), "--dry-run", "--json"])
    assert bill.exit_code == 0, bill.output
    assert 0 < json.loads(bill.stdout)["tokens"] <= 2 * (0.05 * LONG["tokens"] + 3 * 32)
    assert not (tmp_path / "e.json").exists() and not (tmp_path / "e.work").exists()
    shutil.copytree(measured.with_name("effects.work"), tmp_path / "e.work")
    done = CliRunner().invoke(measure, [str(file), "--out", str(tmp_path / "e.json"), "--share", "0.2"])
    assert done.exit_code == 0, done.output
    assert "Advice:" in done.stdout and "of the budget" in done.stdout
    plan = CliRunner().invoke(
        cluster, ["German", "nl", "rus", "-k", "2", "--effects", str(tmp_path / "e.json"), "--json"]
    )
    assert json.loads(plan.stdout)["method"] == "measured"
    advice = CliRunner().invoke(cluster, ["deu", "nld", "rus", "--suggest-k", "--effects", str(measured), "--json"])
    value = json.loads(advice.stdout)
    assert [row["k"] for row in value["rows"]] == [1, 2, 3]
    assert value["verdict"] in ("split", "one", "undecided")


def test_a_new_language_is_measured_alone(corpus: Path, measured: Path, tmp_path: Path) -> None:
    from clustering import ClusterPlan

    file, plan = tmp_path / "recipe.toml", tmp_path / "plan.json"
    file.write_text(tomli_w.dumps(tiny_table(data={"path": str(corpus), **HELD}, train=LONG)))
    ClusterPlan({"a": ["deu"], "b": ["nld"]}, "by hand").save(plan)
    work = Path(shutil.copytree(measured.with_name("effects.work"), tmp_path / "alone.work"))
    made = len(list((work / "cache" / "scores").iterdir()))
    options = [
        "--out",
        str(tmp_path / "alone.json"),
        "--share",
        "0.2",
        "--only",
        "Russian",
        "--plan",
        str(plan),
        "--json",
    ]
    result = CliRunner().invoke(measure, [str(file), *options])
    assert result.exit_code == 0, result.output
    places, whole = json.loads(result.stdout)["places"]["Russian"], Effects.load(measured)
    assert len(list((work / "cache" / "scores").iterdir())) == made  # it was read before, among the others
    assert places == pytest.approx({"a": whole.matrix[2, 0], "b": whole.matrix[2, 1]})
    assert list(places.values()) == sorted(places.values())
    alone = Effects.load(tmp_path / "alone.json")
    assert np.isnan(alone.matrix[:2]).all() and list(alone.probe.tokens) == ["rus"]
    with pytest.raises(BadInput, match="no text of it"):
        xelm.measure_effects(Recipe.load(file), tmp_path / "alone.json", share=0.2, only=["jpn"])


def test_a_report_says_what_speaks_for_its_plan(corpus: Path, tmp_path: Path) -> None:
    from xelm.comparing.comparison import ArmResult, PlanComparison
    from xelm.comparing.statistics import Estimate
    from xelm.making.train import rewrite_report

    run = xelm.train(Recipe.from_dict(tiny_table(data={"path": str(corpus)})), tmp_path / "run").path
    assert "This run has no evidence" in (run / "report.html").read_text(encoding="utf-8")
    gain = Estimate(2.5, 2.0, 3.0)
    arms = [
        ArmResult(
            name, [clusters], [1536], [0], 3, [3], gain, [2.5], dict.fromkeys(["deu", "nld", "rus"], 2.5), "deu", gain
        )
        for name, clusters in (
            ("typological", ExpertSet.load(run).plan.clusters),
            ("random-1", {"a": ["deu", "nld", "rus"]}),
        )
    ]
    PlanComparison(["deu", "nld", "rus"], [0], "full", 1536, arms, []).save(run / "comparison.json")
    rewrite_report(run)
    page = (run / "report.html").read_text(encoding="utf-8")
    assert "Compared with other plans from one base (1, in" in page and "has no evidence" not in page
    assert ExpertSet.load(run).verify() == []


@pytest.mark.parametrize("share", [0.0, 0.9, -1.0])
def test_a_share_out_of_range_is_refused(share: float, tiny_recipe: MakeRecipe, tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="share="):
        xelm.measure_effects(tiny_recipe(), tmp_path / "e.json", share=share)


def test_effects_and_other_ways_to_group_are_kept_apart() -> None:
    for clusters, message in [
        ({"k": 2, "method": "average", "effects": "e.json"}, "does not go with it"),
        ({"k": 2, "method": "measured", "balance": "tokens"}, "even groups"),
        ({"k": 2, "effects": "e.json", "distance": "syntactic"}, "leave out distance"),
    ]:
        with pytest.raises(BadInput, match=message):
            Recipe.from_dict(tiny_table(clusters={**clusters}))
