"""Teach a run's router by the losses of its models on valid text."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable
from pathlib import Path

import numpy as np

from clustering.errors import BadInput
from router.routes.learned import ARRAYS_FILE, INDEX_FILE, beginnings_of, learn
from router.routes.weigh import RoutingRule
from xelm.evaluation.evaluate import evaluate
from xelm.evaluation.log_probs import heldout_log_probs
from xelm.inference.run_router import RunRouter
from xelm.recipe.recipe import Recipe
from xelm.run.experts import ExpertSet
from xelm.run.folder import RunFolder
from xelm.run.records.results import Evaluation

logger = logging.getLogger(__name__)
_SMALLEST_WEIGHT = 1e-300


def save_learned(run: Path) -> bool:
    """Write the learned weights into an evaluated run's router if its recipe asks for them.

    Where they do not surely save anything on documents that they were not learned from, they are kept with that
    result, and texts are weighed by language alone.

    Args:
        run: A run, or the shadow of one, with its table of losses on valid text, without earlier learned weights.

    Returns:
        Whether the run has learned weights.
    """
    folder, experts = RunFolder(run).router, ExpertSet.load(run)
    table = experts.manifest.recipe.get("router", {})
    if table.get("weights") != "learned":
        return False
    router, documents = RunRouter(experts), experts.heldout("valid")
    temperature = RoutingRule().loss_temperature
    sizes_B = np.array([max(1, len(document.text.encode())) for document in documents])
    losses_BK = np.zeros((len(documents), len(router.names)))
    for column, name in enumerate(router.names):
        nats = [-float(row.sum(dtype=np.float64)) for row in heldout_log_probs(experts, name, "valid")]
        losses_BK[:, column] = np.array(nats) / math.log(2) / sizes_B
    texts = [document.text for document in documents]
    expected = []
    for rows in beginnings_of(texts):
        weights = [[route.weights.get(name, 0.0) for name in router.names] for route in router.routes(rows)]
        # The weights are softmax(-expected loss / temperature).
        expected.append(-temperature * np.log(np.array(weights).clip(_SMALLEST_WEIGHT)))
    seed = Recipe.from_dict(experts.manifest.recipe).train.seed
    try:
        learned = learn(texts, losses_BK, sizes_B, expected, router.names, temperature=temperature, seed=seed)
    except BadInput as error:
        logger.warning("[router] weights = 'learned': %s Texts are weighed by language.", error)
        return False
    learned.save(folder)
    gain = learned.gain
    logger.info(
        "learned weights save %.2f %% (standard error %.2f) on %d documents that they were not learned from: %s",
        gain.percent,
        gain.error,
        gain.documents,
        "they weigh the experts" if gain.wins else "not surely anything, so texts are weighed by language alone",
    )
    return True


def evaluate_and_learn(run: Path, repair: Callable[[ExpertSet], bool] | None = None) -> Evaluation | None:
    """Evaluate a run whose experts or languages have changed, and teach its router by the losses.

    Args:
        run: A run, or the shadow of one.
        repair: Called with the evaluated run; may change its router otherwise, and tells whether it did.

    Returns:
        The figures of the test text under the router as it then is.
    """
    forget_learned(run)
    result = evaluate(ExpertSet.load(run))
    repaired = repair is not None and repair(ExpertSet.load(run))
    if save_learned(run) or repaired:
        result = evaluate(ExpertSet.load(run))
    return result


def forget_learned(run: Path) -> None:
    """Remove learned weights, which fit other experts."""
    for name in (INDEX_FILE, ARRAYS_FILE):
        (RunFolder(run).router / name).unlink(missing_ok=True)
