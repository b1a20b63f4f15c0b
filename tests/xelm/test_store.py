"""Each language tokenised once: documents, boundaries, counts, held-out text."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from clustering.corpora.find import Source, find_sources
from clustering.errors import BadInput
from tests.xelm.conftest import sentences, write_jsonl
from xelm.corpus.store import TokenStore, build_store, open_store, training_texts
from xelm.corpus.tokens.encoder import boundary_tokens
from xelm.corpus.tokens.token_ids import token_ids
from xelm.models.tokenizers import keep_tokenizer, new_tokenizer
from xelm.recipe.recipe import Data, NewBase

Build = Callable[..., TokenStore]


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    return new_tokenizer(NewBase(), ())


@pytest.fixture
def build(tmp_path: Path, tokenizer: Any) -> Build:
    """Write rows as deu.jsonl and build its store."""

    def make(rows: list[Any], **data: Any) -> TokenStore:
        file = write_jsonl(tmp_path / "corpus" / "deu.jsonl", rows)
        (source,) = find_sources(str(file.parent))
        return build_store(
            tmp_path / "store", source, Data(path="corpus", **data), tokenizer, vocab_size=len(tokenizer)
        )

    return make


def _documents(store: TokenStore, tokenizer: Any) -> list[str]:
    ends = [*store.starts[1:], len(store.tokens)]
    return [tokenizer.decode(store.tokens[a:b].astype(int)) for a, b in zip(store.starts.tolist(), ends, strict=True)]


def _heldout(store: TokenStore) -> list[dict[str, Any]]:
    return [json.loads(line) for line in store.heldout_file.read_text(encoding="utf-8").split("\n") if line]


def test_documents_stand_one_after_another_between_boundary_tokens(build: Build, tokenizer: Any) -> None:
    store = build(
        [{"text": "eins", "split": "train"}, {"text": "日本", "split": "train"}, {"text": "x", "split": "test"}]
    )
    assert _documents(store, tokenizer) == ["<s>eins</s>", "<s>日本</s>"]
    assert store.starts.tolist() == [0, 6]
    assert len(store.tokens) == store.counts.tokens == 6 + 8
    assert (store.counts.documents, store.counts.bytes) == (2, 10)


@pytest.mark.parametrize(("vocab_size", "dtype"), [(2**16, np.uint16), (2**16 + 1, np.uint32)])
def test_tokens_are_stored_as_small_as_the_vocabulary_allows(
    tmp_path: Path, corpus: Path, tokenizer: Any, vocab_size: int, dtype: type
) -> None:
    source = find_sources(str(corpus))[0]
    store = build_store(tmp_path / "store", source, Data(path="x"), tokenizer, vocab_size=vocab_size)
    assert store.tokens.dtype == dtype


def test_the_same_text_twice_is_trained_on_once_and_counted(build: Build) -> None:
    texts = sentences("deu", 60)
    rows = [{"text": t, "split": "train"} for t in [*texts, *texts[:7], texts[0]]]
    store = build(rows)
    assert (store.counts.documents, store.counts.duplicates) == (60, 8)
    assert len(store.starts) == 60


@pytest.mark.parametrize(
    ("order", "trained", "held"),
    [(("train", "test"), ["<s>both</s>", "<s>own</s>"], []), (("test", "train"), ["<s>own</s>"], ["both"])],
)
def test_a_text_on_both_sides_of_the_split_stays_where_it_came_first(
    build: Build, tokenizer: Any, order: tuple[str, str], trained: list[str], held: list[str]
) -> None:
    store = build([*({"text": "both", "split": split} for split in order), {"text": "own", "split": "train"}])
    assert _documents(store, tokenizer) == trained
    assert [row["text"] for row in _heldout(store)] == held
    assert store.counts.duplicates == 1


def test_skipped_lines_are_counted(build: Build) -> None:
    rows: list[Any] = [*sentences("deu", 60), {"body": 1}, {"text": 3}]
    assert build(rows, on_bad_line="skip").counts.skipped_lines == 2


def test_a_bad_line_leaves_no_store_behind(build: Build, tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="line 61"):
        build([*sentences("deu", 60), {"body": 1}])
    assert sorted(p.name for p in tmp_path.iterdir()) == ["corpus"]


def test_held_out_text_is_kept_up_to_its_limit_on_whole_characters(build: Build) -> None:
    rows = [{"text": "я" * 100, "split": split, "id": i} for i in range(3) for split in ("test", "valid")]
    store = build([*rows, {"text": "train", "split": "train"}], heldout_bytes=301)
    for split in ("valid", "test"):
        texts = [row["text"] for row in _heldout(store) if row["split"] == split]
        assert texts == ["я" * 100, "я" * 50]


def test_held_out_text_is_whole_where_it_is_under_the_limit(build: Build) -> None:
    texts = sentences("deu", 60)
    store = build(list(texts), valid_fraction=0.1, test_fraction=0.1)
    rows = _heldout(store)
    assert {row["split"] for row in rows} == {"valid", "test"}
    assert {row["text"] for row in rows} < set(texts)
    assert len(rows) + store.counts.documents == 60


def test_training_texts_are_what_the_store_was_made_of(build: Build, tmp_path: Path, tokenizer: Any) -> None:
    store = build(list(sentences("deu", 60)))
    (source,) = find_sources(str(tmp_path / "corpus"))
    texts = list(training_texts(source, Data(path="x")))
    assert [f"<s>{text}</s>" for text in texts] == _documents(store, tokenizer)


def test_a_corpus_of_nothing_but_held_out_text_is_refused(build: Build) -> None:
    with pytest.raises(BadInput, match="deu: no training text"):
        build([{"text": "a", "split": "test"}, {"text": "b", "split": "valid"}])


def test_a_store_is_opened_again_without_reading_the_text(build: Build, tmp_path: Path, tokenizer: Any) -> None:
    first = build(list(sentences("deu", 60)))
    again = build(["other text"])
    np.testing.assert_array_equal(first.tokens, again.tokens)
    assert first.counts == again.counts


def test_boundaries_fall_back_to_what_a_tokenizer_has() -> None:
    class Tokens:
        bos_token_id: int | None
        eos_token_id: int | None
        cls_token_id = sep_token_id = None

        def __init__(self, bos: int | None, eos: int | None):
            self.bos_token_id, self.eos_token_id = bos, eos

    found = [boundary_tokens(Tokens(*ids)) for ids in ((1, 2), (None, 2), (1, None), (None, None), (0, 0))]  # type: ignore[arg-type]
    assert found == [([1], [2]), ([2], [2]), ([1], []), ([], []), ([0], [0])]


def test_a_byte_tokenizer_gives_back_any_text(tokenizer: Any) -> None:
    text = "Ünïcødé 日本語 🎉 \t\n  e\u0301 \x00 हिन्दी"
    ids = tokenizer(text, add_special_tokens=False)["input_ids"]
    assert len(ids) == len(text.encode())
    assert tokenizer.decode(ids) == text


def test_a_trained_tokenizer_gives_back_any_text_in_fewer_tokens() -> None:
    texts = sentences("deu", 60)
    bpe = new_tokenizer(NewBase(tokenizer="bpe", vocab_size=300), texts)
    assert len(bpe) == 300
    text = f"{texts[0]} 日本語 🎉"
    ids = bpe(text, add_special_tokens=False)["input_ids"]
    assert bpe.decode(ids) == text
    assert len(ids) < len(text.encode())
    again = new_tokenizer(NewBase(tokenizer="bpe", vocab_size=300), texts)
    assert again.get_vocab() == bpe.get_vocab()


def test_text_that_spells_an_end_token_is_no_end(tmp_path: Path) -> None:
    file = tmp_path / "deu.txt"
    file.write_text("".join(f"vor dem</s>nach dem {i}\n" for i in range(40)), encoding="utf-8")
    tokenizer = new_tokenizer(NewBase(), ())
    store = build_store(tmp_path / "store", Source("deu", (file,)), Data(path="."), tokenizer, vocab_size=300)
    assert (store.tokens == tokenizer.eos_token_id).sum() == store.counts.documents


def _damaged(file: Path, how: str) -> None:
    content = file.read_bytes()
    file.write_bytes({"cut": content[: len(content) // 2], "other": bytes(255 - byte for byte in content)}[how])


@pytest.mark.parametrize("how", ["cut", "other", "gone"])
@pytest.mark.parametrize("name", ["tokens.bin", "starts.npy", "heldout.jsonl", "counts.json", "checksums.json"])
def test_a_damaged_store_is_noticed_named_and_made_again_the_same(
    build: Build,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    name: str,
    how: str,
) -> None:
    rows = [f"{text} – und mehr davon" for text in sentences("deu", 60)]
    build(list(rows))
    whole = {f.name: f.read_bytes() for f in (tmp_path / "store").iterdir() if f.name != "checksums.json"}
    file = tmp_path / "store" / name
    if how == "gone":
        file.unlink()
    else:
        _damaged(file, how)
    caplog.clear()
    store = build(list(rows))
    assert {file: (tmp_path / "store" / file).read_bytes() for file in whole} == whole
    assert store.counts.tokens == len(store.tokens)
    if (name, how) != ("checksums.json", "gone"):  # which is a whole store of an older version
        assert f"{tmp_path / 'store'}: the tokenised text is damaged: {name}" in caplog.text
        assert "made again" in caplog.text


def test_bytes_changed_behind_the_same_size_and_time_are_noticed(build: Build, tmp_path: Path) -> None:
    rows = list(sentences("deu", 60))
    build(rows)
    file = tmp_path / "store" / "tokens.bin"
    whole, times = file.read_bytes(), file.stat()
    _damaged(file, "other")
    os.utime(file, ns=(times.st_atime_ns, times.st_mtime_ns))
    build(rows)
    assert file.read_bytes() == whole


def test_a_store_that_nobody_touched_is_not_read_through(build: Build, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = list(sentences("deu", 60))
    build(rows)

    def fail(*args: object) -> str:
        raise AssertionError("read through again")

    monkeypatch.setattr("xelm.corpus.intact.sha256_of", fail)
    build(rows)


@pytest.mark.parametrize("how", ["cut", "other"])
@pytest.mark.parametrize("name", ["tokens.bin", "starts.npy", "heldout.jsonl", "counts.json"])
def test_a_damaged_store_of_an_older_version_is_noticed_too(
    build: Build, tmp_path: Path, caplog: pytest.LogCaptureFixture, name: str, how: str
) -> None:
    rows = list(sentences("deu", 60))
    first = np.array(build(rows).tokens)
    (tmp_path / "store" / "checksums.json").unlink()
    _damaged(tmp_path / "store" / name, how)
    np.testing.assert_array_equal(build(rows).tokens, first)
    assert "the tokenised text is damaged" in caplog.text
    assert (tmp_path / "store" / "checksums.json").is_file()


def test_a_whole_store_of_an_older_version_is_kept_and_gets_checksums(
    build: Build, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    build(list(sentences("deu", 60)))
    (tmp_path / "store" / "checksums.json").unlink()
    before = (tmp_path / "store" / "tokens.bin").stat().st_ino
    build(["other text"])
    assert (tmp_path / "store" / "tokens.bin").stat().st_ino == before
    assert (tmp_path / "store" / "checksums.json").is_file()
    assert "damaged" not in caplog.text


def test_a_copied_store_is_whole(build: Build, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    build(list(sentences("deu", 60)))
    copy = shutil.copytree(tmp_path / "store", tmp_path / "copy")
    assert open_store(copy, "deu").counts.documents == 60 - len(_heldout(open_store(copy, "deu")))
    _damaged(copy / "tokens.bin", "other")
    with pytest.raises(BadInput, match=r"tokens\.bin holds other bytes"):
        open_store(copy, "deu")


def test_a_damaged_store_whose_text_is_not_at_hand_is_refused(build: Build, tmp_path: Path) -> None:
    build(list(sentences("deu", 60)))
    _damaged(tmp_path / "store" / "tokens.bin", "other")
    with pytest.raises(BadInput, match=r"store: the tokenised text is damaged: tokens.bin holds other bytes"):
        open_store(tmp_path / "store", "deu")


@pytest.mark.parametrize("sealed", [True, False])
def test_a_damaged_tokenizer_is_made_again(tmp_path: Path, caplog: pytest.LogCaptureFixture, sealed: bool) -> None:
    settings, texts = NewBase(tokenizer="bpe", vocab_size=300), sentences("deu", 60)
    folder = tmp_path / "tokenizer"
    keep_tokenizer(folder, settings, texts)
    whole = (folder / "tokenizer.json").read_bytes()
    if not sealed:
        (folder / "checksums.json").unlink()
    keep_tokenizer(folder, settings, iter(()))  # the text is not needed
    _damaged(folder / "tokenizer.json", "cut")
    keep_tokenizer(folder, settings, texts)
    assert (folder / "tokenizer.json").read_bytes() == whole
    assert "the tokenizer is damaged" in caplog.text


class _Louder:
    """A tokenizer whose class does more than its backend."""

    def __init__(self, tokenizer: Any) -> None:
        self.backend_tokenizer, self._tokenizer = tokenizer.backend_tokenizer, tokenizer

    def __call__(self, texts: list[str], **options: Any) -> Any:
        return self._tokenizer([text.upper() for text in texts], **options)


def test_ids_are_those_of_the_tokenizer_whether_its_backend_is_asked_or_not(tokenizer: Any) -> None:
    texts = ["Haus", "", "das </s> ist <s>kein Ende", "я" * 700, f"{tokenizer.eos_token} x"]
    options = {"add_special_tokens": False, "split_special_tokens": True, "verbose": False}
    tokenizer("a b", truncation=True, max_length=1, padding="max_length")  # an earlier use leaves no trace
    assert token_ids(texts, tokenizer) == tokenizer(texts, **options)["input_ids"]
    louder: Any = _Louder(tokenizer)
    assert token_ids(texts, louder) == tokenizer([text.upper() for text in texts], **options)["input_ids"]
    assert token_ids([], tokenizer) == []
