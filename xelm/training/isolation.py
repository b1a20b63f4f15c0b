"""Measure whether a model keeps packed documents apart if their positions begin again at 0."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from transformers import PreTrainedModel

_LENGTH = 16
# A masked document adds an exact zero, so the remaining difference is only the order of sums in a kernel.
_RELATIVE_TOLERANCE = 1e-6


def isolates_documents(model: PreTrainedModel) -> bool:
    """Whether a second document of a block sees nothing of the first.

    transformers builds a block-diagonal mask from restarting `position_ids` for models on its current mask code;
    older architectures ignore them. Measured, not looked up: the logits of a document must not change with the
    document before it.
    """
    import inspect

    import torch

    vocab_size, device = model.config.get_text_config().vocab_size, model.device
    # peft's wrapper passes on arguments that it does not name.
    inner = getattr(model, "get_base_model", lambda: model)()
    if "position_ids" not in inspect.signature(inner.forward).parameters:
        return False
    generator = torch.Generator().manual_seed(0)
    first, other, second = torch.randint(vocab_size, (3, 1, _LENGTH), generator=generator).to(device)
    position_ids = torch.arange(_LENGTH, device=device).repeat(2)[None]
    was_training = model.training
    model.eval()
    with torch.no_grad():
        # One call for each, so that shapes, and with them kernels, are the same.
        after_first, after_other = (
            model(input_ids=torch.cat([before, second], dim=1), position_ids=position_ids, use_cache=False)
            .logits[:, _LENGTH:]
            .float()
            for before in (first, other)
        )
    model.train(was_training)
    difference = (after_first - after_other).abs().max()
    return bool(difference <= _RELATIVE_TOLERANCE * after_first.abs().max())
