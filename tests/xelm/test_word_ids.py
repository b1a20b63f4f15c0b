"""Word by word a tokenizer gives the same ids as for the whole text, or it is not asked so."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers, trainers

from clustering.corpora.find import source_of
from tests.xelm.conftest import sentences
from xelm.corpus.store import build_store
from xelm.corpus.tokens.token_ids import DocumentIds, token_ids
from xelm.corpus.tokens.word_ids import _MOST_CHARACTERS, _PATTERNS, WordIds, word_ids
from xelm.recipe.recipe import Data

SPECIALS = ["<pad>", "<s>", "</s>", "<unk>"]
TEXT = [text for code in ("deu", "nld", "rus") for text in sentences(code, 40)]
# What stands at the ends of words and may change what a cut there means.
ODD = "  \n\t\r\xa0\u200b\u3000\u2028\x1c\x85\u0301\u00a8\u2581\0'.,!12١½²ﬁÅ日ไﷺ‗하"
PIECES = st.sampled_from(
    [*ODD, *SPECIALS, "der", "Hund", "läuft", "привет", "мир", "I'm", "'LL", "e\u0301", "  ", " \n ", "x y"]
)
SPACES = st.sampled_from(["", " ", " ", " ", "  ", "\n", " \n"])


def byte_level(*before, use_regex=True, prefix=False, normaliser=None) -> Tokenizer:
    inner = Tokenizer(models.BPE())
    last = pre_tokenizers.ByteLevel(add_prefix_space=prefix, use_regex=use_regex)
    inner.pre_tokenizer = pre_tokenizers.Sequence([*before, last]) if before else last
    if normaliser is not None:
        inner.normalizer = normaliser
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    inner.train_from_iterator(
        TEXT,
        trainers.BpeTrainer(vocab_size=600, special_tokens=SPECIALS, initial_alphabet=alphabet, show_progress=False),
    )
    return inner


def unigram(scheme: str, *steps) -> Tokenizer:
    inner = Tokenizer(models.Unigram())
    inner.normalizer = normalizers.Sequence([normalizers.NFKC(), *steps])
    inner.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme=scheme)
    trainer = trainers.UnigramTrainer(vocab_size=300, special_tokens=SPECIALS, unk_token="<unk>", show_progress=False)
    inner.train_from_iterator(TEXT, trainer)
    return inner


def split(pattern: str) -> pre_tokenizers.PreTokenizer:
    return pre_tokenizers.Split(Regex(pattern), "isolated")


KNOWN = {
    "gpt2": lambda: byte_level(),
    "gpt2 with a prefix and nfc": lambda: byte_level(prefix=True, normaliser=normalizers.NFC()),
    "llama3": lambda: byte_level(split(_PATTERNS[1]), use_regex=False),
    "qwen2": lambda: byte_level(split(_PATTERNS[2]), use_regex=False, normaliser=normalizers.NFC()),
    "digits apart": lambda: byte_level(pre_tokenizers.Digits(individual_digits=True)),
    "e5": lambda: unigram("always", normalizers.Replace(Regex(r"[\s\u200b\u200e\u200f]+"), " ")),
    "runs": lambda: unigram("first", normalizers.Replace(Regex(" {2,}"), "▁")),
}


@pytest.fixture(scope="module", params=KNOWN)
def backend(request) -> Tokenizer:
    inner = KNOWN[request.param]()
    inner.encode_special_tokens = True
    return inner


@settings(max_examples=60, deadline=None)
@given(rows=st.lists(st.lists(st.tuples(PIECES, SPACES), max_size=12), min_size=1, max_size=6))
def test_the_ids_of_any_text_are_those_of_the_whole(backend, rows):
    texts = ["".join(piece + space for piece, space in row) for row in rows]
    read = word_ids(backend, np.uint16)
    assert read is not None
    for found in (read(texts), read(texts)):  # the second time all parts are known
        if found is None:  # one long word
            continue
        wanted = [backend.encode(text, add_special_tokens=False).ids for text in texts]
        assert [np.frombuffer(ids, dtype=np.uint16).tolist() for ids in found] == wanted


@pytest.mark.parametrize(
    "change",
    [
        lambda inner: setattr(inner, "pre_tokenizer", pre_tokenizers.Whitespace()),
        lambda inner: setattr(inner, "pre_tokenizer", split(r"(?<=\w) |\w+")),
        lambda inner: setattr(inner, "pre_tokenizer", pre_tokenizers.ByteLevel(use_regex=False)),
        lambda inner: setattr(inner, "normalizer", normalizers.Strip()),
        lambda inner: setattr(inner, "normalizer", normalizers.Replace("a b", "c")),
        lambda inner: setattr(inner.model, "dropout", 0.1),
        lambda inner: inner.add_tokens(["guten morgen"]),
        lambda inner: inner.enable_truncation(8),
        lambda inner: inner.enable_padding(),
    ],
)
def test_a_tokenizer_that_may_look_over_a_space_reads_whole_texts(change):
    inner = byte_level()
    assert word_ids(inner, np.uint16) is not None
    change(inner)
    assert word_ids(inner, np.uint16) is None


def test_text_without_spaces_is_read_whole_and_memory_is_bounded(monkeypatch):
    read = word_ids(byte_level(), np.uint16)
    assert read(["日本語の文章は空白なしで書かれるので、言葉ごとに切ることはできない。" * 3]) is None
    assert _MOST_CHARACTERS <= 1 << 24
    monkeypatch.setattr("xelm.corpus.tokens.word_ids._MOST_CHARACTERS", 2000)
    kept = []
    for number in range(40):
        texts = [f"wort{number}x{i} und" for i in range(20)]
        assert [len(ids) for ids in read(texts)] == [len(ids) for ids in WordIds(read._backend, np.uint16)(texts)]
        kept.append(len(read._known))
    assert max(kept) < 80


def test_a_store_holds_the_same_bytes_as_reading_whole_texts(tmp_path, monkeypatch):
    from transformers import PreTrainedTokenizerFast

    tokenizer = PreTrainedTokenizerFast(tokenizer_object=byte_level(), bos_token="<s>", eos_token="</s>")
    texts = [f"{text} </s>  {text}\u00a0 {number}" for number, text in enumerate(TEXT)]
    (tmp_path / "deu.txt").write_text("\n".join(texts), encoding="utf-8")
    source, data = source_of(tmp_path / "deu.txt", "deu"), Data(path=str(tmp_path))
    by_word = build_store(tmp_path / "words", source, data, tokenizer, vocab_size=len(tokenizer))
    assert DocumentIds(tokenizer, np.uint16)(texts[:9]) == [
        np.array(ids, dtype=np.uint16).tobytes() for ids in token_ids(texts[:9], tokenizer)
    ]
    monkeypatch.setattr("xelm.corpus.tokens.token_ids.word_ids", lambda *_: None)
    whole = build_store(tmp_path / "whole", source, data, tokenizer, vocab_size=len(tokenizer))
    assert by_word.tokens.tobytes() == whole.tokens.tobytes() and by_word.starts.tolist() == whole.starts.tolist()
    assert by_word.counts == whole.counts and len(by_word.tokens) > 1000
