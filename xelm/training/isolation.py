"""Whether a model keeps packed documents apart when their positions begin again at 0."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from transformers import PreTrainedModel

_TOLERANCE = 1e-3


def isolates_documents(model: PreTrainedModel) -> bool:
    """Whether a second document of a block sees nothing of the first.

    transformers builds a block-diagonal mask from restarting `position_ids` for models on its current mask code;
    older architectures ignore them. Measured, not looked up: the logits of a document must not change with the
    document before it.
    """
    import inspect

    import torch

    vocab_size, device = model.config.get_text_config().vocab_size, model.device
    if "position_ids" not in inspect.signature(model.forward).parameters:
        return False
    generator = torch.Generator().manual_seed(0)
    first = torch.randint(vocab_size, (2, 6), generator=generator)
    second = torch.randint(vocab_size, (1, 6), generator=generator).expand(2, -1)
    input_ids = torch.cat([first, second], dim=1).to(device)
    position_ids = torch.arange(6).repeat(2).expand(2, -1).to(device)
    was_training = model.training
    model.eval()
    with torch.no_grad():
        logits = model(input_ids=input_ids, position_ids=position_ids, use_cache=False).logits[:, 6:].float()
    model.train(was_training)
    return bool((logits[0] - logits[1]).abs().max() < _TOLERANCE)
