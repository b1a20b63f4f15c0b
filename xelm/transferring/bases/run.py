"""The models of a run: base, dense and experts, and the expert of each language by routing."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from clustering.errors import BadInput
from xelm.run.names import BASE, DENSE, is_dense
from xelm.transferring.bases.base import CannotError, ModelBase, Pass, fast_only, without_output
from xelm.transferring.data.examples import Example
from xelm.transferring.features.encoder import Encoder

if TYPE_CHECKING:
    from xelm.inference.routed import RoutedLM
    from xelm.objectives.objective import Objective
    from xelm.run.experts import ExpertSet
    from xelm.transferring.data.taskdata import Rowset
    from xelm.transferring.recipe import TaskBase

POLICIES = ("base", "dense", "source", "top1", "madx", "ensemble")
_MOST_TEXTS = 200
"""Texts of a language that decide on its expert."""
logger = logging.getLogger(__name__)


class RunBase(ModelBase):
    """The models of a run."""

    def __init__(self, settings: TaskBase, rowset: Rowset | None = None, *, experts: ExpertSet | None = None) -> None:
        """Open a run.

        Args:
            settings: Its path, and how states become vectors.
            rowset: Rows of a task; None: no language's expert is looked for by routing.
            experts: The run, if it is open and its files were checked.
        """
        from xelm.run.experts import ExpertSet

        super().__init__(settings)
        assert settings.run is not None
        self._rowset, self.experts = rowset, experts or ExpertSet.load(settings.run)
        self._checks = experts is None
        self._expert_of: dict[str, str] = {}
        for policy in settings.policies:
            self._check(policy)

    def policies(self) -> tuple[str, ...]:
        return self.settings.policies

    def _check(self, policy: str) -> None:
        known = [name for name in POLICIES if not is_dense(name) or DENSE in self.experts.models]
        if policy not in known and policy not in self.experts.models:
            names = ", ".join([*known, *self.experts.names])
            raise BadInput(f"[base] policy = {policy!r}: {self.settings.run} has none such. Choose among {names}.")

    @cached_property
    def routed(self) -> RoutedLM:
        """The run's router."""
        from xelm.inference.routed import RoutedLM

        return RoutedLM(self.experts)

    def expert_of(self, code: str) -> str:
        """The model to which the router sends most of a language's text (training text; test text if it has none)."""
        if code not in self._expert_of:
            assert self._rowset is not None
            rows = self._rowset.rows[code]["train"] or self._rowset.rows[code]["test"]
            weights_BK = self.routed.weights([row.text for row in rows[:_MOST_TEXTS]], "ensemble")
            self._expert_of[code] = self.routed.names[int(weights_BK.mean(axis=0).argmax())]
            logger.info("%s: the router sends it to %s", code, self._expert_of[code])
        return self._expert_of[code]

    def passes(
        self, policy: str, rows: Sequence[Example], sources: Sequence[str], target: str, tests: Sequence[Example]
    ) -> list[Pass]:
        if policy == "ensemble":
            return self._all(rows, tests)
        if policy == "madx":
            return [Pass(tuple(self.expert_of(row.language) for row in rows), self.expert_of(target))]
        if policy == "source":
            experts = sorted({self.expert_of(code) for code in sources})
            if len(experts) != 1:
                raise CannotError(f"the sources {', '.join(sources)} have several experts: {', '.join(experts)}")
            return [Pass((experts[0],) * len(rows), experts[0])]
        name = self.expert_of(target) if policy == "top1" else policy
        return [Pass((name,) * len(rows), name)]

    def _all(self, rows: Sequence[Example], tests: Sequence[Example]) -> list[Pass]:
        """A pass for each expert that has any weight: p(y | x) is the sum of p(expert | x) p_expert(y | x)."""
        weights_BK = self.routed.weights([row.text for row in tests], "ensemble")
        found = []
        for name, weights_B in zip(self.routed.names, weights_BK.T, strict=True):
            if weights_B.max() > 1e-3:
                found.append(Pass((name,) * len(rows), name, np.asarray(weights_B)))
        return found

    def _encoder(self, name: str) -> Encoder:
        from xelm.transferring.features.hidden import HiddenEncoder

        return HiddenEncoder(name, self.identity(name), lambda: self.load(name), self.settings)

    def load(self, name: str) -> tuple[Any, Any]:
        from xelm.inference.models import Placement, load_checked, load_options

        options = load_options(Placement(device=self.settings.device, dtype="float32"))
        model = load_checked(self.experts, name, options, check=self._checks)
        if hasattr(model, "merge_and_unload"):  # an adapter: a second one of the task stands beside it all the same
            model = model.merge_and_unload()
        return without_output(model), fast_only(self.experts.tokenizer(name), name)

    def speaker(self, name: str) -> tuple[Any, Any, Objective]:
        from xelm.inference.models import Placement, load_checked, load_options

        options = load_options(Placement(device=self.settings.device, dtype="float32"))
        model = load_checked(self.experts, name, options, check=self._checks)
        return model, fast_only(self.experts.tokenizer(name), name), self.experts.objective

    def identity(self, name: str) -> list[str]:
        folder = self.experts.folder(name)
        own = f"{folder.relative_to(self.experts.path).as_posix()}/"
        base = f"{self.experts.folder(BASE).relative_to(self.experts.path).as_posix()}/"
        files = self.experts.manifest.files
        kept = [sha for file, sha in sorted(files.items()) if file.startswith((own, base)) and _decides(file)]
        return [self.experts.kind(name).name(), name, *kept]

    @property
    def tokenizer_name(self) -> str | None:
        return str(self.experts.folder(BASE))


def _decides(file: str) -> bool:
    return file.endswith((".safetensors", "tokenizer.json"))
