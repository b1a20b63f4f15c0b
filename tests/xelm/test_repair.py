"""A newcomer that would take text of an older language waits until a text is clearly its own."""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from clustering import ClusterPlan
from router.identify.combined import CombinedIdentifier
from router.identify.stored import load_identifier
from router.routes.relatives import Relatives
from tests.xelm.conftest import sentences
from tests.xelm.made_runs import OWNERS, make_run
from xelm.adding.repair import MOST_COST, PRIORS, ReadOnce, fit_prior
from xelm.evaluation.evaluate import evaluate_on
from xelm.evaluation.groups import save_groups
from xelm.inference.routed import RoutedLM
from xelm.run.experts import ExpertSet
from xelm.run.records.manifest import Manifest

OLD, NEWCOMER = "deu", "afr"


def _run(models: Path, folder: Path, plan: dict[str, list[str]]) -> Path:
    """A run of untrained experts; the newcomer's text is German, as is that of the older language."""
    run = Path(shutil.copytree(models, folder))
    codes = [code for cluster in plan.values() for code in cluster]
    spoken = {code: "deu" if code == NEWCOMER else code for code in codes}
    ClusterPlan(plan, "by hand").save(run / "plan.json")
    texts = {code: sentences(spoken[code], 60, seed=code == NEWCOMER) for code in codes}
    CombinedIdentifier.train(texts, use_langid=False).save(run / "router")
    (run / "eval/heldout").mkdir(parents=True)
    for code in codes:
        rows = [
            {"text": text, "split": split, "id": f"{split}{number}"}
            for seed, split in ((3, "valid"), (4, "test"))
            for number, text in enumerate(sentences(spoken[code], 20, seed=seed + 2 * (code == NEWCOMER)))
        ]
        (run / f"eval/heldout/{code}.jsonl").write_text("".join(json.dumps(r, ensure_ascii=False) + "\n" for r in rows))
    manifest = Manifest.read(run)
    kept = {name: dataclasses.replace(manifest.experts[name], languages=owned) for name, owned in plan.items()}
    manifest.experts = kept
    manifest.refresh_files(run)
    manifest.write(run)
    return run


@pytest.fixture(scope="module")
def plan(tmp_path_factory) -> tuple[Path, dict[str, list[str]]]:
    """Untrained models, and who owns what: the newcomer gets the one that reads German worst."""
    models = make_run(tmp_path_factory.mktemp("repair"), "full")
    lm, texts = RoutedLM.from_pretrained(models, device="cpu"), sentences("deu", 20, seed=3)
    best, middle, worst = sorted(OWNERS, key=lambda name: sum(score.nats for score in lm.score(texts, name)))
    return models, {best: [OLD], middle: ["rus"], worst: [NEWCOMER]}


@pytest.fixture(scope="module")
def before(plan) -> Path:
    models, owned = plan
    return _run(models, models.parent / "before", {name: codes for name, codes in owned.items() if codes != [NEWCOMER]})


@pytest.fixture(scope="module")
def grown(plan) -> Path:
    return _run(plan[0], plan[0].parent / "grown", plan[1])


def _bits(run: Path) -> float:
    return evaluate_on(ExpertSet.load(run), None, policies=("top1",)).bits("top1")[OLD]


def test_a_prior_is_found_at_which_the_older_language_keeps_its_loss(before, grown):
    unrepaired, goal = _bits(grown), _bits(before) * (1 + MOST_COST / 100)
    assert unrepaired > goal
    prior = fit_prior(ExpertSet.load(before), ExpertSet.load(grown), NEWCOMER, Relatives())
    assert prior in PRIORS and prior < 0
    Relatives({NEWCOMER: prior}).save(grown / "router")
    assert _bits(grown) <= goal
    weaker = PRIORS[PRIORS.index(prior) - 1]
    Relatives({NEWCOMER: weaker}).save(grown / "router")
    assert _bits(grown) > _bits(before)  # as small as it must be
    Relatives().save(grown / "router")


def test_a_language_that_nobody_is_taken_for_needs_no_prior(before, grown):
    assert fit_prior(ExpertSet.load(before), ExpertSet.load(grown), "rus", Relatives()) == 0.0


def test_languages_that_share_the_newcomer_s_expert_do_not_count(before, plan, tmp_path):
    best, middle, _ = plan[1]
    joined = _run(plan[0], tmp_path / "joined", {best: [OLD, NEWCOMER], middle: ["rus"]})
    assert fit_prior(ExpertSet.load(before), ExpertSet.load(joined), NEWCOMER, Relatives()) == 0.0


def test_texts_are_read_once_and_answers_are_the_identifier_s(grown):
    plain, calls = load_identifier(grown / "router"), []

    class Counting(ReadOnce):
        def __init__(self):
            super().__init__(self)

        languages, other_languages = plain.languages, plain.other_languages

        def identify_openly(self, texts):
            calls.append(list(texts))
            return plain.identify_openly(texts)

    once, texts = ReadOnce(Counting()), ["das haus", "дом", "das haus"]
    for _ in range(2):
        for found, right in zip(once.identify_openly(texts), plain.identify_openly(texts), strict=True):
            assert np.array_equal(found, right)
    assert calls == [["das haus", "дом"]]
    assert np.array_equal(once.posterior(texts[:1]), plain.posterior(texts[:1]))


def test_the_groups_of_a_run_are_measured_and_its_routes_say_so(grown):
    save_groups(grown, Relatives({NEWCOMER: -0.5}))
    found = Relatives.load(grown / "router")
    assert found.priors == {NEWCOMER: -0.5} and [group.languages for group in found.groups] == [("deu", "afr")]
    lm = RoutedLM.from_pretrained(grown, device="cpu", check_files=False)
    [route] = lm.route([sentences("deu", 1, seed=8)[0]])
    assert route.language == "deu/afr" and len(route.weights) >= 2
    Relatives().save(grown / "router")
    [alone] = RoutedLM.from_pretrained(grown, device="cpu", check_files=False).route([sentences("deu", 1, seed=8)[0]])
    assert alone.language in ("deu", "afr")
