"""Several languages tokenised at a time give the same stores as one after another, and say the same."""

from __future__ import annotations

import hashlib
import logging
import os
import subprocess
import sys
import time
from concurrent.futures import Future
from pathlib import Path

import pytest

from clustering.corpora.find import find_sources
from clustering.corpora.rows import Row
from clustering.errors import BadInput
from tests.xelm.conftest import sentences, write_jsonl
from xelm.corpus.store import build_store
from xelm.corpus.tokens import elsewhere, languages, shards
from xelm.corpus.tokens.languages import LanguageText, build_stores
from xelm.models.tokenizers import new_tokenizer
from xelm.recipe.recipe import Data, NewBase

LANGUAGES = ("deu", "nld", "rus")


@pytest.fixture
def corpus(tmp_path) -> Path:
    folder = tmp_path / "corpus"
    folder.mkdir()
    for code in LANGUAGES:
        (folder / f"{code}.txt").write_text("\n".join(sentences(code, 80)), encoding="utf-8")
    return folder


def texts(corpus: Path, cache: Path) -> list[LanguageText]:
    return [LanguageText(cache / source.code, source) for source in find_sources(corpus)]


def fingerprint(folder: Path) -> dict[str, str]:
    files = [file for file in sorted(folder.rglob("*")) if file.is_file() and file.name != "checksums.json"]
    return {str(file.relative_to(folder)): hashlib.sha256(file.read_bytes()).hexdigest() for file in files}


def test_two_processes_write_the_bytes_of_one(corpus, tmp_path, caplog):
    tokenizer = new_tokenizer(NewBase(tokenizer="byte", tokens=1), ())
    with (corpus / "rus.txt").open("ab") as out:
        out.write(b"\n\xff\xfe not UTF-8\n")
    data = Data(path=str(corpus), on_bad_line="skip")
    one = build_stores(texts(corpus, tmp_path / "one"), data, tokenizer, num_processes=1)
    alone = [record.getMessage() for record in caplog.records if "bad line" in record.getMessage()]
    caplog.clear()
    with caplog.at_level(logging.INFO, "xelm"):
        two = build_stores(texts(corpus, tmp_path / "two"), data, tokenizer, num_processes=2)
    assert fingerprint(tmp_path / "one") == fingerprint(tmp_path / "two")
    assert list(one) == list(two) == sorted(LANGUAGES) and all(two[code].counts == one[code].counts for code in one)
    together = [record.getMessage() for record in caplog.records if "bad line" in record.getMessage()]
    assert alone == together and len(alone) == 1


def test_a_fault_in_another_process_is_the_same_sentence(corpus, tmp_path):
    tokenizer = new_tokenizer(NewBase(tokenizer="byte", tokens=1), ())
    (corpus / "nld.txt").write_bytes(b"\xff\xfe not UTF-8\n")
    data = Data(path=str(corpus))
    with pytest.raises(BadInput) as alone:
        build_stores(texts(corpus, tmp_path / "one"), data, tokenizer, num_processes=1)
    with pytest.raises(BadInput) as together:
        build_stores(texts(corpus, tmp_path / "two"), data, tokenizer, num_processes=2)
    assert str(together.value) == str(alone.value) and "nld.txt, line 1" in str(alone.value)


def test_other_processes_are_begun_only_for_much_text(corpus, tmp_path, monkeypatch):
    small = texts(corpus, tmp_path / "cache")
    begun: list[int] = []
    monkeypatch.setattr(languages, "_MOST_PARTS", 1)
    monkeypatch.setattr(languages, "_build_elsewhere", lambda *arguments: begun.append(arguments[3]))
    monkeypatch.setattr(languages.os, "sched_getaffinity", lambda _: set(range(8)), raising=False)
    tokenizer, data = new_tokenizer(NewBase(tokenizer="byte", tokens=1), ()), Data(path=str(corpus))
    build_stores([], data, tokenizer)
    build_stores(small, data, tokenizer)
    assert begun == []
    monkeypatch.setattr(languages, "MUCH_TEXT", min(text.num_bytes for text in small) * 9 // 10)
    build_stores(texts(corpus, tmp_path / "again"), data, tokenizer)
    assert begun == [3]


MB = 10**6


@pytest.mark.parametrize(
    ("sizes", "most", "at_a_time", "expected"),
    [
        ([1000 * MB], 4, 1, [4]),
        ([1000 * MB], 64, 1, [6]),  # one process reads for them
        ([90 * MB], 8, 1, [2]),  # a part of less than 32 MB is not worth a process
        ([1000 * MB, 20 * MB], 8, 1, [6, 1]),  # one after another
        ([500 * MB, 500 * MB], 8, 2, [4, 4]),
        ([600 * MB, 100 * MB, 100 * MB], 8, 3, [6, 1, 1]),
        ([100 * MB] * 20, 8, 8, [1] * 20),
        ([0, 0], 8, 1, [1, 1]),  # of the hub, whose sizes are not known
    ],
)
def test_processes_go_to_languages_by_their_size(sizes, most, at_a_time, expected):
    assert languages._parts(sizes, most, languages.MUCH_TEXT, at_a_time) == expected


@pytest.mark.parametrize("kind", ["text", "instructions"])
def test_one_language_cut_into_shards_gives_the_bytes_of_one_process(tmp_path, monkeypatch, kind):
    rows = [{"text": text} for text in sentences("deu", 700)]
    if kind == "instructions":
        rows = [{"prompt": row["text"], "answer": str(number), "text": ""} for number, row in enumerate(rows)]
    rows[5:5] = [
        rows[3],
        {**rows[0], "text": "x " * 3000, "answer": "x " * 3000},
    ]  # a duplicate, and a document longer than a shard
    write_jsonl(tmp_path / "corpus" / "deu.jsonl", rows)
    (source,) = find_sources(str(tmp_path / "corpus"))
    data = Data(path="corpus", **({"kind": "instructions"} if kind == "instructions" else {}))
    base = NewBase(tokenizer="bpe", vocab_size=400, tokens=1) if kind == "text" else NewBase(tokens=1)
    tokenizer = new_tokenizer(base, [row["text"] for row in rows])
    monkeypatch.setattr(shards, "_MOST_CHARACTERS", 2000)
    sent: list[int] = []
    cut = shards._shards
    monkeypatch.setattr(shards, "_shards", lambda batches: (sent.append(len(s)) or s for s in cut(batches)))
    one = build_store(tmp_path / "one", source, data, tokenizer, vocab_size=len(tokenizer))
    assert sent == []
    (two,) = build_stores([LanguageText(tmp_path / "two", source)], data, tokenizer, num_processes=2).values()
    assert len(sent) > 10 and sum(sent) == one.counts.documents
    assert fingerprint(tmp_path / "one") == fingerprint(tmp_path / "two") and one.counts == two.counts
    assert one.counts.duplicates == 1 and len(one.tokens) > 10_000


def test_shards_are_read_ahead_only_a_little(monkeypatch):
    """Memory does not grow with the text: what is read waits for what is written."""
    read, done = [0], [0]

    def shards_of(number):
        for index in range(number):
            read[0] += 1
            assert read[0] - done[0] <= 5
            yield [Row(str(index))]

    class Others:
        def submit(self, function, shard):
            found = Future()
            found.set_result([(shard[0].text.encode(), 0)])
            return found

    found = []
    for part in shards._in_order(Others(), shards_of(100), 4):
        done[0] += 1
        found += [int(ids) for ids, _ in part]
    assert found == list(range(100))


def test_a_fault_in_a_part_of_a_language_is_the_same_sentence(tmp_path):
    file = write_jsonl(tmp_path / "corpus" / "deu.jsonl", [{"text": text} for text in sentences("deu", 600)])
    with file.open("a") as out:
        out.write("no JSON\n")
    (source,) = find_sources(str(tmp_path / "corpus"))
    tokenizer = new_tokenizer(NewBase(tokenizer="byte", tokens=1), ())
    said = []
    for number in (1, 2):
        with pytest.raises(BadInput) as caught:
            build_stores(
                [LanguageText(tmp_path / str(number), source)], Data(path="c"), tokenizer, num_processes=number
            )
        said.append(str(caught.value))
    assert said[0] == said[1] and "line 601" in said[0] and not (tmp_path / "2").exists()


def test_a_script_that_does_not_ask_whether_it_is_the_main_program_runs_once(corpus, tmp_path):
    script = tmp_path / "script.py"
    script.write_text(
        f"""
from pathlib import Path
from clustering.corpora.find import find_sources
from xelm.corpus.tokens.languages import LanguageText, build_stores
from xelm.models.tokenizers import new_tokenizer
from xelm.recipe.recipe import Data, NewBase
with Path({str(tmp_path / "runs")!r}).open("a") as out:
    out.write("once ")
texts = [LanguageText(Path({str(tmp_path / "cache")!r}) / s.code, s) for s in find_sources({str(corpus)!r})]
stores = build_stores(texts, Data(path="corpus"), new_tokenizer(NewBase(tokens=1), ()), num_processes=2)
print(sorted(stores))
"""
    )
    done = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == str(sorted(LANGUAGES)) and "cannot" not in done.stderr
    assert (tmp_path / "runs").read_text() == "once "


def test_where_no_processes_can_be_begun_one_does_all(corpus, tmp_path, monkeypatch, caplog):
    def refuse(*_args, **_kwargs):
        raise PermissionError("no semaphores here")

    monkeypatch.setattr(elsewhere, "ProcessPoolExecutor", refuse)
    tokenizer = new_tokenizer(NewBase(tokenizer="byte", tokens=1), ())
    found = build_stores(texts(corpus, tmp_path / "cache"), Data(path=str(corpus)), tokenizer, num_processes=2)
    assert sorted(found) == sorted(LANGUAGES)
    assert "no semaphores here" in caplog.text and "goes on in one" in caplog.text
    caplog.clear()
    (alone,) = build_stores(
        texts(corpus, tmp_path / "part")[:1], Data(path=str(corpus)), tokenizer, num_processes=2
    ).values()
    assert alone.counts == found["deu"].counts and "no semaphores here" in caplog.text


def test_processes_end_when_the_one_that_began_them_is_killed(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(
        """
import os, time
from tests.xelm.test_stores_together import say
from xelm.corpus.tokens.elsewhere import elsewhere
with elsewhere(2, say) as others:
    print(others.submit(os.getpid).result(), flush=True)
    others.submit(time.sleep, 600).result()
"""
    )
    here = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    with subprocess.Popen([sys.executable, str(script)], stdout=subprocess.PIPE, text=True, env=here) as process:
        assert process.stdout is not None
        other = int(process.stdout.readline())
        os.kill(other, 0)
        process.kill()
    ends_at = time.monotonic() + 20
    while _runs(other) and time.monotonic() < ends_at:
        time.sleep(0.05)
    assert not _runs(other)


def test_a_program_told_to_end_does_not_wait_for_what_others_are_at():
    started = time.monotonic()
    with pytest.raises(KeyboardInterrupt), elsewhere.elsewhere(1, say) as others:
        others.submit(time.sleep, 0).result()
        others.submit(time.sleep, 600)
        raise KeyboardInterrupt
    assert time.monotonic() - started < 60


def say() -> None:
    """What a new process does first."""


def _runs(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return "(zombie)" not in Path(f"/proc/{pid}/status").read_text() if Path("/proc").is_dir() else True
