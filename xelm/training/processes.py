"""The processes that train one model together."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from accelerate import PartialState


def processes() -> PartialState:
    """Which of them this one is. Asked for first, it is what accelerate goes by for the whole process."""
    from accelerate import PartialState

    # `Accelerator` reads this variable, `PartialState` alone does not, and then each process would train for itself.
    return PartialState(cpu=os.environ.get("ACCELERATE_USE_CPU", "").lower() in ("1", "true", "yes"))
