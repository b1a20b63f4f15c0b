"""A fast tokenizer as the table of its `tokenizer.json`: read, renumbered, written, opened again.

Shape letters: `V` pieces.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from clustering.errors import BadInput
from clustering.files import read_json, write_text
from xelm.models.base import load_tokenizer

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

ALGORITHMS = ("BPE", "Unigram", "WordPiece", "WordLevel")
_OTHER_FORMS = ("vocab.json", "merges.txt", "vocab.txt", "sentencepiece.bpe.model", "spiece.model", "tokenizer.model")
"""Files of the same vocabulary for slow tokenizers, which would contradict a changed `tokenizer.json`."""


def table_of(tokenizer: PreTrainedTokenizerBase) -> dict[str, Any]:
    """The content of `tokenizer.json`, without truncation and padding.

    Raises:
        BadInput: If the tokenizer is no fast one, or of an algorithm that is not one of `ALGORITHMS`.
    """
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is None:
        raise BadInput(
            f"{tokenizer.name_or_path}: its tokenizer ({type(tokenizer).__name__}) has no tokenizer.json, so its "
            "pieces cannot be changed. Save it as a fast tokenizer of transformers first."
        )
    table: dict[str, Any] = json.loads(backend.to_str())
    table["truncation"] = table["padding"] = None
    kind = algorithm(table)
    if kind not in ALGORITHMS:
        raise BadInput(
            f"{tokenizer.name_or_path}: its tokenizer is a {kind}; pieces can be changed of {', '.join(ALGORITHMS)}."
        )
    return table


def fresh_backend(table: Mapping[str, Any]) -> Any:
    """A tokenizer of the `tokenizers` library that neither cuts nor pads."""
    from tokenizers import Tokenizer

    return Tokenizer.from_str(json.dumps(table))


def algorithm(table: Mapping[str, Any]) -> str:
    """The algorithm of a tokenizer: `BPE`, `Unigram`, `WordPiece` or another."""
    return str(table["model"].get("type"))


def pieces_of(table: Mapping[str, Any]) -> dict[int, str]:
    """Id -> piece, of the model's vocabulary and the added tokens, by ascending id."""
    vocab = table["model"]["vocab"]
    found = {index: piece for index, (piece, _) in enumerate(vocab)} if algorithm(table) == "Unigram" else {}
    if not found:
        found = {index: piece for piece, index in vocab.items()}
    found |= {token["id"]: token["content"] for token in table["added_tokens"]}
    return dict(sorted(found.items()))


def is_byte_level(table: Mapping[str, Any]) -> bool:
    """Whether pieces are written in the 256 letters that stand for bytes."""
    return any(part.get("type") == "ByteLevel" for part in parts_of(table.get("decoder"))) or any(
        part.get("type") == "ByteLevel" for part in parts_of(table.get("pre_tokenizer"))
    )


def parts_of(part: Mapping[str, Any] | None) -> list[dict[str, Any]]:
    """A normalizer, pre-tokenizer, decoder or post-processor as the list of its parts, sequences opened."""
    if part is None:
        return []
    inner = next((part[key] for key in ("pretokenizers", "decoders", "normalizers", "processors") if key in part), None)
    return [dict(part)] if inner is None else [one for child in inner for one in parts_of(child)]


def renumbered(table: Mapping[str, Any], new_ids: Mapping[int, int]) -> dict[str, Any]:
    """The tokenizer with only some of its pieces, under new ids.

    Args:
        table: The tokenizer.
        new_ids: Old id -> new id, of every piece that stays; new ids are 0 to their number - 1, in the old order.

    Returns:
        Another table. Merges stay whose parts and result stay; scores of Unigram pieces are as before.
    """
    result = copy.deepcopy(dict(table))
    model = result["model"]
    if algorithm(table) == "Unigram":
        model["vocab"] = [row for index, row in enumerate(model["vocab"]) if index in new_ids]
        if model.get("unk_id") is not None:
            model["unk_id"] = new_ids[model["unk_id"]]
    else:
        model["vocab"] = {piece: new_ids[index] for piece, index in model["vocab"].items() if index in new_ids}
    if "merges" in model:
        there, joined = model["vocab"], joiner(table)
        model["merges"] = [
            pair for pair in model["merges"] if pair[0] in there and pair[1] in there and joined(*pair) in there
        ]
    result["added_tokens"] = [token | {"id": new_ids[token["id"]]} for token in result["added_tokens"]]
    _renumber_processor(result.get("post_processor"), new_ids)
    return result


def joiner(table: Mapping[str, Any]) -> Any:
    """The function from the two parts of a merge to its result."""
    prefix = table["model"].get("continuing_subword_prefix") or ""
    return lambda first, second: first + (second.removeprefix(prefix) if prefix else second)


def _renumber_processor(part: dict[str, Any] | None, new_ids: Mapping[int, int]) -> None:
    """Change the ids in a post-processor in place: pairs of token and id, and tables of special tokens."""
    if part is None:
        return
    for child in part.get("processors", ()):
        _renumber_processor(child, new_ids)
    for key in ("sep", "cls"):
        if isinstance(part.get(key), list):
            part[key][1] = new_ids[part[key][1]]
    tokens = part.get("special_tokens")
    for token in tokens.values() if isinstance(tokens, dict) else ():
        token["ids"] = [new_ids[index] for index in token["ids"]]


def write_tokenizer(tokenizer: PreTrainedTokenizerBase, table: Mapping[str, Any], folder: Path) -> None:
    """Write a tokenizer with another table, and everything else (special tokens, chat template) as it was.

    Args:
        tokenizer: The tokenizer whose settings stay.
        table: Its new `tokenizer.json`.
        folder: A folder, which may hold a model.

    Raises:
        BadInput: If transformers opens the folder as another tokenizer.
    """
    tokenizer.save_pretrained(folder)
    for name in _OTHER_FORMS:
        (folder / name).unlink(missing_ok=True)
    write_text(folder / "tokenizer.json", json.dumps(table, ensure_ascii=False))
    file = folder / "tokenizer_config.json"
    config = read_json(file)
    # It repeats the added tokens with their ids; tokenizer.json has them too.
    config.pop("added_tokens_decoder", None)
    config.pop("vocab_size", None)
    for settings in ({}, {"tokenizer_class": "PreTrainedTokenizerFast"}):
        write_text(file, json.dumps(config | settings, ensure_ascii=False, indent=2))
        if _opens_as(folder, table):
            return
    raise BadInput(f"{tokenizer.name_or_path}: transformers does not open its tokenizer with other pieces.")


def _opens_as(folder: Path, table: Mapping[str, Any]) -> bool:
    try:
        opened = table_of(load_tokenizer(str(folder)))
    except BadInput:
        return False
    same_rule = opened["pre_tokenizer"] == table["pre_tokenizer"]
    same_merges = opened["model"].get("merges") == table["model"].get("merges")
    return same_rule and same_merges and pieces_of(opened) == pieces_of(table)
