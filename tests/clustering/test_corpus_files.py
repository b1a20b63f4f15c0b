"""Bad text is named by file and line with the way out, and counted where it is skipped."""

from __future__ import annotations

import csv
import gzip
import io
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clustering.corpora.read import read_file
from clustering.corpora.rows import Reading
from clustering.errors import BadInput


def zstd(data: bytes) -> bytes:
    """Packed as `zstd` does."""
    import pyarrow

    return bytes(pyarrow.compress(data, codec="zstd", asbytes=True))


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
    "endless number": (b'{"text": "words", "id": ' + b"9" * 5000 + b"}", "line 3: a number of too many digits"),
    "UTF-16": ('{"text": "words"}'.encode("utf-16-le"), "not valid JSON"),
    "mostly NUL": (b'{"text": "w\\u0000o\\u0000r\\u0000"}', "full of NUL characters: UTF-16 or binary"),
}


def _with_bad_line(file: Path, bad: bytes) -> Path:
    """The bad line is the third: the blank one before it counts, as in an editor."""
    file.write_bytes(b"\n".join([GOOD, b"", bad, GOOD]) + b"\n")
    return file


@pytest.mark.parametrize(("bad", "message"), BAD_LINES.values(), ids=BAD_LINES)
def test_a_bad_line_is_named_by_file_and_number_with_the_remedy(tmp_path: Path, bad: bytes, message: str) -> None:
    file = _with_bad_line(tmp_path / "deu.jsonl", bad)
    with pytest.raises(BadInput, match=message) as caught:
        list(read_file(file))
    assert str(caught.value).startswith(f"{file}, line 3: ")
    assert str(caught.value).endswith(". Correct the line.")


@pytest.mark.parametrize(("bad", "message"), BAD_LINES.values(), ids=BAD_LINES)
def test_a_bad_line_is_skipped_and_told_where_that_is_wanted(tmp_path: Path, bad: bytes, message: str) -> None:
    skipped: list[str] = []
    rows = list(read_file(_with_bad_line(tmp_path / "deu.jsonl", bad), skipped=skipped))
    assert [row.text for row in rows] == ["a good line"] * 2
    assert len(skipped) == 1
    assert "line 3" in skipped[0]


def test_a_txt_file_is_a_document_a_line(tmp_path: Path) -> None:
    file = tmp_path / "deu.txt"
    file.write_bytes("\ufeffeins\r\n\r\n  \nzwei {\n\xa0drei".encode())
    assert [row.text for row in read_file(file)] == ["eins", "zwei {", "\xa0drei"]


def test_invalid_utf8_in_a_txt_file_is_named_by_line(tmp_path: Path) -> None:
    file = tmp_path / "deu.txt"
    file.write_bytes(b"eins\nzw\xe9i\n")
    with pytest.raises(BadInput, match=r"deu.txt, line 2: not valid UTF-8 \(byte 0xe9 at column 3\)"):
        list(read_file(file))


@pytest.mark.parametrize("name", ["deu.txt", "deu.jsonl"])
@pytest.mark.parametrize("content", [b"", b"\n \n"], ids=["empty", "blank lines"])
def test_a_file_without_text_is_named(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(BadInput, match=rf"{name}: no text in it. Add text, or remove the file"):
        list(read_file(tmp_path / name))


def test_a_file_of_nothing_but_skipped_lines_is_named(tmp_path: Path) -> None:
    (tmp_path / "deu.jsonl").write_bytes(b"{\n{\n")
    with pytest.raises(BadInput, match="no text in it"):
        list(read_file(tmp_path / "deu.jsonl", skipped=[]))


@pytest.mark.parametrize("skipped", [None, []], ids=["error", "skip"])
def test_a_truncated_gzip_is_refused_even_where_bad_lines_are_skipped(
    tmp_path: Path, skipped: list[str] | None
) -> None:
    file = tmp_path / "deu.jsonl.gz"
    whole = gzip.compress(b"".join(b'{"text": "%d"}\n' % i for i in range(5000)))
    file.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(BadInput, match=r"deu.jsonl.gz: not a whole gzip file .* Copy it again"):
        list(read_file(file, skipped=skipped))


def test_a_gzip_that_is_none_is_refused(tmp_path: Path) -> None:
    (tmp_path / "deu.jsonl.gz").write_bytes(GOOD)
    with pytest.raises(BadInput, match="not a whole gzip file"):
        list(read_file(tmp_path / "deu.jsonl.gz"))


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"deu.jsonl: no such file"):
        list(read_file(tmp_path / "deu.jsonl"))


def test_the_field_of_the_text_can_be_chosen_and_ids_are_kept(tmp_path: Path) -> None:
    (tmp_path / "deu.jsonl").write_text('{"body": "words", "id": 7, "split": "dev"}\n', encoding="utf-8")
    (row,) = read_file(tmp_path / "deu.jsonl", Reading(text_field="body"))
    assert (row.text, row.id, row.split) == ("words", 7, "dev")


@given(
    texts=st.lists(
        st.text(st.characters(exclude_categories=("Cs",), exclude_characters="\0"), min_size=1), min_size=1, max_size=5
    )
)
def test_any_text_comes_back_as_it_was_written(tmp_path_factory: pytest.TempPathFactory, texts: list[str]) -> None:
    file = tmp_path_factory.mktemp("any") / "deu.jsonl"
    file.write_text(
        "".join(json.dumps({"text": t}, ensure_ascii=False) + "\n" for t in [*texts, "x"]), encoding="utf-8"
    )
    assert [row.text for row in read_file(file)] == [t for t in texts if t.strip()] + ["x"]


TEXTS = ['Komm, "Kind"!', "zwei\u2028Teile\x85hier", "drei;vier\tfünf", "ein\nzwei"]


def _write(file: Path, texts: list[str]) -> None:
    """Texts with ids, as the ending of the name says."""
    rows = [{"id": f"d{n}", "text": text} for n, text in enumerate(texts)]
    kind = file.name.split(".")[1].lower()
    out = io.StringIO(newline="")
    if kind in ("csv", "tsv"):
        table = csv.DictWriter(out, ["id", "text"], dialect="excel" if kind == "csv" else "excel-tab")
        table.writeheader()
        table.writerows(rows)
    elif kind == "json":
        json.dump(rows, out, ensure_ascii=False, indent=2)
    else:
        out.write("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))
    data = out.getvalue().encode()
    if file.suffix.lower() == ".gz":
        data = gzip.compress(data)
    elif file.suffix.lower() == ".zst":
        data = zstd(data)
    file.write_bytes(data)


@pytest.mark.parametrize("packed", ["", ".gz", ".zst", ".GZ"])
@pytest.mark.parametrize("kind", [".jsonl", ".ndjson", ".json", ".csv", ".JSONL", ".Csv"])
def test_every_kind_and_compression_gives_the_same_documents(tmp_path: Path, kind: str, packed: str) -> None:
    file = tmp_path / f"deu{kind}{packed}"
    _write(file, TEXTS)
    rows = list(read_file(file))
    assert [row.text for row in rows] == TEXTS
    assert [row.id for row in rows] == ["d0", "d1", "d2", "d3"]


@pytest.mark.parametrize("packed", ["", ".gz", ".zst"])
def test_parquet_is_read_from_every_compression(tmp_path: Path, packed: str) -> None:
    import pyarrow
    from pyarrow import parquet

    file = tmp_path / "deu.parquet"
    parquet.write_table(pyarrow.table({"text": TEXTS, "id": [1, 2, 3, 4], "other": [0.5] * 4}), file)
    pack = {"": bytes, ".gz": gzip.compress, ".zst": zstd}[packed]
    (tmp_path / f"x.parquet{packed}").write_bytes(pack(file.read_bytes()))
    assert [(row.text, row.id) for row in read_file(tmp_path / f"x.parquet{packed}")] == list(
        zip(TEXTS, [1, 2, 3, 4], strict=True)
    )


@pytest.mark.parametrize("packed", [".gz", ".zst"])
@pytest.mark.parametrize("kind", [".txt", ".jsonl", ".json", ".csv", ".parquet"])
def test_a_compressed_file_that_was_cut_is_refused(tmp_path: Path, kind: str, packed: str) -> None:
    import random

    rng = random.Random(0)
    file = tmp_path / f"deu{kind}{packed}"
    _write(tmp_path / f"deu.jsonl{packed}", ["".join(rng.choices("abcdefgh ", k=200)) for _ in range(5000)])
    whole = (tmp_path / f"deu.jsonl{packed}").read_bytes()
    file.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(BadInput, match=rf"{file.name}: (not a whole (gzip|zstd) file .*Copy it again|no column)"):
        list(read_file(file, skipped=[]))


def test_a_table_of_tabs_is_a_line_a_row_and_quotes_inside_are_text(tmp_path: Path) -> None:
    file = tmp_path / "deu.tsv"
    file.write_bytes(b'id\ttext\n1\t"Hallo" sagte er\n\n2\t"ein ""Wort"" mehr"\n3\tdas "Ende\n')
    assert [row.text for row in read_file(file)] == ['"Hallo" sagte er', 'ein "Wort" mehr', 'das "Ende']


def test_a_table_with_semicolons_as_excel_writes_it_is_read(tmp_path: Path) -> None:
    file = tmp_path / "deu.csv"
    file.write_bytes("\ufefftext;n\r\nHallo, Welt;1,5\r\n".encode())
    assert [row.text for row in read_file(file)] == ["Hallo, Welt"]


@pytest.mark.parametrize("name", ["deu.csv", "deu.tsv"])
def test_a_table_without_the_column_says_which_it_has_and_how_to_name_it(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("nummer,satz\n1,Hallo\n".replace(",", "\t" if name.endswith("tsv") else ","))
    with pytest.raises(BadInput, match=rf"{name}: no column 'text' .*\(found: nummer, satz\).*text_field"):
        list(read_file(tmp_path / name))
    assert [row.text for row in read_file(tmp_path / name, Reading(text_field="satz"))] == ["Hallo"]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("deu.csv", b'text,n\nein,1\n"offen,2\n', "line 3: unexpected end of data"),
        ("deu.csv", b'text,n\nein,1\n"a"b,2\n', "line 3: ',' expected"),
        ("deu.csv", b"text,n\nein,1\nzwei\n", r"line 3: 1 column\(s\) where the first line has 2"),
        ("deu.tsv", b"text\tn\nein\t1\nzwei\n", r"line 3: 1 column\(s\) where the first line has 2"),
        ("deu.csv", b"text,n\nein,1\nzw\xe9i,2\n", "line 3: not valid UTF-8"),
        ("deu.tsv", b"text\tn\nein\t1\nzw\xe9i\t2\n", "line 3: not valid UTF-8"),
        ("deu.csv", b"text,split\nein,train\nzwei,holdout\n", "line 3: split 'holdout' is none of"),
        ("deu.json", b'[\n{"text": "a"},\n{"body": "b"}]', r"line 3: no text in the field 'text' \(found: body\)"),
    ],
)
def test_a_bad_row_of_a_table_is_named_by_its_line_and_can_be_skipped(
    tmp_path: Path, name: str, content: bytes, message: str
) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(BadInput, match=rf"{name}, {message}"):
        list(read_file(tmp_path / name))
    skipped: list[str] = []
    assert len(list(read_file(tmp_path / name, skipped=skipped))) == 1
    assert len(skipped) == 1


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('[{"text": "a"}', "line 1: the file ends inside the array"),
        ('[{"text": "a"},', "line 1: the file ends inside the array"),
        ('[\n{"text": "a"}\n{"text": "b"}]', "line 3: a comma or ] is missing"),
        ('[{"text": "a"},]', "line 1: a comma stands before the end"),
        ('[{"text": "a"}] x', "line 1: something stands after the end"),
        ('[\n{"text": "a"},\n{"text": }]', "line 3: not valid JSON"),
        ('[{"text": "a"},\n{"text": "b', "line 2: not valid JSON"),
        ("[" * 100_000, "not valid JSON"),
        ('[{"text": "a", "id": ' + "9" * 5000 + "}]", "line 1: a number of too many digits"),
    ],
)
def test_a_broken_json_file_is_refused_even_where_bad_rows_are_skipped(
    tmp_path: Path, content: str, message: str
) -> None:
    (tmp_path / "deu.json").write_text(content, encoding="utf-8")
    with pytest.raises(BadInput, match=message):
        list(read_file(tmp_path / "deu.json", skipped=[]))


def test_a_json_file_of_objects_one_after_another_is_read_whatever_its_lines(tmp_path: Path) -> None:
    (tmp_path / "deu.json").write_text('\ufeff{"text":\n"a"}\n\n{"text": "b"} {"text": "c"}', encoding="utf-8")
    assert [row.text for row in read_file(tmp_path / "deu.json")] == ["a", "b", "c"]


@pytest.mark.parametrize("array", [True, False])
def test_a_long_json_file_is_read_in_pieces(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, array: bool) -> None:
    monkeypatch.setattr("clustering.corpora.lines._CHUNK", 7)
    texts = ["ä" * n + '"\\\n' for n in range(1, 40)]
    values = [json.dumps({"text": text, "id": n}, ensure_ascii=n % 2 == 0) for n, text in enumerate(texts)]
    content = f"[{','.join(values)}]" if array else "\n".join(values)
    (tmp_path / "deu.json").write_text(content, encoding="utf-8")
    assert [(row.text, row.id) for row in read_file(tmp_path / "deu.json")] == [(t, n) for n, t in enumerate(texts)]


def test_a_document_longer_than_the_limit_of_the_csv_module_is_read(tmp_path: Path) -> None:
    (tmp_path / "deu.csv").write_text(f"text\n{'wort ' * 60_000}\n", encoding="utf-8")
    assert [len(row.text) for row in read_file(tmp_path / "deu.csv")] == [300_000]


def test_a_lone_carriage_return_ends_no_document(tmp_path: Path) -> None:
    (tmp_path / "deu.txt").write_bytes(b"eins\rzwei\ndrei\n")
    assert [row.text for row in read_file(tmp_path / "deu.txt")] == ["eins\rzwei", "drei"]


def test_the_column_of_the_id_can_be_chosen(tmp_path: Path) -> None:
    (tmp_path / "deu.csv").write_text("key,text\nMAT.1,Hallo\n", encoding="utf-8")
    assert [row.id for row in read_file(tmp_path / "deu.csv", Reading(id_field="key"))] == ["MAT.1"]


def test_a_file_of_another_kind_is_refused_with_the_kinds_there_are(tmp_path: Path) -> None:
    (tmp_path / "deu.docx").write_bytes(b"PK")
    with pytest.raises(BadInput, match=r"deu.docx: unknown kind of file. A corpus is read from \.txt, .*\.zst"):
        list(read_file(tmp_path / "deu.docx"))
