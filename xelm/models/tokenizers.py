"""Tokenizers for a new base model: plain UTF-8 bytes, or byte-level BPE trained on the corpus."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from clustering.errors import BadInput
from clustering.files import atomic_write
from xelm.corpus.intact import damage, is_sealed, seal
from xelm.models.base import load_tokenizer
from xelm.recipe.recipe import NewBase

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

logger = logging.getLogger(__name__)
_BOS, _EOS, _PAD = "<s>", "</s>", "<pad>"


def new_tokenizer(settings: NewBase, texts: Iterable[str]) -> PreTrainedTokenizerFast:
    """Make the tokenizer that `[base.new]` asks for.

    Args:
        settings: Kind and size.
        texts: Training text of all languages; read only for `bpe`.

    Returns:
        A fast tokenizer with BOS, EOS and padding, which represents any text without unknowns.
    """
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    specials = [_PAD, _BOS, _EOS]
    if settings.tokenizer == "byte":
        vocab = {token: index for index, token in enumerate([*specials, *alphabet])}
        inner = Tokenizer(models.BPE(vocab=vocab, merges=[]))
    else:
        inner = Tokenizer(models.BPE())
    inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=settings.tokenizer == "bpe")
    inner.decoder = decoders.ByteLevel()
    if settings.tokenizer == "bpe":
        trainer = trainers.BpeTrainer(
            vocab_size=settings.vocab_size,
            special_tokens=specials,
            initial_alphabet=alphabet,
            show_progress=False,
        )
        inner.train_from_iterator(texts, trainer)
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=inner,
        bos_token=_BOS,
        eos_token=_EOS,
        pad_token=_PAD,
        padding_side="left",
        model_max_length=settings.context_length,
        clean_up_tokenization_spaces=False,
    )
    started: PreTrainedTokenizerFast = with_start_token(tokenizer)
    return started


def with_start_token(tokenizer: Any) -> Any:
    """Make a tokenizer put the same token before a text as training and `RoutedLM`: BOS, or else EOS.

    So a pipeline, which knows only the tokenizer, reads a text as `lm.generate` does. A tokenizer that already adds
    tokens, or is no fast one, is not changed. Calls with `add_special_tokens=False`, as in training, give the same as
    before.

    Args:
        tokenizer: Changed in place.
    """
    from tokenizers import processors

    backend = getattr(tokenizer, "backend_tokenizer", None)
    start, start_id = next(
        ((token, i) for token, i in _boundaries(tokenizer) if token is not None and i is not None), (None, None)
    )
    if backend is None or start is None or tokenizer("a")["input_ids"] != _plain(tokenizer, "a"):
        return tokenizer
    first = processors.TemplateProcessing(
        single=f"{start}:0 $A:0", pair=f"{start}:0 $A:0 $B:0", special_tokens=[(start, start_id)]
    )
    own = backend.post_processor
    backend.post_processor = first if own is None else processors.Sequence([own, first])
    return tokenizer


def _boundaries(tokenizer: Any) -> list[tuple[str | None, int | None]]:
    return [(tokenizer.bos_token, tokenizer.bos_token_id), (tokenizer.eos_token, tokenizer.eos_token_id)]


def _plain(tokenizer: Any, text: str) -> list[int]:
    return list(tokenizer(text, add_special_tokens=False)["input_ids"])


def keep_tokenizer(folder: Path, settings: NewBase, texts: Iterable[str]) -> None:
    """Make `new_tokenizer`'s tokenizer in a folder; one that is there is kept if it is intact.

    Args:
        folder: The folder.
        settings: Kind and size.
        texts: Training text of all languages; read only where it has to be made.
    """
    problem = _damage(folder)
    if problem is None:
        return
    if folder.is_dir():
        logger.warning("%s: the tokenizer is damaged: %s. It is made again.", folder, problem)
    tokenizer = new_tokenizer(settings, texts)
    with atomic_write(folder) as partial:
        tokenizer.save_pretrained(partial)
        seal(partial)


def _damage(folder: Path) -> str | None:
    if is_sealed(folder) or not folder.is_dir():
        return damage(folder)
    try:
        load_tokenizer(str(folder))  # one of an older version has no checksums
    except BadInput as error:
        return str(error)
    return None
