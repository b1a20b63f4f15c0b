"""What a training measures of itself: losses and gradient norms, read from the device now and then, and its speed."""

from __future__ import annotations

import resource
import sys
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from xelm.training.checkpoint import Progress
from xelm.training.stage import Stage

if TYPE_CHECKING:
    import torch

_PEAK_TFLOPS = {"B200": 2250, "H200": 989, "H100": 989, "A100": 312, "L40": 181, "4090": 165, "3090": 71}
"""Dense bf16 products a second, by what a GPU's name holds (its maker's figures)."""
_GIB = 2**30


@dataclass
class Readings:
    """Losses and norms of the steps since they were last read, which stay on the device until then."""

    stage: Stage
    progress: Progress
    waiting: list[tuple[int, torch.Tensor, torch.Tensor | None]] = field(default_factory=list)
    norms: list[float] = field(default_factory=list)
    """Gradient norms since the last point of the curve."""

    def add(self, step: int, loss: torch.Tensor, norm: torch.Tensor | None) -> None:
        """Keep those of a step."""
        self.waiting.append((step, loss, norm))

    def read(self) -> None:
        """Wait for the device, and add what it measured to the curve.

        Raises:
            FloatingPointError: If a loss or a norm is no number; the message names the first step where it was.
        """
        import torch

        if not self.waiting:
            return
        found = torch.stack([value.float() for _, *pair in self.waiting for value in pair if value is not None])
        values = iter(found.tolist())  # one transfer
        for step, _, norm in self.waiting:
            loss = next(values)
            refuse_no_number(loss, self.stage, step)
            if norm is not None:
                self.norms.append(next(values))
                refuse_no_number(self.norms[-1], self.stage, step, "the gradient's norm")
            self.progress.loss_sum += loss
            self.progress.loss_steps += 1
        self.waiting.clear()

    def point(self) -> dict[str, float]:
        """A point of the curve: the mean loss since the last one."""
        progress = self.progress
        loss = progress.loss_sum / progress.loss_steps
        point = {"step": progress.step, "tokens": progress.step * self.stage.tokens_per_step, "loss": loss}
        progress.history.append(point)
        progress.loss_sum, progress.loss_steps = 0.0, 0
        return point

    def mean_norm(self) -> dict[str, float]:
        """The mean norm of the gradient since the last point, if it is known."""
        norms, self.norms = self.norms, []
        return {"gradient_norm": float(np.mean(norms))} if norms else {}


@dataclass
class Speed:
    """How fast a training goes, from when this was made."""

    stage: Stage
    first_step: int
    flops_per_token: float
    peak_flops: float | None
    """Of all its devices together; None: not known."""
    started_s: float = field(default_factory=time.perf_counter)

    @classmethod
    def of(cls, stage: Stage, model: Any, step: int, device: torch.device, num_processes: int) -> Speed:
        """That of a model whose training goes on at a step."""
        flops = flops_per_token(model, sum(map(len_of_documents, stage.blocks.values())) / len(stage.blocks))
        peak = peak_flops(device) if stage.settings.precision == "bf16" or model.dtype.itemsize == 2 else None
        return cls(stage, step, flops, peak and peak * num_processes)

    def measured(self, step: int, device: torch.device) -> dict[str, float]:
        """`tokens_per_s`, `seconds_left`, `peak_memory_gib`, and `mfu` where the device's peak is known."""
        rate = (step - self.first_step) * self.stage.tokens_per_step / (time.perf_counter() - self.started_s)
        left_s = (self.stage.num_steps - step) * self.stage.tokens_per_step / rate
        found = {"tokens_per_s": round(rate), "seconds_left": round(left_s), "peak_memory_gib": peak_memory_gib(device)}
        return found | ({"mfu": rate * self.flops_per_token / self.peak_flops} if self.peak_flops else {})


def len_of_documents(blocks: Any) -> float:
    """Mean number of tokens that a token's own document has in a block."""
    store = blocks.store
    return min(float(blocks.sequence_length), len(store.tokens) / max(1, len(store.starts)))


def flops_per_token(model: Any, context: float) -> float:
    """Floating-point operations that a token needs, forward and backward, without what is computed in vain.

    2 a parameter for the forward pass, 2 for the gradient of what it reads, 2 for its own if it is trained; an
    embedding that is only looked up costs none. Attention: 12 a layer, hidden value and key attended to (Chowdhery et
    al. 2022, appendix B), half of a document on average.

    Args:
        model: A transformers model.
        context: Tokens of a document.
    """
    config = model.config.get_text_config()
    looked_up = model.get_input_embeddings().weight
    head = getattr(model, "get_output_embeddings", lambda: None)()
    tied = head is not None and head.weight is looked_up
    multiplied = [p for p in model.parameters() if p.ndim >= 2 and (tied or p is not looked_up)]
    passes: float = sum(p.numel() * (6 if p.requires_grad else 4) for p in multiplied)
    attended = 12 * int(getattr(config, "num_hidden_layers", 0)) * int(getattr(config, "hidden_size", 0))
    return passes + attended * context / 2


def peak_flops(device: torch.device) -> float | None:
    """Most bf16 operations a second of a GPU; None if they are not known."""
    import torch

    name = torch.cuda.get_device_name(device) if device.type == "cuda" else ""
    return next((tera * 1e12 for key, tera in _PEAK_TFLOPS.items() if key in name), None)


def peak_memory_gib(device: torch.device) -> float:
    """Most memory that was used at a time: of a GPU, else of this process since it started."""
    import torch

    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / _GIB
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / _GIB


def refuse_no_number(value: float, stage: Stage, step: int, what: str = "the loss") -> None:
    """Stop a training that has a value which is no number.

    Raises:
        FloatingPointError: If it is none.
    """
    if not np.isfinite(value):
        raise FloatingPointError(f"{stage.name}: {what} is {value} at step {step}. {way_out(stage)}")


def way_out(stage: Stage) -> str:
    """What to do against values that are no numbers."""
    return f'Lower the learning rate (now {stage.learning_rate}) or use precision = "fp32".'
