"""Bad text is named by file and line with the way out, and counted where it is skipped."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clustering.errors import BadInput
from xelm.corpus.lines import read_lines

GOOD = b'{"text": "a good line"}'
BAD_LINES = {
    "corrupt JSON": (b'{"text": "cut', "not valid JSON"),
    "invalid UTF-8": (b'{"text": "\xff"}', r"not valid UTF-8 \(byte 0xff at column 11\)"),
    "missing field": (b'{"body": "words"}', r"no text in the field 'text' \(found: body\)"),
    "text that is no string": (b'{"text": 3}', "no text in the field 'text'"),
    "a list": (b"[1, 2]", r"no text in the field 'text' \(found: list\)"),
    "half a surrogate pair": (b'{"text": "\\ud83d"}', "half of a surrogate pair"),
    "bad split name": (b'{"text": "words", "split": "holdout"}', "split 'holdout' is none of train, valid"),
    "split that is a list": (b'{"text": "words", "split": ["test"]}', r"split \['test'\] is none of train, valid"),
    "endless nesting": (b"[" * 100_000, "not valid JSON"),
    "endless number": (b'{"text": "words", "id": ' + b"9" * 5000 + b"}", "line 3: "),
}


def _with_bad_line(file: Path, bad: bytes) -> Path:
    """The bad line is the third: the blank one before it counts, as in an editor."""
    file.write_bytes(b"\n".join([GOOD, b"", bad, GOOD]) + b"\n")
    return file


@pytest.mark.parametrize(("bad", "message"), BAD_LINES.values(), ids=BAD_LINES)
def test_a_bad_line_is_named_by_file_and_number_with_the_remedy(tmp_path: Path, bad: bytes, message: str) -> None:
    file = _with_bad_line(tmp_path / "deu.jsonl", bad)
    with pytest.raises(BadInput, match=message) as caught:
        list(read_lines(file))
    assert str(caught.value).startswith(f"{file}, line 3: ")
    assert 'Mend the line, or set data.on_bad_line = "skip".' in str(caught.value)


@pytest.mark.parametrize(("bad", "message"), BAD_LINES.values(), ids=BAD_LINES)
def test_a_bad_line_is_skipped_and_told_where_that_is_wanted(tmp_path: Path, bad: bytes, message: str) -> None:
    skipped: list[str] = []
    rows = list(read_lines(_with_bad_line(tmp_path / "deu.jsonl", bad), skipped=skipped))
    assert [row.text for row in rows] == ["a good line"] * 2
    assert len(skipped) == 1
    assert "line 3" in skipped[0]


def test_a_txt_file_is_a_document_a_line(tmp_path: Path) -> None:
    file = tmp_path / "deu.txt"
    file.write_bytes("\ufeffeins\r\n\r\n  \nzwei {\n\xa0drei".encode())
    assert [row.text for row in read_lines(file)] == ["eins", "zwei {", "\xa0drei"]


def test_invalid_utf8_in_a_txt_file_is_named_by_line(tmp_path: Path) -> None:
    file = tmp_path / "deu.txt"
    file.write_bytes(b"eins\nzw\xe9i\n")
    with pytest.raises(BadInput, match=r"deu.txt, line 2: not valid UTF-8 \(byte 0xe9 at column 3\)"):
        list(read_lines(file))


@pytest.mark.parametrize("name", ["deu.txt", "deu.jsonl"])
@pytest.mark.parametrize("content", [b"", b"\n \n"], ids=["empty", "blank lines"])
def test_a_file_without_text_is_named(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(BadInput, match=rf"{name}: no text in it. Add text, or remove the file"):
        list(read_lines(tmp_path / name))


def test_a_file_of_nothing_but_skipped_lines_is_named(tmp_path: Path) -> None:
    (tmp_path / "deu.jsonl").write_bytes(b"{\n{\n")
    with pytest.raises(BadInput, match="no text in it"):
        list(read_lines(tmp_path / "deu.jsonl", skipped=[]))


@pytest.mark.parametrize("skipped", [None, []], ids=["error", "skip"])
def test_a_truncated_gzip_is_refused_even_where_bad_lines_are_skipped(
    tmp_path: Path, skipped: list[str] | None
) -> None:
    file = tmp_path / "deu.jsonl.gz"
    whole = gzip.compress(b"".join(b'{"text": "%d"}\n' % i for i in range(5000)))
    file.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(BadInput, match=r"deu.jsonl.gz: not a whole gzip file .* Copy it again"):
        list(read_lines(file, skipped=skipped))


def test_a_gzip_that_is_none_is_refused(tmp_path: Path) -> None:
    (tmp_path / "deu.jsonl.gz").write_bytes(GOOD)
    with pytest.raises(BadInput, match="not a whole gzip file"):
        list(read_lines(tmp_path / "deu.jsonl.gz"))


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"deu.jsonl: no such file"):
        list(read_lines(tmp_path / "deu.jsonl"))


def test_the_field_of_the_text_can_be_chosen_and_ids_are_kept(tmp_path: Path) -> None:
    (tmp_path / "deu.jsonl").write_text('{"body": "words", "id": 7, "split": "dev"}\n', encoding="utf-8")
    (row,) = read_lines(tmp_path / "deu.jsonl", "body")
    assert (row.text, row.id, row.split) == ("words", 7, "dev")


@given(texts=st.lists(st.text(st.characters(exclude_categories=("Cs",)), min_size=1), min_size=1, max_size=5))
def test_any_text_comes_back_as_it_was_written(tmp_path_factory: pytest.TempPathFactory, texts: list[str]) -> None:
    file = tmp_path_factory.mktemp("any") / "deu.jsonl"
    file.write_text(
        "".join(json.dumps({"text": t}, ensure_ascii=False) + "\n" for t in [*texts, "x"]), encoding="utf-8"
    )
    assert [row.text for row in read_lines(file)] == [t for t in texts if t.strip()] + ["x"]
