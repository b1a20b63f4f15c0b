"""Several languages tokenised at a time give the same stores as one after another, and say the same."""

from __future__ import annotations

import hashlib
import logging
import subprocess
import sys
from pathlib import Path

import pytest

from clustering.corpora.find import find_sources
from clustering.errors import BadInput
from tests.xelm.conftest import sentences
from xelm.corpus.tokens import languages
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
    with caplog.at_level(logging.INFO):
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
    assert languages._worth(small) == 1 and languages._worth([]) == 0
    monkeypatch.setattr(languages.os, "sched_getaffinity", lambda _: set(range(8)), raising=False)
    monkeypatch.setattr(languages, "MUCH_TEXT", 1000)
    assert languages._worth(small) == 3 and languages._worth(small[:1]) == 1


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

    monkeypatch.setattr(languages, "ProcessPoolExecutor", refuse)
    tokenizer = new_tokenizer(NewBase(tokenizer="byte", tokens=1), ())
    found = build_stores(texts(corpus, tmp_path / "cache"), Data(path=str(corpus)), tokenizer, num_processes=2)
    assert sorted(found) == sorted(LANGUAGES)
    assert "no semaphores here" in caplog.text and "goes on in one" in caplog.text
