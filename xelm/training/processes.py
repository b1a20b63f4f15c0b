"""The processes that train one model together."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from accelerate import PartialState


def processes() -> PartialState:
    """The state of this process among them. The first call decides accelerate's setting for the whole process."""
    from accelerate import PartialState

    # `Accelerator` reads this variable, `PartialState` alone does not, and then each process would train for itself.
    return PartialState(cpu=os.environ.get("ACCELERATE_USE_CPU", "").lower() in ("1", "true", "yes"))
