"""What the models of a run can do beside being routed and evaluated, by their objective."""

from __future__ import annotations

from clustering.errors import BadInput
from xelm.run.experts import ExpertSet


def check_generates(experts: ExpertSet) -> None:
    """Refuse to generate where models only fill in tokens.

    Raises:
        BadInput: If they do.
    """
    if not experts.objective.generates:
        raise BadInput(
            f"{experts.path}: its experts are {experts.objective} models. They fill gaps in text, so this run can be "
            'routed, evaluated and, with routing = "text", scored, but it does not generate; load an expert as '
            "transformers' fill-mask."
        )


def check_follows_text(experts: ExpertSet, what: str) -> None:
    """Refuse what needs models that predict each token from those before it.

    Args:
        experts: The run.
        what: What is asked for, in words that begin the message.

    Raises:
        BadInput: If the models do not.
    """
    check_generates(experts)
    if not experts.objective.follows_text:
        raise BadInput(
            f"{what} needs causal experts, which predict each token from those before it; those of {experts.path} are "
            f"{experts.objective} models. They are routed, evaluated, scored as whole texts and generate."
        )
