"""Check a recipe before its text is read, so that a mistake is reported at once and not after hours of tokenising."""

from __future__ import annotations

from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from clustering.errors import BadInput
from router.identify.stored import check_identifier
from xelm.corpus.mixture import entries
from xelm.making.inputs import Found
from xelm.making.plan import check_clusters, plan_for
from xelm.models.base import empty_model
from xelm.models.foreign import unusable_reported
from xelm.objectives.objective import Objective
from xelm.recipe.recipe import Recipe
from xelm.training.course.eight_bits import check_optimizer

if TYPE_CHECKING:
    from clustering import ClusterPlan


def check_early(recipe: Recipe, found: Found) -> ClusterPlan:
    """Make, and so check, everything that needs no tokens.

    Args:
        recipe: The recipe.
        found: Its base, and its text, which only a plan by text reads in part.

    Returns:
        The plan; one that balances tokens must be made again once the tokens are counted.

    Raises:
        BadInput: For a plan that cannot be made or does not fit, languages of `enters` that have no text, a model
            without the objective's head, an expert that the model does not allow, a budget of less than a step for
            each expert, a kernel, a log or an optimizer that is not installed.
    """
    codes = [source.code for source in found.sources]
    check_clusters(recipe.clusters, len(codes))
    check_identifier(recipe.router.identifier, codes)
    plan = plan_for(recipe.clusters, recipe.data, found.sources, dict.fromkeys(codes, 1))
    entries(codes, recipe.train)
    steps = round(recipe.train.tokens / (recipe.train.batch_size * found.sequence_length))
    if max(1, steps) < len(plan.clusters):
        raise BadInput(
            f"[train] tokens={recipe.train.tokens} leaves no step of {recipe.train.batch_size * found.sequence_length} "
            f"tokens for some of {len(plan.clusters)} experts. Raise tokens, or lower batch_size or sequence_length."
        )
    if found.config is not None:
        recipe.expert.stand_in().trained_parameters(empty_model(found.config, recipe.objective))
    if recipe.base.attn_implementation is not None:
        check_attention(recipe.base.attn_implementation, found.config, recipe.objective)
    check_log(recipe.train.log)
    check_optimizer(recipe.train.optimizer)
    return plan


def check_attention(kernel: str, config: Any, objective: Objective) -> None:
    """Check that models can be trained with a kernel of attention here.

    Args:
        kernel: transformers' name of it.
        config: Configuration of the base; None: a Llama's.
        objective: What it is trained to do.

    Raises:
        BadInput: If the model or this machine has none of that name.
    """
    if config is None:
        from transformers import LlamaConfig

        config = LlamaConfig(num_hidden_layers=1)
    with unusable_reported(f'[base] attn_implementation = "{kernel}" does not run here'):
        empty_model(config, objective).set_attn_implementation(kernel)


def check_log(log: str) -> None:
    """Check that the package named by `[train] log` is installed.

    Raises:
        BadInput: If it is not; the message holds the command that installs it.
    """
    if log != "files" and find_spec(log) is None:
        raise BadInput(f'[train] log = "{log}" needs a package that is not here. Install it: pip install {log}.')
