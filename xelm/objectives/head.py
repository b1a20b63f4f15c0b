"""The head of a language model: the linear map from hidden states to the vocabulary, made to give losses, not logits.

Shape letters: B blocks, T tokens of a block, N positions that are judged, H width of the model.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from xelm.objectives.objective import IGNORED, sent

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel

LossKind = Literal["auto", "logits", "chunks"]
LOGITS_HELD = 3
"""How often logits are held at the peak: in the model's type, in fp32, and their gradient."""
CHUNK_BYTES = 2**27
"""Most bytes of the logits of a chunk, in fp32: 1,024 positions of 32,768 tokens, 131 of 256,000."""
_SMALLEST_VOCABULARY, _SMALLEST_BYTES = 2**15, 2**28


def is_chunked(kind: LossKind, *, positions: int, vocab_size: int) -> bool:
    """Whether a loss is computed in chunks, without the logits of all positions.

    `auto` does so where they would take memory: from 32,768 tokens of vocabulary and 256 MiB on. Smaller ones keep the
    path through the logits, whose bits do not depend on the size of a chunk.

    Args:
        kind: `[train] loss`.
        positions: Tokens of one pass on one device.
        vocab_size: Rows of the head.
    """
    large = vocab_size >= _SMALLEST_VOCABULARY and LOGITS_HELD * 4 * positions * vocab_size >= _SMALLEST_BYTES
    return kind == "chunks" or (kind == "auto" and large)


def judged(labels_BT: np.ndarray, length: int, device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
    """The judged positions of a batch, found on the CPU so that no device is waited for.

    Args:
        labels_BT: Labels, of which `IGNORED` ones are not judged; T may be less than the outputs of a block.
        length: Outputs of a block.
        device: Of the model.

    Returns:
        Numbers of the positions among all outputs, (N,), and their labels, (N,).
    """
    rows, columns = np.nonzero(labels_BT != IGNORED)
    places_N, labels_N = rows * length + columns, labels_BT[rows, columns]
    return sent(places_N, device), sent(labels_N, device)


@dataclass
class Head:
    """A head that gives the summed loss of the judged positions in place of their logits.

    The model is called as ever, whatever wraps it (DDP, FSDP, `torch.compile`), and the loss is computed within that
    call, where the weights of the head are.
    """

    linear: torch.nn.Linear
    _places: torch.Tensor | None = None
    _labels: torch.Tensor | None = None

    @classmethod
    def of(cls, model: PreTrainedModel) -> Head | None:
        """The head of a model, or None if its loss can only be computed from its logits.

        That is so if the head is not a plain linear layer (adapters on it, say), or if anything is done to the logits
        after it (soft-capping, scaling). The latter is measured, not looked up: what the head gives must come out of
        the model unchanged.
        """
        import torch

        found = getattr(model, "get_output_embeddings", lambda: None)()
        if type(found) is not torch.nn.Linear or _is_watched(found):
            return None
        head, device = cls(found), found.weight.device
        given_V = torch.linspace(-1e4, 1e4, found.out_features, device=device).to(found.weight.dtype)
        kept = all(head._is_kept(model, given) for given in (given_V.expand(1, 8, -1), given_V[:1].expand(1, 1, 1)))
        return head if kept else None

    def summed_loss(
        self, model: torch.nn.Module, inputs: Mapping[str, Any], places_N: torch.Tensor, labels_N: torch.Tensor
    ) -> torch.Tensor:
        """Cross entropy over some positions, in nats.

        Args:
            model: The model whose head this is, or what wraps it.
            inputs: What the model is called with, without labels.
            places_N: Numbers of the judged positions among the B * T outputs.
            labels_N: Their right tokens.
        """
        self._places, self._labels = places_N, labels_N
        with self._replaced(self._loss):
            loss: torch.Tensor = model(**inputs).logits
        self._places = self._labels = None
        return loss.reshape(())

    def _is_kept(self, model: PreTrainedModel, given: torch.Tensor) -> bool:
        """Whether a model returns just what its head gives."""
        import torch

        ids = torch.arange(8, device=given.device)[None]
        decoder = {"decoder_input_ids": ids} if getattr(model.config, "is_encoder_decoder", False) else {}
        was_training = model.training
        model.eval()
        with torch.no_grad(), self._replaced(lambda _hidden: given):
            returned = model(input_ids=ids, **decoder).logits
        model.train(was_training)
        return returned.shape == given.shape and torch.equal(returned.float(), given.float())

    def _loss(self, hidden_BTH: torch.Tensor) -> torch.Tensor:
        import torch

        # Compiled, the loop over chunks would be unrolled and its gradients traced once more.
        return torch.compiler.disable(self._loss_of)(hidden_BTH)  # type: ignore[no-any-return]

    def _loss_of(self, hidden_BTH: torch.Tensor) -> torch.Tensor:
        from xelm.objectives.chunks import chunked_cross_entropy

        assert self._places is not None and self._labels is not None
        hidden_NH = hidden_BTH.reshape(-1, hidden_BTH.shape[-1])[self._places]
        positions = max(1, CHUNK_BYTES // (4 * self.linear.out_features))
        weight, bias = self.linear.weight, self.linear.bias
        loss = chunked_cross_entropy(hidden_NH, weight, bias, self._labels, positions=positions)
        return loss.reshape(1, 1, 1)  # as many dimensions as logits have

    @contextmanager
    def _replaced(self, forward: Any) -> Iterator[None]:
        self.linear.forward = forward  # type: ignore[method-assign]
        try:
            yield
        finally:
            del self.linear.forward


def _is_watched(module: torch.nn.Module) -> bool:
    """Whether something else already acts on what a module reads or gives, such as hooks of accelerate."""
    return bool(module._forward_hooks or module._forward_pre_hooks or "forward" in vars(module))
