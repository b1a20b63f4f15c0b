"""The base model's own view of languages ("psychotypology"): distances from its mean hidden states over their text."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from clustering.distances.own import distances_from_vectors
from clustering.errors import BadInput, arg
from clustering.progress import show_progress
from router.letters import utf8_bytes
from router.scoring.tokens import context_of
from xelm.models.foreign import unusable_reported

if TYPE_CHECKING:
    from clustering import Distances

DEFAULT_TOKENS = 20_000
_BATCH = 8


def language_vectors(
    model: Any,
    tokenizer: Any,
    corpora: Mapping[str, Iterable[str]],
    *,
    layer: int | None = None,
    max_tokens: int = DEFAULT_TOKENS,
) -> dict[str, np.ndarray]:
    """Mean hidden state of a model over the text of each language.

    Args:
        model: Any transformers model that returns hidden states.
        tokenizer: Its tokenizer.
        corpora: Language -> its texts; read as far as `max_tokens` reach.
        layer: Which hidden state, 0 (embeddings) to the number of layers; None: the middle one, where meaning and
            language are separated best and the output vocabulary matters least.
        max_tokens: Most tokens read per language.

    Returns:
        Language -> vector of the model's hidden size, float64, for `clustering.distances_from_vectors`.

    Raises:
        BadInput: If a language has no text, or there is no such layer.
    """
    num_layers = model.config.get_text_config().num_hidden_layers
    chosen = (num_layers + 1) // 2 if layer is None else layer
    if not 0 <= chosen <= num_layers:
        raise BadInput(f"{arg('layer', layer)}: this model has hidden states 0 (embeddings) to {num_layers}.")
    vectors = {}
    for code, texts in show_progress(corpora.items(), desc="read by the model", unit="language"):
        windows = _windows(texts, tokenizer, _context(model, tokenizer), max_tokens)
        if not windows:
            raise BadInput(f"{code}: no text for the model to read.")
        vectors[code] = _mean_state(model, windows, chosen)
    return vectors


def load_reader(name: str) -> tuple[Any, Any]:
    """A model that reads (causal, masked or encoder; of a model of both kinds its encoder), and its tokenizer.

    Args:
        name: Hub id or path.

    Raises:
        BadInput: If there is none, or its weights lack parts that hidden states come from.
    """
    from transformers import AutoModel

    from xelm.models.base import load_tokenizer, quiet_transformers, refuse_endless

    with unusable_reported(f"no usable model in '{name}'"), quiet_transformers(), _no_load_report():
        refuse_endless(Path(name))
        model, found = AutoModel.from_pretrained(name, use_safetensors=True, output_loading_info=True, dtype="auto")
    # A pooler sits on top of the hidden states; masked models come without one.
    if missing := sorted(key for key in found["missing_keys"] if "pooler" not in key):
        raise BadInput(f"{name}: its weights lack {len(missing)} tensor(s) of the model, such as {missing[0]}.")
    reader = model.get_encoder() if model.config.is_encoder_decoder else model
    return reader.eval(), load_tokenizer(name)


@contextmanager
def _no_load_report() -> Iterator[None]:
    """Leave out transformers' table of weights that are not used: a head that hidden states do not need."""
    from transformers.utils import logging

    before = logging.get_verbosity()
    logging.set_verbosity_error()
    try:
        yield
    finally:
        logging.set_verbosity(before)


def _context(model: Any, tokenizer: Any) -> int:
    """Most tokens in a window; the tokenizer knows of positions that a model keeps for padding (XLM-R)."""
    return int(min(context_of(model, 512), getattr(tokenizer, "model_max_length", None) or 512))


def model_distances(
    model: str,
    corpus: str,
    languages: Iterable[str] | None = None,
    *,
    layer: int | None = None,
    max_tokens: int = DEFAULT_TOKENS,
) -> Distances:
    """Distances between the languages of a corpus as a base model sees them.

    Args:
        model: Hub id or path of a causal, masked or encoder model.
        corpus: As `[data] path` of a recipe.
        languages: Codes; None for all of the corpus.
        layer: Which hidden state, 0 (embeddings) to the number of layers; None: the middle one.
        max_tokens: Most tokens read per language.

    Raises:
        BadInput: If the model or a language's text cannot be had.
    """
    from clustering.corpora.find import find_sources

    sources = find_sources(corpus, list(languages) if languages is not None else None)
    texts = {source.code: source.texts() for source in sources}
    loaded, tokenizer = load_reader(model)
    vectors = language_vectors(loaded, tokenizer, texts, layer=layer, max_tokens=max_tokens)
    return distances_from_vectors(vectors, kind="model")


def _windows(texts: Iterable[str], tokenizer: Any, context: int, max_tokens: int) -> list[list[int]]:
    windows: list[list[int]] = []
    room = max_tokens
    for text in texts:
        ids = list(tokenizer(utf8_bytes(text).decode(), verbose=False)["input_ids"])[:room]
        room -= len(ids)
        windows.extend(ids[start : start + context] for start in range(0, len(ids), context))
        if room <= 0:
            break
    return windows


def _mean_state(model: Any, windows: list[list[int]], layer: int) -> np.ndarray:
    import torch

    total, count = np.zeros(model.config.get_text_config().hidden_size), 0
    by_length = iter(sorted(windows, key=len))
    while batch := list(itertools.islice(by_length, _BATCH)):
        longest = max(map(len, batch))
        ids = torch.zeros((len(batch), longest), dtype=torch.long)
        mask = torch.zeros_like(ids)
        for row, window in enumerate(batch):
            ids[row, : len(window)] = torch.tensor(window)
            mask[row, : len(window)] = 1
        ids, mask = ids.to(model.device), mask.to(model.device)
        with torch.inference_mode():
            states = model(input_ids=ids, attention_mask=mask, output_hidden_states=True).hidden_states[layer]
        total += (states.double() * mask[..., None]).sum(dim=(0, 1)).cpu().numpy()
        count += int(mask.sum())
    return total / count
