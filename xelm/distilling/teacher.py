"""The teacher: what the experts of a run, under the router's weights, say of the next token.

Shape letters: B blocks, T tokens of a block, K models, J judged positions, V pieces.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from clustering.errors import BadInput
from xelm.corpus.blocks import Blocks
from xelm.corpus.draw import DrawOrder
from xelm.inference.models import Placement, open_models
from xelm.inference.routed import RoutedLM
from xelm.objectives.objective import IGNORED
from xelm.objectives.tokens import TokenBatch
from xelm.run.experts import ExpertSet
from xelm.training.isolation import isolates_documents

if TYPE_CHECKING:
    import torch

_LEAST = 1e-3
"""A model with less weight than this in a block is not asked; the others' weights are scaled to sum to 1."""
_READ = 2048
"""Tokens of a document by which it is routed."""


class Teacher:
    """The models of a run, and which of them answer for which document."""

    def __init__(self, experts: ExpertSet, policy: str) -> None:
        """Open a run.

        Args:
            experts: The run.
            policy: Which experts answer, as for `RoutedLM.weights`.

        Raises:
            BadInput: If the policy is unknown or follows the text as it unfolds, or experts read pieces of their own.
        """
        if own := [name for name in experts.names if experts.vocabulary(name) is not None]:
            raise BadInput(
                f"{experts.path}: {', '.join(own)} read pieces of their own, of which a student of other pieces learns "
                "nothing token by token. Remove these languages first."
            )
        self._router = RoutedLM(experts)
        if self._router.policy(policy).dynamic:
            raise BadInput(f"policy {policy}: a document's experts are chosen once. Choose ensemble, top1 or topm.")
        self._policy, self.names = policy, self._router.names
        self._models = open_models(experts, self.names, Placement(check_files=False))
        self._tokenizer = experts.tokenizer()
        self._weights: dict[tuple[str, int], np.ndarray] = {}
        self._isolates: dict[str, bool] = {}

    def weights(self, blocks: Mapping[str, Blocks], order: DrawOrder, draws_B: np.ndarray) -> np.ndarray:
        """Weights of the models for every token of some draws, by the document that it belongs to.

        Returns:
            Shape (B, T, K), float32, summing to 1 over K.
        """
        found = []
        for draw in draws_B:
            code = order.languages[order.language[draw]]
            own = blocks[code]
            store, length = own.store, own.sequence_length
            places_T = (order.block[draw] * length + np.arange(length)) % len(store.tokens)
            document_T = np.searchsorted(store.starts, places_T, side="right") - 1
            self._route(code, own, np.unique(document_T))
            found.append(np.stack([self._weights[code, int(document)] for document in document_T]))
        return np.stack(found)

    def _route(self, code: str, blocks: Blocks, documents: Sequence[int] | np.ndarray) -> None:
        new = [int(document) for document in documents if (code, int(document)) not in self._weights]
        if not new:
            return
        store = blocks.store
        ends = np.append(store.starts[1:], len(store.tokens))
        pieces = [store.tokens[store.starts[one] : min(ends[one], store.starts[one] + _READ)].tolist() for one in new]
        texts = self._tokenizer.batch_decode(pieces, skip_special_tokens=True)
        for document, weights_K in zip(new, self._router.weights(texts, self._policy), strict=True):
            self._weights[code, document] = weights_K.astype(np.float32)

    def log_probs(self, batch: TokenBatch, weights_BTK: np.ndarray, device: torch.device) -> torch.Tensor:
        """Log-probabilities of every piece at the judged positions, shape (J, V), in nats.

        Args:
            batch: Blocks and labels.
            weights_BTK: Weights of the models.
            device: Where the result goes.
        """
        import torch

        judged_BT = batch.labels != IGNORED
        length = judged_BT.shape[1]
        weights_BTK = np.where(weights_BTK < _LEAST, 0, weights_BTK)
        weights_BTK = weights_BTK / weights_BTK.sum(axis=2, keepdims=True)
        place_BT = torch.from_numpy(np.cumsum(judged_BT).reshape(judged_BT.shape) - 1)
        mixed_JV: torch.Tensor | None = None
        for number, name in enumerate(self.names):
            rows = np.flatnonzero((weights_BTK[:, :length, number] * judged_BT).any(axis=1))
            if not len(rows):
                continue
            judged = torch.from_numpy(judged_BT[rows])
            own_JV = self._one(name, batch, rows)[:, :length][judged].float().log_softmax(-1).to(device)
            weights_J = torch.from_numpy(weights_BTK[rows, :length, number])[judged]
            own_JV += weights_J.log().to(device).unsqueeze(1)
            if mixed_JV is None:
                mixed_JV = torch.full((int(judged_BT.sum()), own_JV.shape[1]), float("-inf"), device=device)
            places_J = place_BT[torch.from_numpy(rows)][judged].to(device)
            mixed_JV[places_J] = torch.logaddexp(mixed_JV[places_J], own_JV)
        if mixed_JV is None:  # nothing is judged
            return torch.zeros((0, 1), device=device)
        return mixed_JV

    def _one(self, name: str, batch: TokenBatch, rows: np.ndarray) -> Any:
        """Logits of one model for some blocks."""
        import torch

        model = self._models.get(name)
        if name not in self._isolates:
            self._isolates[name] = isolates_documents(model)
        own = replace(
            batch,
            input_ids=batch.input_ids[rows],
            position_ids=batch.position_ids[rows],
            labels=batch.labels[rows],
        )
        ids = torch.from_numpy(own.input_ids).to(model.device)
        extra: dict[str, Any] = own.arguments(model, isolated=self._isolates[name], device=model.device)
        if batch.labels.shape[1] < batch.input_ids.shape[1]:
            extra["use_cache"] = False
        with torch.no_grad():
            return model(input_ids=ids, **extra).logits
