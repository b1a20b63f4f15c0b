"""Profiles of corpora: words in any script, merging, the file, and the cache that reads no text twice."""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clustering.errors import BadInput
from clustering.languages.words import script_shares, split_words
from clustering.sources.profile_cache import profile_file
from clustering.sources.profiles import EMPTY, Profile, Tokenizer, overlap, profile_texts

LETTERS = Tokenizer(name="letters", tokenize=lambda texts: [[c for c in text if c != " "] for text in texts])


def settle(monkeypatch: pytest.MonkeyPatch) -> None:
    """Files just written count as long unchanged."""
    monkeypatch.setattr("clustering.sources.profile_cache._SETTLED_S", -1.0)


documents = st.lists(st.text(alphabet="abcде漢字ไทย ि\n1.", max_size=12), max_size=5)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("Hello, World 2024!", ["hello", "world"]),
        ("हिन्दी में", ["हिन्दी", "में"]),
        ("東京都", ["東京", "京都"]),
        ("我", ["我"]),
        ("Python語で", ["python", "語で"]),
        ("نمی‌خواهم", ["نمی‌خواهم"]),
        ("l'été d’or", ["l", "été", "d", "or"]),
        ("12 34 ...", []),
    ],
)
def test_words_follow_the_script(text: str, words: list[str]) -> None:
    assert split_words(text) == words


@settings(max_examples=80, deadline=None)
@given(st.text(alphabet="abΣς漢字 ไทยที่\n\u2028\u200c1.'", max_size=40))
def test_counting_words_is_splitting_them(text: str) -> None:
    assert profile_texts([text]).words == dict(Counter(split_words(text)))


def test_thai_pairs_keep_marks_on_their_letters() -> None:
    assert split_words("กำลังที่") == ["กำ", "ำลั", "ลัง", "งที่"]


@settings(max_examples=60, deadline=None)
@given(documents, documents, documents)
def test_profiles_merge_in_any_order_and_grouping(a: list[str], b: list[str], c: list[str]) -> None:
    first, second, third = (profile_texts(texts, LETTERS) for texts in (a, b, c))
    left = first.merge(second).merge(third)
    assert left == first.merge(second.merge(third)) == third.merge(first).merge(second)
    assert left == profile_texts([*a, *b, *c], LETTERS)
    assert EMPTY.merge(first) == first


@settings(max_examples=30, deadline=None)
@given(documents)
def test_a_profile_survives_its_file(tmp_path_factory: pytest.TempPathFactory, texts: list[str]) -> None:
    path = tmp_path_factory.mktemp("profile") / "p.npz"
    profile = profile_texts(texts, LETTERS)
    profile.save(path)
    assert Profile.load(path) == profile


def test_sizes_and_ratios_are_counted() -> None:
    tokenizer = Tokenizer(
        name="t",
        tokenize=lambda texts: [["ab", "<0xE4>", "<unk>", "c"] for _ in texts],
        unknown_tokens=frozenset({"<unk>"}),
    )
    profile = profile_texts(["ab ab cd é"], tokenizer)
    assert (profile.documents, profile.num_bytes, profile.word_tokens) == (1, 11, 4)
    assert profile.type_token_ratio == 3 / 4
    assert profile.fertility == 1.0
    assert profile.fallback_share == 0.5
    assert overlap(profile.words, {"ab": 1, "zz": 1}) == 1 / 5


def test_profiles_of_different_tokenizers_do_not_add_up() -> None:
    other = Tokenizer(name="other", tokenize=LETTERS.tokenize)
    with pytest.raises(BadInput, match="letters and other"):
        profile_texts(["a"], LETTERS).merge(profile_texts(["a"], other))


def test_a_tokenizer_that_loses_a_text_is_named() -> None:
    with pytest.raises(BadInput, match="gave 1 lists for 2 texts"):
        profile_texts(["a", "b"], Tokenizer(name="bad", tokenize=lambda texts: [["a"]]))


def test_a_second_profile_reads_no_text(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    corpus = tmp_path / "swa.txt"
    corpus.write_text("habari ya asubuhi\n", encoding="utf-8")
    settle(monkeypatch)
    first = profile_file(corpus, LETTERS, cache=tmp_path / "cache")

    def fail(*args: object) -> None:
        raise AssertionError("the corpus was read again")

    monkeypatch.setattr("clustering.sources.profile_cache.profile_texts", fail)
    monkeypatch.setattr("clustering.sources.profile_cache.sha256_of", fail)
    assert profile_file(corpus, LETTERS, cache=tmp_path / "cache") == first
    with pytest.raises(AssertionError, match="read again"):
        profile_file(corpus, None, cache=tmp_path / "cache")


def test_a_changed_file_is_profiled_anew(tmp_path: Path) -> None:
    corpus = tmp_path / "swa.txt"
    corpus.write_text("moja\n", encoding="utf-8")
    profile_file(corpus, cache=tmp_path / "cache")
    corpus.write_text("moja mbili\n", encoding="utf-8")
    assert profile_file(corpus, cache=tmp_path / "cache").words == {"moja": 1, "mbili": 1}


def test_a_damaged_cache_file_is_made_again(tmp_path: Path) -> None:
    corpus = tmp_path / "swa.txt"
    corpus.write_text("moja\n", encoding="utf-8")
    first = profile_file(corpus, cache=tmp_path / "cache")
    (kept,) = (tmp_path / "cache").glob("*.npz")
    kept.write_bytes(b"PK broken")
    assert profile_file(corpus, cache=tmp_path / "cache") == first


def test_a_file_changed_within_a_tick_of_the_clock_is_profiled_anew(tmp_path: Path) -> None:
    corpus = tmp_path / "swa.txt"
    corpus.write_text("moja\n", encoding="utf-8")
    times = corpus.stat()
    profile_file(corpus, cache=tmp_path / "cache")
    corpus.write_text("mbil\n", encoding="utf-8")
    os.utime(corpus, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert profile_file(corpus, cache=tmp_path / "cache").words == {"mbil": 1}


def test_another_column_or_format_is_another_profile(tmp_path: Path) -> None:
    table = tmp_path / "swa.csv"
    table.write_text("text,body\nmoja,mbili\n", encoding="utf-8")
    cache = tmp_path / "cache"
    assert profile_file(table, cache=cache).words == {"moja": 1}
    assert profile_file(table, cache=cache, text_field="body").words == {"mbili": 1}
    lines = table.rename(tmp_path / "swa.txt")
    assert profile_file(lines, cache=cache).documents == 2


def test_a_folder_of_shards_has_one_profile_and_a_new_shard_changes_it(tmp_path: Path) -> None:
    folder, cache = tmp_path / "swa", tmp_path / "cache"
    folder.mkdir()
    (folder / "0.txt").write_text("moja\n", encoding="utf-8")
    assert profile_file(folder, cache=cache).words == {"moja": 1}
    (folder / "1.jsonl").write_text('{"text": "mbili"}\n', encoding="utf-8")
    assert profile_file(folder, cache=cache).words == {"moja": 1, "mbili": 1}


@pytest.mark.parametrize("content", ["", "[]", "{broken", '{"stamp": 1}'])
def test_a_damaged_stamp_is_taken_no_notice_of(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: str) -> None:
    corpus = tmp_path / "swa.txt"
    corpus.write_text("moja\n", encoding="utf-8")
    settle(monkeypatch)
    first = profile_file(corpus, cache=tmp_path / "cache")
    (stamp,) = (tmp_path / "cache").glob("*.stamp.json")
    stamp.write_text(content, encoding="utf-8")
    assert profile_file(corpus, cache=tmp_path / "cache") == first


def test_profiles_are_made_without_a_cache_that_can_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    corpus = tmp_path / "swa.txt"
    corpus.write_text("moja\n", encoding="utf-8")
    (tmp_path / "file").touch()
    assert profile_file(corpus, cache=tmp_path / "file" / "cache").words == {"moja": 1}

    def no_home() -> Path:
        raise RuntimeError("Could not determine home directory.")

    for name in ("XELM_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(Path, "home", no_home)
    assert profile_file(corpus).words == {"moja": 1}


def test_scripts_are_shares_of_letters() -> None:
    assert script_shares(["ab", "где"]) == {"CYRILLIC": 0.6, "LATIN": 0.4}
    assert next(iter(script_shares(["漢字", "か"]))) == "HAN"
