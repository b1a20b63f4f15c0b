"""The languages that teach: sets of a recipe, and those that `rank_sources` would take."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING

from clustering.errors import BadInput
from clustering.sources.profiles import Profile, Tokenizer, profile_texts
from xelm.transferring.cells import NONE

if TYPE_CHECKING:
    from xelm.transferring.data.taskdata import Rowset
    from xelm.transferring.recipe import Sources

AUTO, EACH, OTHERS = "auto", "each", "all-but-target"


class SourceChooser:
    """Resolves the sets of source languages of a recipe."""

    def __init__(self, settings: Sources, rowset: Rowset, tokenizer: str | None) -> None:
        """Take the settings.

        Raises:
            BadInput: If a language has no rows that teach.
        """
        self._settings, self._rowset = settings, rowset
        self._tokenizer = settings.tokenizer or tokenizer
        self._rankings: dict[str, list[str]] = {}
        given = settings.candidates
        self.candidates = [self._teacher(name) for name in given] if given is not None else self._able()
        self.sets = self._sets()

    def _able(self) -> list[str]:
        return self._rowset.teachers if self._rowset.task.trains else self._rowset.tested

    def languages(self, name: str, target: str) -> tuple[str, ...]:
        """The languages of a set, for a target."""
        if name == AUTO:
            return tuple(self.ranking(target)[: self._settings.top])
        if name == OTHERS:
            return tuple(code for code in self.candidates if code != target)
        return () if name == NONE else tuple(name.split("+"))

    def ranking(self, target: str) -> list[str]:
        """The candidates, the best source for a target first, by `rank_sources` on the task's own training text."""
        if target not in self._rankings:
            from clustering.sources.rank import rank_sources

            others = [code for code in self.candidates if code != target]
            if not others:
                raise BadInput(f"[sources]: no language but {target} has rows that teach, so there is nothing to rank.")
            corpora = {code: profile for code, profile in self._profiles.items() if code in (target, *others)}
            report = rank_sources(target, others, corpora or None)
            self._rankings[target] = [score.language for score in report.ranking]
        return self._rankings[target]

    @cached_property
    def _profiles(self) -> dict[str, Profile]:
        """What ranking needs of the training text of each language."""
        found = {}
        for code in self._rowset.languages:
            texts = [row.text for row in self._rowset.rows[code]["train"]]
            if texts:
                found[code] = profile_texts(texts, self._loaded)
        return found

    @cached_property
    def _loaded(self) -> Tokenizer | None:
        from xelm.models.profile_tokenizers import load_tokenizer

        return load_tokenizer(self._tokenizer) if self._tokenizer else None

    def _sets(self) -> list[str]:
        """Names of the sets in order; `each` stands for one of every candidate."""
        settings = self._settings
        listed: Sequence[str] = settings.sets or (
            (settings.languages,) if isinstance(settings.languages, str) else ("+".join(settings.languages),)
        )
        found: list[str] = []
        for name in listed:
            if name == EACH:
                found += self.candidates
            elif name in (AUTO, OTHERS, NONE):
                found.append(name)
            else:
                found.append("+".join(self._teacher(part.strip()) for part in name.split("+")))
        return list(dict.fromkeys(found))

    def _teacher(self, name: str) -> str:
        if not self._rowset.task.trains:
            return self._rowset.pivot_of(name)
        code = self._rowset.code_of(name, "[sources]")
        if code not in self._able():
            raise BadInput(f"[sources]: no row of '{name}' teaches. Rows that do: {', '.join(self._able())}.")
        return code
