"""An open run: its experts, router, tokenizer and models, opened again when another process changes it."""

from __future__ import annotations

import logging
import threading
from collections.abc import Sequence
from functools import cached_property, partial
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, Self

from router.routes.weigh import RoutingRule
from router.scoring.tokens import context_of
from xelm.inference.completions import as_set
from xelm.inference.files import check_opening
from xelm.inference.models import Placement, open_models
from xelm.inference.routed_lm.able import check_generates
from xelm.inference.routed_lm.probe import Probes
from xelm.inference.run_router import RunRouter
from xelm.models.foreign import unusable_reported
from xelm.run.experts import ExpertSet, local_run
from xelm.run.names import BASE
from xelm.run.snapshot import Follow, read_whole

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

logger = logging.getLogger(__name__)


class RunModels:
    """The models of a run by name, opened when one is first needed.

    Args:
        experts: The run.
        names: The experts, and the base.
        placement: Device, type and limits of the models.
    """

    def __init__(self, experts: ExpertSet, names: Sequence[str], placement: Placement):
        self._experts, self._names, self._placement = experts, names, placement
        self._opening = threading.Lock()
        self._opened: Any = None

    @property
    def source(self) -> Any:
        """An `ExpertPool`, or a `LoraSource` on a shared base."""
        with self._opening:
            if self._opened is None:
                self._opened = open_models(self._experts, self._names, self._placement)
            return self._opened

    def get(self, name: str) -> Any:
        """The model of an expert, in memory."""
        return self.source.get(name)

    def get_many(self, names: Sequence[str]) -> list[Any]:
        """The models of several experts, in memory together."""
        return list(self.source.get_many(names))


class OpenRun:
    """A run that is open, with what all that it answers needs."""

    def __init__(
        self,
        experts: ExpertSet,
        *,
        rule: RoutingRule | None = None,
        languages: str = "open",
        router: RunRouter | None = None,
        **placement: Any,
    ):
        """Answer from an open run, whose files are trusted unless `check_files=True` (fields of `Placement`).

        `router` is another one than the run's own, to measure what it would do.
        """
        self._options: dict[str, Any] = {"rule": rule, "languages": languages, **placement}
        self.experts = experts
        self._router = router or RunRouter(experts, rule=rule, languages=languages)
        self.names = self._router.names
        self.vocabularies = self._router.vocabularies
        self.identifier = self._router.identifier
        self._probes = Probes()
        self._models = RunModels(experts, self.names, Placement(**{"check_files": False, **placement}))
        self._opening = threading.Lock()
        self._follow: Follow | None = None

    @classmethod
    def from_pretrained(
        cls,
        run: str | Path,
        *,
        device: str = "auto",
        device_map: Any = None,
        dtype: Any = "auto",
        max_loaded: int | None = None,
        max_bytes: int | None = None,
        check_files: bool = True,
        rule: RoutingRule | None = None,
        languages: str = "open",
    ) -> Self:
        """Open a run; experts are loaded when they are first needed.

        Args:
            run: Run directory, or hub id of one.
            device: As for torch (`cpu`, `cuda:0`); `auto` takes a GPU where there is one.
            device_map: As for transformers' `from_pretrained`, instead of `device`.
            dtype: Of the weights (`bfloat16`, …); `auto` keeps the checkpoint's.
            max_loaded: Most experts in memory at a time; the least recently used one is dropped. None: no limit. LoRA
                experts share one base and are not counted.
            max_bytes: The same in bytes; one expert is always allowed.
            check_files: Compare files with their checksums before they are used.
            rule: Temperatures, threshold and fallback of the routing.
            languages: `open`: a text may be in a language that no expert owns; the base then answers, unless losses
                say otherwise (`probe`); `run`: every text counts as one of the run's languages.

        Raises:
            BadInput: If it is no run, a file of it is missing or changed, or `languages` is neither.
        """
        options: dict[str, Any] = {
            "rule": rule,
            "languages": languages,
            "device": device,
            "device_map": device_map,
            "dtype": dtype,
            "max_loaded": max_loaded,
            "max_bytes": max_bytes,
            "check_files": check_files,
        }
        folder = local_run(run)
        follow = Follow.of(folder)
        lm = read_whole(folder, partial(cls._read, folder, options))
        lm._follow = follow
        return lm

    @classmethod
    def _read(cls, folder: Path, options: dict[str, Any]) -> Self:
        if options["check_files"]:
            check_opening(folder)
        return cls(ExpertSet.load(folder), **options)

    def refresh(self) -> bool:
        """Open the run again if another process changed it since `from_pretrained`; every call that routes asks this.

        Returns:
            Whether it was opened again: its languages and experts may have changed.

        Raises:
            BadInput: If the changed run cannot be opened.
        """
        if self._follow is None or not self._follow.changed():
            return False
        with self._opening:
            follow = Follow.of(self.experts.path)
            fresh = type(self).from_pretrained(self.experts.path, **self._options)
            kept = {"_opening": self._opening}
            for name in ("tokenizer", "end_tokens", "context"):
                self.__dict__.pop(name, None)
            self.__dict__.update({**fresh.__dict__, **kept, "_follow": follow})
        logger.warning("%s: another process changed the run; it was opened again.", self.experts.path)
        return True

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle the path and the settings, not the models in memory, locks and threads."""
        return _open, (type(self), str(self.experts.path), {"check_files": False, **self._options})

    def __repr__(self) -> str:
        return f"{type(self).__name__}({str(self.experts.path)!r}, experts={self.names})"

    @cached_property
    def tokenizer(self) -> PreTrainedTokenizerBase:
        """The run's tokenizer; it puts the start token first, as `generate` and `score` do.

        An expert with a vocabulary of its own reads with another one: `vocabularies.tokenizer(name)`.
        """
        return self.vocabularies.tokenizer()

    @cached_property
    def end_tokens(self) -> frozenset[int]:
        """Tokens at which answers end: the tokenizer's, and those of the experts' generation settings."""
        from transformers import GenerationConfig

        folder = self.experts.folder(BASE)
        configured = (folder / "generation_config.json").is_file()
        with unusable_reported(str(folder)):
            more = GenerationConfig.from_pretrained(folder).eos_token_id if configured else None
            return frozenset(as_set(self.tokenizer.eos_token_id) | as_set(more))

    @cached_property
    def context(self) -> int:
        """Largest number of tokens that an expert reads, prompt and answer together."""
        from transformers import AutoConfig

        folder = self.experts.folder(BASE)
        with unusable_reported(str(folder)):
            return context_of(SimpleNamespace(config=AutoConfig.from_pretrained(folder)))

    @property
    def models(self) -> Any:
        """The models by name, loaded when they are first needed: an `ExpertPool`, or a `LoraSource` on a shared base.

        Raises:
            BadInput: If models of the experts' objective cannot generate (masked models).
        """
        check_generates(self.experts)
        return self._models.source


def _open(cls: type[OpenRun], path: str, settings: dict[str, Any]) -> OpenRun:
    return cls.from_pretrained(path, **settings)
