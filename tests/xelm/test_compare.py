"""Plans side by side: the same blocks for a language in all of them, equal tokens, the same bits when run again."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

import xelm
from clustering import ClusterPlan
from clustering.errors import BadInput
from tests.xelm.adding import contents
from xelm import PlanComparison, Recipe
from xelm.cli.compare import command
from xelm.comparing.compare import trials_of
from xelm.comparing.plans import make_plans, parse_plans
from xelm.comparing.statistics import Gains, rank_correlation
from xelm.corpus.draw import DrawOrder
from xelm.launch.options import Launch
from xelm.trials.place import Place

MakeRecipe = Callable[..., Recipe]
DATA = {"valid_fraction": 0.1, "test_fraction": 0.2}
Compared = tuple[Path, PlanComparison]
PLANS = "typological,random:2,measured,worst,one"


@pytest.fixture(scope="module")
def recipe(corpus: Path) -> Recipe:
    from tests.xelm.conftest import tiny_table

    return Recipe.from_dict(tiny_table(data={"path": str(corpus), **DATA}, train={"tokens": 128 * 60}))


@pytest.fixture(scope="module")
def compared(recipe: Recipe, tmp_path_factory: pytest.TempPathFactory) -> Compared:
    folder = tmp_path_factory.mktemp("compared") / "out"
    return folder, xelm.compare_plans(recipe, PLANS, seeds=1, out=folder, share=0.2)


def _seen(order: DrawOrder) -> dict[str, list[int]]:
    """Blocks of each language, in the order in which a training reads them."""
    return {code: order.block[order.language == row].tolist() for row, code in enumerate(order.languages)}


def test_a_language_brings_the_same_blocks_to_every_plan(recipe: Recipe, tmp_path: Path) -> None:
    place = Place.prepare(recipe, tmp_path)
    plans = make_plans(parse_plans("typological,random:3,one,tfidf"), place, recipe, None)
    plans["dense"] = ClusterPlan({"all": place.codes}, "one")
    read = []
    for plan in plans.values():
        stages = [place.making(trial).stage for trial in trials_of(place, plan)]
        assert sum(stage.num_steps for stage in stages if stage) == 60
        read.append({code: blocks for stage in stages if stage for code, blocks in _seen(stage.order).items()})
    assert all(table == read[0] for table in read)
    assert sorted(read[0]) == ["deu", "nld", "rus"]
    # A smaller budget reads the beginning of the same.
    less = [place.making(trial).stage for trial in trials_of(place, plans["one"], paid_tokens=128 * 30)]
    for stage in less:
        assert stage is not None
        for code, blocks in _seen(stage.order).items():
            assert 0 < len(blocks) < len(read[0][code]) and blocks == read[0][code][: len(blocks)]


def test_every_arm_gets_the_same_tokens_and_measuring_is_paid_for(compared: Compared) -> None:
    _, comparison = compared
    arms = {arm.plan: arm for arm in comparison.arms}
    assert list(arms) == ["typological", "random-1", "random-2", "measured", "worst", "one"]
    assert comparison.dense_tokens == 128 * 60
    for name, arm in arms.items():
        paid = arm.measuring_tokens[0]
        assert (paid > 0) == (name == "measured")
        assert comparison.dense_tokens - 128 < arm.tokens[0] + paid <= comparison.dense_tokens + 64
    assert arms["one"].k == 3
    assert [len(codes) for codes in arms["random-1"].clusters[0].values()] == [2, 1]
    assert arms["measured"].predicted_cost <= arms["typological"].predicted_cost <= arms["worst"].predicted_cost


def test_gains_are_those_of_the_models_read_by_hand(recipe: Recipe, compared: Compared) -> None:
    folder, comparison = compared
    arm = next(arm for arm in comparison.arms if arm.plan == "one")
    place = Place.prepare(recipe, folder / "seed-0")
    (trial,) = [t for t in trials_of(place, ClusterPlan(arm.clusters[0], "one")) if t.codes == ("rus",)]
    model = place.experts(trial).load_model(place.making(trial).folder.name)
    tokenizer, nats, size = place.workspace.inputs.tokenizer, 0.0, 0
    import torch

    for document in place.documents("test", ["rus"])["rus"]:
        ids = [tokenizer.bos_token_id, *tokenizer(document.text, add_special_tokens=False)["input_ids"]][:32]
        if len(ids) < 32:
            continue
        with torch.no_grad():
            logits = model(torch.tensor([ids])).logits[0, :-1].double().log_softmax(-1)
        nats -= float(logits.gather(1, torch.tensor(ids[1:])[:, None]).sum())
        size += 31
    # The whole text and the beginnings of its documents need not agree, but nearly: the model is the right one.
    mine = comparison.bits[0]["dense"]["rus"] * (1 - arm.gain_by_language["rus"] / 100)
    assert nats / size / np.log(2) == pytest.approx(mine, rel=0.1)


def test_experts_that_two_plans_share_are_trained_once(compared: Compared) -> None:
    folder, comparison = compared
    groups = {
        tuple(sorted(codes)) for arm in comparison.arms if arm.plan != "measured" for codes in arm.clusters[0].values()
    }
    measured = next(arm for arm in comparison.arms if arm.plan == "measured")
    made = [path for path in (folder / "seed-0" / "experts").iterdir() if path.is_dir()]
    # Dense is one more, and the measured plan's have fewer tokens. Branches are gone once they are measured.
    assert len(made) == len(groups) + 1 + len(measured.clusters[0])


def test_run_again_it_trains_nothing_and_says_the_same(recipe: Recipe, compared: Compared, tmp_path: Path) -> None:
    folder, comparison = compared
    copy = Path(shutil.copytree(folder, tmp_path / "copy", symlinks=True))
    before = contents(copy)
    again = xelm.compare_plans(recipe, PLANS, seeds=1, out=copy, share=0.2)
    assert again.to_dict() == comparison.to_dict()
    assert contents(copy) == before
    assert PlanComparison.load(copy / "comparison.json").to_dict() == comparison.to_dict()


@pytest.mark.slow
def test_interrupted_and_by_two_workers_it_comes_out_the_same(
    recipe: Recipe, compared: Compared, tmp_path: Path
) -> None:
    folder, comparison = compared
    copy = Path(shutil.copytree(folder, tmp_path / "copy", symlinks=True))
    lost = sorted((copy / "seed-0" / "experts").iterdir())[:3]
    for path in lost:
        shutil.rmtree(path)
    shutil.rmtree(copy / "cache" / "scores" / lost[0].name, ignore_errors=True)
    again = xelm.compare_plans(recipe, PLANS, seeds=1, out=copy, share=0.2, launch=Launch(workers=2))
    assert again.to_dict() == comparison.to_dict()
    name = f"seed-0/experts/{lost[0].name}/model.safetensors"
    assert (copy / name).read_bytes() == (folder / name).read_bytes()


def test_the_page_holds_every_plan_and_loads_nothing(compared: Compared) -> None:
    folder, comparison = compared
    page = (folder / "comparison.html").read_text(encoding="utf-8")
    for arm in comparison.arms:
        assert arm.plan in page
    assert "Dutch" in page and "http" not in page.replace("http-equiv", "")
    assert comparison.to_html() == page
    assert json.loads(comparison.to_json())["table"] == comparison.table
    with pytest.raises(BadInput, match=r"written as .html or .json"):
        comparison.save(folder / "comparison.pdf")


@pytest.mark.parametrize(
    ("gain", "said"), [(2.5, r"gains most: 2\.50 % fewer"), (-2.5, r"No plan gains: .* needs 2\.50 % more")]
)
def test_the_page_s_headline_says_who_is_ahead(compared: Compared, gain: float, said: str) -> None:
    comparison = compared[1]
    arms = tuple(replace(arm, mean_gain=replace(arm.mean_gain, value=gain)) for arm in comparison.arms)
    page = replace(comparison, arms=arms).to_html()
    headline = page.split("<h1>")[1].split("</h1>")[0]
    assert re.search(said, headline)


def test_paired_intervals_and_gains_by_hand() -> None:
    dense = {"deu": np.array([10.0, 20.0]), "nld": np.array([10.0, 10.0])}
    arm = {"deu": np.array([9.0, 18.0]), "nld": np.array([11.0, 11.0])}
    gains = Gains({"a": [arm], "b": [dense]}, [dense])
    assert gains.of("a") == pytest.approx(np.array([[10.0, -10.0]]))
    mean = gains.mean(["a"])
    # Both documents gain alike, so that it does not matter which are drawn.
    assert (mean.value, mean.low, mean.high) == pytest.approx((0.0, 0.0, 0.0), abs=1e-9)
    assert gains.difference("a", ["b"]).value == pytest.approx(0.0)
    uneven = {"deu": np.array([5.0, 20.0]), "nld": np.array([10.0, 10.0])}
    wide = Gains({"a": [uneven]}, [dense]).mean(["a"])
    assert wide.value == pytest.approx(100 * (5 / 30) / 2)
    assert wide.low == pytest.approx(0.0) and wide.high == pytest.approx(25.0)
    single = Gains({"a": [{"deu": np.array([9.0])}]}, [{"deu": np.array([10.0])}]).mean(["a"])
    assert (single.value, single.low, single.high) == (pytest.approx(10.0), None, None)


def test_rank_correlation_over_plans() -> None:
    down = rank_correlation([1, 2, 3, 4, 5], [9, 7, 5, 3, 1])
    assert down is not None and down.value == pytest.approx(-1.0) and down.high == pytest.approx(-1.0)
    assert rank_correlation([1, 2, 3], [1, 2, 3]) is None
    assert rank_correlation([1, 1, 1, 1], [1, 2, 3, 4]) is None


@pytest.mark.parametrize(
    ("plans", "message"),
    [
        ("typologic", "Did you mean typological"),
        ("random:0", "1 to 100"),
        ("one,one", "twice"),
        ("none.json", "no such plan file"),
        ("", "no such plan"),
    ],
)
def test_plans_that_are_not_there_are_refused(
    plans: str, message: str, tiny_recipe: MakeRecipe, tmp_path: Path
) -> None:
    with pytest.raises(BadInput, match=message):
        xelm.compare_plans(tiny_recipe(), plans, out=tmp_path / "out")


def test_what_cannot_be_compared_is_refused_before_anything_is_trained(tiny_recipe: MakeRecipe, tmp_path: Path) -> None:
    plan = tmp_path / "mine.json"
    ClusterPlan({"a": ["deu"], "b": ["nld", "jpn"]}, "by hand").save(plan)
    for recipe, plans, message in [
        (tiny_recipe(train={"share": "equal"}), "typological", 'share = "equal"'),
        (tiny_recipe(train={"tokens": 256}), "typological", "leaves no step"),
        (tiny_recipe(), str(plan), "does not fit"),
    ]:
        with pytest.raises(BadInput, match=message):
            xelm.compare_plans(recipe, plans, out=tmp_path / "out")
        assert not list((tmp_path / "out").rglob("model.safetensors"))
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "letter.txt").write_text("mine")
    with pytest.raises(BadInput, match="no comparison"):
        xelm.compare_plans(tiny_recipe(), "typological", out=tmp_path / "other")


def test_a_dry_run_counts_tokens_and_leaves_nothing(corpus: Path, tmp_path: Path) -> None:
    import tomli_w

    from tests.xelm.conftest import tiny_table

    file = tmp_path / "recipe.toml"
    file.write_text(tomli_w.dumps(tiny_table(data={"path": str(corpus)}, train={"tokens": 128 * 60})))
    arguments = [
        str(file),
        "--plans",
        "typological,one,measured",
        "--out",
        str(tmp_path / "out"),
        "--dry-run",
        "--json",
    ]
    result = CliRunner().invoke(command, arguments)
    assert result.exit_code == 0, result.output
    bill = json.loads(result.stdout)
    assert bill["dense"] == bill["arms"]["typological"]["tokens"] == 128 * 60
    assert 0 < bill["measuring"] <= 0.1 * bill["dense"]
    assert bill["arms"]["measured"]["new_tokens"] is None
    assert bill["arms"]["one"]["new_tokens"] < bill["arms"]["one"]["tokens"]  # the typological plan has one alone
    assert not (tmp_path / "out").exists()
