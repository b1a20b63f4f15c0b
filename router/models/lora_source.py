"""Experts on one shared base by name, read on first use, for `router.generation` and `router.scoring.texts`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from clustering.errors import BadInput
from router.models.bank import Bank, BankView


class LoraSource:
    """Experts by name, as one model for a mixed batch (see `router.generation`).

    Args:
        bank: Holds the base.
        folders: Expert -> its folder, such as a PEFT adapter's; an expert without one ("base") is the bare base: None.
    """

    def __init__(self, bank: Bank, folders: Mapping[str, str | Path | None]):
        self._bank = bank
        self._folders = dict(folders)

    @property
    def names(self) -> tuple[str, ...]:
        """All experts."""
        return tuple(self._folders)

    def get(self, name: str) -> BankView:
        """The base seen through one expert's adapter."""
        return self.for_rows([name])

    def get_many(self, names: Sequence[str]) -> list[BankView]:
        """Several experts; they share the base, so there is no cap."""
        return [self.get(name) for name in names]

    def for_rows(self, names: Sequence[str]) -> BankView:
        """One model whose batches have one row for each name.

        Raises:
            BadInput: If a name is unknown, or its adapter does not fit.
        """
        for name in dict.fromkeys(names):
            if name not in self._folders:
                raise BadInput(f"No expert is called {name}. There are: {', '.join(self._folders)}.")
            folder = self._folders[name]
            if folder is not None and name not in self._bank.names:
                self._bank.add(name, folder)
        view: BankView = self._bank.model_for_rows(
            [name if self._folders[name] is not None else None for name in names]
        )
        return view
