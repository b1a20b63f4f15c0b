"""`prune`: a model, or every model of a run, with only the pieces that some languages need."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from clustering.errors import BadInput, arg, refuse_text
from clustering.files import atomic_write, write_text
from xelm.pruning.parts import REPORT_FILE, Pruning, Texts, compare, corpus_texts, pruning, reduce_vocabulary
from xelm.pruning.prune_run import prune_run
from xelm.pruning.resize import taken_rows
from xelm.recipe.recipe import Data
from xelm.run.records.manifest import FILE_NAME
from xelm.vocabulary.tokenizer_table import write_tokenizer

if TYPE_CHECKING:
    from transformers import PreTrainedModel

UNCHANGED = 0.95
"""Share of unread sentences to be tokenised as before, unless another is asked for."""


def prune(
    model: str | Path,
    languages: Iterable[str],
    out: str | Path,
    corpus: str | Path | None = None,
    *,
    min_count: int = 1,
    unchanged: float = UNCHANGED,
) -> Pruning:
    """Write a model, or a run, with only the pieces that the languages need.

    Kept are the pieces that the languages' training text uses, every single character and byte, all pieces that merges
    go through on the way to a kept one, special and added tokens, and further pieces that text of these languages
    probably uses (`xelm.pruning.likely`). Text whose pieces are all kept is read as before: same pieces, same hidden
    states, same logits over kept pieces. Other text is cut into smaller pieces, which the model reads less well.

    Args:
        model: A run directory, or a causal, masked or encoder model: a folder or a hub id.
        languages: Any codes or names. Their text must be in `corpus`, or in the run.
        out: A new folder.
        corpus: Text of the languages, as in `[data] path`. None: the text of the run; a model needs it.
        min_count: How often the training text uses a piece that is kept because of it, at least 1.
        unchanged: Share of unread sentences that should be tokenised as before, in [0, 1): so many further pieces are
            kept. 0: none beyond those of the text.

    Returns:
        Sizes before and after, and how held-out sentences are read.

    Raises:
        BadInput: If there is no such model or text, its tokenizer or architecture cannot be pruned, or the pruned model
            does not compute what the whole one does.
    """
    refuse_text("languages", languages)
    if min_count < 1:
        raise BadInput(f"{arg('min_count', min_count)}: must be at least 1.")
    if not 0 <= unchanged < 1:
        raise BadInput(f"{arg('unchanged', unchanged)}: a share from 0 up to, but not, 1.")
    wanted, folder = _codes(languages), Path(out)
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise BadInput(f"{folder}: not empty. Give a new folder.")
    settings: dict[str, Any] = {"min_count": min_count, "unchanged": unchanged}
    if (Path(model) / FILE_NAME).is_file():
        return prune_run(Path(model), wanted, folder, corpus, **settings)
    if corpus is None:
        raise BadInput(f"{model}: a model has no text of its own. Give {arg('corpus')}: text of {', '.join(wanted)}.")
    return _prune_model(str(model), corpus_texts(Data(path=str(corpus)), wanted), folder, **settings)


def _codes(languages: Iterable[str]) -> list[str]:
    from clustering.languages.codes import resolve

    codes = sorted({resolve(language).code for language in languages})
    if not codes:
        raise BadInput(f"{arg('languages')}: name at least one language.")
    return codes


def _prune_model(name: str, texts: Texts, folder: Path, *, min_count: int, unchanged: float) -> Pruning:
    from xelm.models.base import load_tokenizer, quiet_transformers

    (whole, absent), tokenizer = load_any(name), load_tokenizer(name)
    reduction = reduce_vocabulary(whole, tokenizer, texts, min_count=min_count, unchanged=unchanged)
    with atomic_write(folder) as partial, quiet_transformers():
        small = taken_rows(whole, reduction.kept)
        there = {key: value for key, value in small.state_dict().items() if key not in absent}
        small.save_pretrained(partial, state_dict=there)
        write_tokenizer(tokenizer, reduction.table, partial)
        comparison = compare(whole, small, tokenizer, load_tokenizer(str(partial)), texts, reduction)
        result = pruning(folder, texts, tokenizer, reduction, whole, small, comparison)
        write_text(partial / REPORT_FILE, json.dumps(result.to_dict() | {"folder": ""}, indent=2))
    return result


def load_any(name: str) -> tuple[PreTrainedModel, set[str]]:
    """A model of any class of transformers, and the weights of this class that its files lack (a pooler, say).

    The class is the one that its configuration names, or else the bare body.

    Raises:
        BadInput: If there is none, or it has an encoder and a decoder.
    """
    import transformers

    from xelm.models.base import quiet_transformers
    from xelm.models.foreign import unusable_reported

    with unusable_reported(f"no usable model in '{name}' (a run, a folder or a hub id)"), quiet_transformers():
        config = transformers.AutoConfig.from_pretrained(name)
        if config.is_encoder_decoder:
            raise BadInput(f"{name}: has an encoder and a decoder; causal, masked and encoder models can be pruned.")
        named = getattr(transformers, next(iter(config.architectures or []), ""), None)
        cls = named or transformers.AutoModel
        model, found = cls.from_pretrained(name, use_safetensors=True, dtype="auto", output_loading_info=True)
        return model.eval(), set(found["missing_keys"])
