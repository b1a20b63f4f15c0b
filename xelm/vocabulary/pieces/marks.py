"""Words of a script whose vowel signs a tokenizer takes for ends of words.

The rules of GPT-2, Llama 3 and Qwen look for pieces in runs of letters. Unicode counts the vowel signs of most scripts
of India and South East Asia, and the points of Arabic, Hebrew and Syriac, not as letters but as marks, so that such a
rule cuts every word at every sign, and no piece can be a word.
"""

from __future__ import annotations

import copy
import sys
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from xelm.vocabulary.tokenizer_table import fresh_backend

_LETTERS = r"\p{L}"
_BYTE_LEVEL_RULE = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
"""What a byte-level pre-tokenizer of the `tokenizers` library cuts by if it has no rule before it: GPT-2's."""
_OF_ALL_SCRIPTS = ("COMBINING", "VARIATION")
"""First words of the names of marks that other languages' text may have too."""


def with_whole_words(table: Mapping[str, Any], texts: Sequence[str]) -> dict[str, Any]:
    """The tokenizer with a rule that counts the marks of the texts' own scripts as letters, if it cuts words at them.

    Text without such marks is cut as before. A tokenizer whose rule is of another form stays as it is.

    Args:
        table: The tokenizer (`xelm.vocabulary.tokenizer_table`).
        texts: Texts of the new language.
    """
    marks = _marks_of_scripts(texts)
    changed = copy.deepcopy(dict(table))
    if marks:
        changed["pre_tokenizer"] = _joining(table["pre_tokenizer"], marks)
    if changed["pre_tokenizer"] == table["pre_tokenizer"] or _words(changed, texts) >= _words(table, texts):
        return dict(table)
    return changed


def _marks_of_scripts(texts: Iterable[str]) -> str:
    """All marks of the scripts of which the texts have one."""
    scripts = {_script_of(char) for char in set().union(*texts) if _is_mark(char)} - {*_OF_ALL_SCRIPTS, ""}
    every = map(chr, range(sys.maxunicode + 1)) if scripts else ()
    return "".join(char for char in every if _is_mark(char) and _script_of(char) in scripts)


def _is_mark(char: str) -> bool:
    return unicodedata.category(char) in ("Mn", "Mc")


def _script_of(mark: str) -> str:
    """The first word of its Unicode name, which is the script's."""
    return unicodedata.name(mark, "").split(" ")[0]


def _words(table: Mapping[str, Any], texts: Iterable[str]) -> int:
    pre = fresh_backend(table).pre_tokenizer
    return sum(len(pre.pre_tokenize_str(text)) for text in texts)


def _joining(part: Mapping[str, Any] | None, marks: str) -> Any:
    """A pre-tokenizer whose rules count the marks as letters."""
    if part is None:
        return None
    if "pretokenizers" in part:
        return {**part, "pretokenizers": [_joining(child, marks) for child in part["pretokenizers"]]}
    if part["type"] == "Split" and "Regex" in part["pattern"]:
        return {**part, "pattern": {"Regex": _with_marks(part["pattern"]["Regex"], marks)}}
    if part["type"] == "ByteLevel" and part["use_regex"] and not part["add_prefix_space"]:
        rule = {"Regex": _with_marks(_BYTE_LEVEL_RULE, marks)}
        split = {"type": "Split", "pattern": rule, "behavior": "Isolated", "invert": False}
        return {"type": "Sequence", "pretokenizers": [split, {**part, "use_regex": False}]}
    return dict(part)


def _with_marks(rule: str, marks: str) -> str:
    """A regular expression whose letters are the marks too, inside of brackets and outside."""
    found, inside, place = "", False, 0
    while place < len(rule):
        if rule.startswith(_LETTERS, place):
            found += _LETTERS + marks if inside else f"[{_LETTERS}{marks}]"
            place += len(_LETTERS)
            continue
        step = 2 if rule[place] == "\\" else 1
        inside = rule[place] == "[" or (inside and rule[place] != "]")
        found += rule[place : place + step]
        place += step
    return found
