"""The plans that are compared, by name: typological, by text, random, measured, one expert a language, a file's."""

from __future__ import annotations

import difflib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from clustering.errors import BadInput, arg
from xelm.making.plan import plan_texts
from xelm.recipe.recipe import Recipe
from xelm.trials.place import Place

if TYPE_CHECKING:
    from clustering import ClusterPlan
    from clustering.plans.effects import Effects

NAMES = {
    "typological": "by typology, as the recipe's clusters say",
    "tfidf": "by the text of the languages, even groups",
    "random:N": "N random plans with the sizes of the typological one",
    "measured": "the least measured interference, even groups; measuring is paid out of its budget",
    "worst": "the most measured interference, even groups",
    "one": "one expert for each language",
}
MEASURED = ("measured", "worst")
_RANDOM = "random"


@dataclass(frozen=True)
class Arm:
    """A plan to compare: its name, and its file if it is the user's own plan."""

    name: str
    file: str | None = None

    @property
    def needs_effects(self) -> bool:
        """Whether it is made from measured effects."""
        return self.file is None and self.name in MEASURED

    @property
    def random_number(self) -> int | None:
        """The number of a random plan."""
        found = re.fullmatch(rf"{_RANDOM}-(\d+)", self.name)
        return int(found[1]) if found and self.file is None else None


def parse_plans(plans: str | Sequence[str]) -> list[Arm]:
    """Arms of `typological,random:3,plan.json`, each `random:N` as N arms.

    Raises:
        BadInput: If a name is unknown or given twice, or a file is missing.
    """
    words = plans.split(",") if isinstance(plans, str) else list(plans)
    arms: list[Arm] = []
    for word in (str(word).strip() for word in words):
        arms += _arms_of(word)
    names = [arm.name for arm in arms]
    if double := sorted({name for name in names if names.count(name) > 1}):
        raise BadInput(f"{arg('plans')} names {', '.join(double)} twice. Give each plan once.")
    if not arms:
        raise BadInput(f"{arg('plans')} is empty: name some of {', '.join(NAMES)}, or plan files.")
    return arms


def _arms_of(word: str) -> list[Arm]:
    if word in NAMES and word != "random:N":
        return [Arm(word)]
    if found := re.fullmatch(rf"{_RANDOM}(?::(\d+))?", word):
        number = int(found[1] or 1)
        if not 1 <= number <= 100:
            raise BadInput(f"{arg('plans', word)}: give 1 to 100 random plans, such as random:3.")
        return [Arm(f"{_RANDOM}-{index}") for index in range(1, number + 1)]
    if word.endswith(".json"):
        if not Path(word).is_file():
            raise BadInput(f"{arg('plans', word)}: no such plan file. Make one with `xelm cluster … --out {word}`.")
        return [Arm(Path(word).stem, word)]
    near = difflib.get_close_matches(word, [*NAMES, _RANDOM], n=1)
    hint = f" Did you mean {near[0]}?" if near else ""
    raise BadInput(
        f"{arg('plans', word)}: no such plan.{hint} Choose from {', '.join(NAMES)}, or name a plan file (.json)."
    )


def make_plans(arms: Sequence[Arm], place: Place, recipe: Recipe, effects: Effects | None) -> dict[str, ClusterPlan]:
    """The plan of every arm.

    Args:
        arms: The arms.
        place: The place, which has the text of the languages.
        recipe: How the typological plan is made, and how many clusters there are.
        effects: Effects measured in this place; `measured` and `worst` need them.

    Raises:
        BadInput: If a plan file does not fit the text.
    """
    from clustering.plans.measured import measured_plan

    typological = _typological(place, recipe)
    k = len(typological.clusters)
    plans: dict[str, ClusterPlan] = {}
    for arm in arms:
        if arm.file:
            plans[arm.name] = _of_file(arm.file, place.codes)
        elif arm.needs_effects:
            assert effects is not None  # measured before plans are made
            plans[arm.name] = measured_plan(place.codes, k, effects, most=arm.name == "worst")
        elif arm.random_number is not None:
            plans[arm.name] = _random(place.codes, [len(c) for c in typological.clusters.values()], arm.random_number)
        elif arm.name == "tfidf":
            plans[arm.name] = _by_text(place, k)
        elif arm.name == "one":
            plans[arm.name] = _plan([[code] for code in place.codes], "one")
        else:
            plans[arm.name] = typological
    return plans


def _typological(place: Place, recipe: Recipe) -> ClusterPlan:
    from clustering import ClusterPlan, cluster_languages
    from clustering.plans.make import DEFAULT_METHOD
    from clustering.plans.measured import METHOD

    clusters = recipe.clusters
    k = clusters.k or len(ClusterPlan.load(str(clusters.plan)).clusters)
    tokens = {code: blocks * place.sequence_length for code, blocks in place.num_blocks.items()}
    return cluster_languages(
        place.codes,
        k=k,
        method=DEFAULT_METHOD if clusters.method in (METHOD, "tfidf") else clusters.method,
        balance=clusters.balance,
        tokens=tokens if clusters.balance == "tokens" else None,
        distances=clusters.distance,
    )


def _by_text(place: Place, k: int) -> ClusterPlan:
    from clustering import cluster_languages

    texts = plan_texts(place.workspace.inputs.sources, place.recipe.data)
    return cluster_languages(place.codes, k=k, method="tfidf", texts=texts)


def _random(codes: Sequence[str], sizes: Sequence[int], number: int) -> ClusterPlan:
    order = [codes[row] for row in np.random.default_rng(number).permutation(len(codes))]
    ends = np.cumsum(sizes)
    return _plan([sorted(order[end - size : end]) for size, end in zip(sizes, ends, strict=True)], "random")


def _plan(groups: list[list[str]], method: str) -> ClusterPlan:
    from clustering import ClusterPlan
    from clustering.plans.plan import cluster_name

    groups = sorted(groups, key=lambda group: (-len(group), group))
    return ClusterPlan({cluster_name(number, group): group for number, group in enumerate(groups, start=1)}, method)


def _of_file(file: str, codes: Sequence[str]) -> ClusterPlan:
    from clustering import ClusterPlan

    plan = ClusterPlan.load(file)
    missing, extra = sorted(set(plan.languages) - set(codes)), sorted(set(codes) - set(plan.languages))
    if missing or extra:
        parts = [f"no text for {', '.join(missing)}"] * bool(missing)
        parts += [f"text of {', '.join(extra)}, which no cluster has"] * bool(extra)
        raise BadInput(f"{file} does not fit the recipe's text: {'; '.join(parts)}.")
    return plan
