"""Experts that are whole models: every weight of a copy of the base trains."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from xelm.expert_kinds.kind import ExpertKind, expert_kind, first_identity

if TYPE_CHECKING:
    from transformers import PreTrainedModel


@expert_kind
@dataclass(frozen=True, kw_only=True)
class Full(ExpertKind):
    """All weights."""

    kind: Literal["full"] = "full"

    def prepare(self, model: PreTrainedModel) -> Any:
        """Everything trains already."""
        return model

    def identity(self) -> dict[str, Any]:
        """The settings for fingerprints, in the same form as in earlier versions."""
        return first_identity(self)
