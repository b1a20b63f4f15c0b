"""Options whose `--help` lists the registered names, which are looked up only when help is shown."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from click import Context

from xelm.cli._options import Option


class Listed(Option):
    """An option with `words` (a function) at the end of its help."""

    def __init__(self, *arguments: Any, words: Callable[[], str], **settings: Any) -> None:
        super().__init__(*arguments, **settings)
        self._words = words

    def get_help_record(self, ctx: Context) -> tuple[str, str] | None:
        """The flag and its help with the list."""
        record = super().get_help_record(ctx)
        return record and (record[0], f"{record[1]} {self._words()}.")
