"""Words of scripts whose vowel signs are marks, at which tokenizers cut them; and pieces that are whole words."""

from __future__ import annotations

import json
import unicodedata
from pathlib import Path
from typing import Any

import pytest
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from xelm.models.base import load_tokenizer
from xelm.vocabulary.own import own_vocabulary
from xelm.vocabulary.pieces.learn import extended, learn_pieces
from xelm.vocabulary.pieces.marks import with_whole_words
from xelm.vocabulary.pieces.words import words_of
from xelm.vocabulary.spelling import Spelling
from xelm.vocabulary.tokenizer_table import fresh_backend, pieces_of, table_of

GUJARATI = ["ગુજરાતી ભાષા એક ભાષા છે.", "આ પુસ્તક ગુજરાતી ભાષામાં છે, 12 પાનાં.", "દુનિયાની વસ્તી વધે છે!"] * 4
MALAYALAM = ["മലയാളം ഒരു ഭാഷയാണ്.", "കേരളത്തിലെ ഭാഷ മലയാളമാണ്."]
VOCALISED_HEBREW = ["בְּרֵאשִׁית בָּרָא אֱלֹהִים"]
OTHERS = [
    "Don't stop: it's 3.14 o'clock, y'all…\n\n  two  spaces ",
    "ẹ̀kọ́ ni ọlá (n\u0303, e\u0301) ñandú",
    "Привет, мир! Ёлка.",
    "हिन्दी भाषा में लिखा है।",
    "日本語のテキスト、カ\u3099",
    "ελληνικά & العربية",
]
_CONTRACTIONS = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)"
LLAMA3 = _CONTRACTIONS + r"|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
RULES = {
    "gpt2": pre_tokenizers.ByteLevel(add_prefix_space=False),
    "digits": pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    ),
    "llama3": pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(LLAMA3), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    ),
}


def _tokenizer(rule: str) -> PreTrainedTokenizerFast:
    inner = Tokenizer(models.BPE())
    inner.pre_tokenizer = RULES[rule]
    inner.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=400, initial_alphabet=alphabet, special_tokens=["</s>"])
    inner.train_from_iterator(OTHERS * 3, trainer)
    return PreTrainedTokenizerFast(tokenizer_object=inner, eos_token="</s>")


def _parts(table: dict[str, Any], text: str) -> list[str]:
    """The words that a tokenizer cuts a text into."""
    return [text[start:stop] for _, (start, stop) in fresh_backend(table).pre_tokenizer.pre_tokenize_str(text)]


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("texts", [GUJARATI, MALAYALAM, VOCALISED_HEBREW])
def test_words_are_not_cut_at_the_marks_of_their_script(rule: str, texts: list[str]) -> None:
    table = table_of(_tokenizer(rule))
    changed = with_whole_words(table, texts)
    text = texts[0]
    assert any(unicodedata.category(part[0]) in ("Mn", "Mc") for part in _parts(table, text))
    words = text.rstrip(".").split()
    assert [part.strip() for part in _parts(changed, text) if part != "."] == words
    for other in OTHERS:
        assert _parts(changed, other) == _parts(table, other)
        before, after = (fresh_backend(one).encode(other).ids for one in (table, changed))
        assert after == before


@pytest.mark.parametrize("rule", RULES)
def test_pieces_become_whole_words_and_text_comes_back(rule: str) -> None:
    table = table_of(_tokenizer(rule))
    changed = with_whole_words(table, GUJARATI)
    grown = extended(changed, learn_pieces(changed, words_of(fresh_backend(changed), GUJARATI), 300), 300)
    [first] = [fresh_backend(grown).encode(" ભાષા").ids]
    assert len(first) == 1
    for text in [*GUJARATI, *OTHERS]:
        backend = fresh_backend(grown)
        assert backend.decode(backend.encode(text).ids) == text
    for text in OTHERS:
        assert fresh_backend(grown).encode(text).ids == fresh_backend(table).encode(text).ids


def test_what_needs_no_other_rule_stays_as_it_is() -> None:
    table = table_of(_tokenizer("gpt2"))
    assert with_whole_words(table, ["Cafe\u0301 Привет", "カ\u3099"]) == table
    spaces = table | {"pre_tokenizer": json.loads(pre_tokenizers.Metaspace().__getstate__())}
    assert with_whole_words(spaces, GUJARATI) == spaces
    prefixed = table | {"pre_tokenizer": table["pre_tokenizer"] | {"add_prefix_space": True}}
    assert with_whole_words(prefixed, GUJARATI) == prefixed


def test_an_own_vocabulary_opens_with_its_rule(tmp_path: Path) -> None:
    tokenizer = _tokenizer("gpt2")
    record = own_vocabulary(tmp_path / "own", tokenizer, 200, GUJARATI, GUJARATI, [])
    opened = load_tokenizer(str(tmp_path / "own"))
    assert record is not None
    assert record.first_new == len(pieces_of(table_of(tokenizer)))
    assert len(opened(" ભાષા")["input_ids"]) == 1
    assert record.rate < 2
    text = GUJARATI[1]
    assert opened.decode(opened(text)["input_ids"]) == text


def test_every_beginning_of_a_text_is_cut_as_by_itself(tmp_path: Path) -> None:
    """As mixtures byte by byte read it."""
    record = own_vocabulary(tmp_path / "own", _tokenizer("gpt2"), 200, GUJARATI, GUJARATI, [])
    assert record is not None
    opened = load_tokenizer(str(tmp_path / "own"))
    text = f"{GUJARATI[1]} ok, {OTHERS[1]} {GUJARATI[0]}"
    whole = [found for found in Spelling(opened).beginnings(text) if found.is_whole]
    assert [found.characters for found in whole][-1] == len(text)
    for found in whole:
        ids = opened(text[: found.characters], add_special_tokens=False)["input_ids"]
        assert list(found.ids[1:]) == ids
