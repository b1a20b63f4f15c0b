"""Where the text of each language is: files, folders of shards, repositories of datasets."""

from __future__ import annotations

import gzip
import hashlib
import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest

from clustering.corpora.find import Source, find_sources
from clustering.corpora.rows import Reading, Row
from clustering.errors import BadInput
from clustering.files import sha256_of
from clustering.sources.rank import rank_sources
from tests.xelm.conftest import make_corpus, write_jsonl


def zstd(data: bytes) -> bytes:
    """Packed as `zstd` does."""
    import pyarrow

    return bytes(pyarrow.compress(data, codec="zstd", asbytes=True))


ROWS = [
    {"text": f"Satz {i}\u2028mit\x85Zeichen", "split": "test" if i % 3 == 0 else "train", "id": i} for i in range(9)
]


def _parquet(file: Path, rows: list[dict[str, Any]]) -> Path:
    import datasets

    file.parent.mkdir(parents=True, exist_ok=True)
    datasets.Dataset.from_list(rows).to_parquet(str(file))
    return file


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    """Three languages."""
    return make_corpus(tmp_path / "three", 3)


@pytest.fixture
def hub_like(tmp_path: Path) -> Path:
    """A dataset repository on disk: a card with one config per language, data in a folder of its own."""
    repository = tmp_path / "repository"
    for code in ("deu", "swh"):
        for split in ("train", "test"):
            rows = [{"text": f"{code} {split} {i}"} for i in range(3)]
            write_jsonl(repository / "data" / f"{code}-{split}.jsonl", rows)
    configs = "".join(
        f"- config_name: {name}\n  data_files:\n"
        f"  - split: train\n    path: data/{code}-train.jsonl\n  - split: {test}\n    path: data/{code}-test.jsonl\n"
        for name, code, test in (("deu_Latn", "deu", "validation"), ("sw", "swh", "test"))
    )
    (repository / "README.md").write_text(f"---\nconfigs:\n{configs}---\n# A corpus\n", encoding="utf-8")
    return repository


def test_every_format_gives_the_same_documents(tmp_path: Path) -> None:
    lines = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in ROWS)
    for folder in ("jsonl", "gz", "parquet"):
        (tmp_path / folder).mkdir()
    (tmp_path / "jsonl" / "deu.jsonl").write_text(lines, encoding="utf-8")
    (tmp_path / "gz" / "deu.jsonl.gz").write_bytes(gzip.compress(lines.encode()))
    _parquet(tmp_path / "parquet" / "deu.parquet", ROWS)
    expected = [Row(row["text"], row["split"], row["id"]) for row in ROWS]
    for folder in ("jsonl", "gz", "parquet"):
        (source,) = find_sources(str(tmp_path / folder))
        assert list(source.rows()) == expected, folder


def test_txt_gives_the_texts_of_jsonl(tmp_path: Path) -> None:
    texts = ["eins", "zwei\u2028zwei", "drei"]
    write_jsonl(tmp_path / "a" / "deu.jsonl", list(texts))
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "deu.txt").write_text("\n".join(texts), encoding="utf-8")
    for folder in ("a", "b"):
        assert [row.text for row in find_sources(str(tmp_path / folder))[0].rows()] == texts


def test_files_are_found_by_any_name_of_the_language_and_sorted(tmp_path: Path) -> None:
    for name in ("sw.jsonl", "deu_Latn.jsonl", "eng.txt"):
        (tmp_path / name).write_text('{"text": "x"}\n', encoding="utf-8")
    (tmp_path / "README.md").touch()
    (tmp_path / ".hidden.jsonl").touch()
    (tmp_path / "empty-folder").mkdir()
    assert [source.code for source in find_sources(str(tmp_path))] == ["deu", "eng", "swa"]


def test_shards_of_a_folder_are_one_language_in_the_order_of_their_names(tmp_path: Path) -> None:
    for i in (1, 0):
        write_jsonl(tmp_path / "deu" / f"part-{i}.jsonl", [f"shard {i}"])
    (tmp_path / "deu" / "part-2.txt").write_text("shard 2", encoding="utf-8")
    (source,) = find_sources(str(tmp_path))
    assert [row.text for row in source.rows()] == ["shard 0", "shard 1", "shard 2"]


def test_a_file_whose_name_is_no_language_is_named_with_the_remedy(tmp_path: Path) -> None:
    write_jsonl(tmp_path / "qqzz.jsonl", ["x"])
    with pytest.raises(BadInput, match=rf"{tmp_path / 'qqzz.jsonl'}: .*Rename the file to its language's ISO 639-3"):
        find_sources(str(tmp_path))


@pytest.mark.parametrize("name", ["eng-spa.txt", "swa_kin.jsonl", "cbk-zam.jsonl.gz"])
def test_a_file_named_after_two_languages_is_read_as_neither(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("uno\n", encoding="utf-8")
    with pytest.raises(
        BadInput, match=rf"{name}: Unknown language .* no registered script, region or extended language"
    ):
        find_sources(str(tmp_path))
    write_jsonl(tmp_path / "deu.jsonl", ["eins"])
    with pytest.raises(BadInput, match=name):
        rank_sources("deu", None, tmp_path)


@pytest.mark.parametrize("line", ['{"text": ' + "[" * 100_000, '{"text": "uno", "id": ' + "9" * 5_000 + "}"])
def test_a_line_that_json_cannot_read_is_told_alike_by_both_readers(tmp_path: Path, line: str) -> None:
    (tmp_path / "spa.jsonl").write_text(f"{line}\n", encoding="utf-8")
    write_jsonl(tmp_path / "ita.jsonl", ["uno"])
    for read in (lambda: list(find_sources(str(tmp_path))[1].texts()), lambda: rank_sources("spa", None, tmp_path)):
        with pytest.raises(BadInput, match=r"spa\.jsonl, line 1: ") as caught:
            read()
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("other", ["deu.txt", "de.jsonl", "deu_Latn.jsonl.gz", "German.parquet"])
def test_two_files_of_one_language_are_both_named_with_the_remedy(tmp_path: Path, other: str) -> None:
    write_jsonl(tmp_path / "deu.jsonl", ["x"])
    (tmp_path / other).touch()
    with pytest.raises(BadInput, match=r"are the same language \(deu\): put them into one folder") as caught:
        find_sources(str(tmp_path))
    assert "deu.jsonl" in str(caught.value)
    assert other in str(caught.value)


def test_a_macrolanguage_and_its_member_are_one_language(tmp_path: Path) -> None:
    write_jsonl(tmp_path / "swa.jsonl", ["x"])
    write_jsonl(tmp_path / "swh.jsonl", ["x"])
    with pytest.raises(BadInput, match="are the same language"):
        find_sources(str(tmp_path))


def test_wanted_languages_are_chosen_by_any_name_and_each_once(corpus: Path) -> None:
    assert [s.code for s in find_sources(str(corpus), ["Russian", "nl", "rus"])] == ["nld", "rus"]


def test_a_wanted_language_without_text_is_named_with_what_there_is(corpus: Path) -> None:
    with pytest.raises(BadInput, match=r"no text for 'fra'. There is: deu, nld, rus"):
        find_sources(str(corpus), ["deu", "fra"])


def test_an_empty_folder_says_how_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=rf"{tmp_path}: "):
        find_sources(str(tmp_path))


def test_a_file_in_place_of_a_folder_is_refused(corpus: Path) -> None:
    with pytest.raises(BadInput, match=r"is a file; .* names a folder"):
        find_sources(str(corpus / "deu.jsonl"))


def test_what_is_neither_a_folder_nor_a_dataset_is_refused() -> None:
    with pytest.raises(BadInput, match="neither a folder here nor a dataset that can be reached"):
        find_sources("no/such-dataset")


def test_a_fingerprint_follows_the_text_and_how_it_is_read(tmp_path: Path) -> None:
    file = write_jsonl(tmp_path / "a" / "deu.jsonl", ["x"])
    first = find_sources(str(tmp_path / "a"))[0].fingerprint()
    shutil.copytree(tmp_path / "a", tmp_path / "b")
    assert find_sources(str(tmp_path / "b"))[0].fingerprint() == first, "the folder does not matter"
    file.rename(file.with_suffix(".txt"))
    assert find_sources(str(tmp_path / "a"))[0].fingerprint() != first, "the same bytes read as another format"
    write_jsonl(tmp_path / "b" / "deu.jsonl", ["x", "y"])
    assert find_sources(str(tmp_path / "b"))[0].fingerprint() != first


def test_a_dataset_with_one_config_per_language_is_read_like_files(hub_like: Path) -> None:
    sources = find_sources(str(hub_like))
    assert [source.code for source in sources] == ["deu", "swa"]
    rows = list(sources[0].rows())
    assert [(row.text, row.split) for row in rows[2:4]] == [("deu train 2", "train"), ("deu test 0", "validation")]
    assert [s.code for s in find_sources(str(hub_like), ["swh"])] == ["swa"]


def test_a_dataset_config_changes_its_fingerprint_with_its_files(hub_like: Path) -> None:
    deu, swa = (source.fingerprint() for source in find_sources(str(hub_like)))
    assert deu != swa
    write_jsonl(hub_like / "data" / "deu-train.jsonl", ["more"])
    assert find_sources(str(hub_like))[0].fingerprint() != deu


def test_a_row_of_a_dataset_without_text_is_named_by_number(tmp_path: Path) -> None:
    _parquet(tmp_path / "deu.parquet", [{"text": "x"}, {"text": None}])
    (source,) = find_sources(str(tmp_path))
    with pytest.raises(BadInput, match=r"deu.parquet, row 2: no text in the field 'text'"):
        list(source.rows())
    with pytest.raises(BadInput, match=r"row 1: no text in the field 'body' \(found: text\)"):
        list(source.rows(Reading(text_field="body")))


def test_a_row_of_a_dataset_without_text_is_skipped_and_told_where_that_is_wanted(tmp_path: Path) -> None:
    _parquet(tmp_path / "deu.parquet", [{"text": "x"}, {"text": None}, {"text": "y"}])
    (source,) = find_sources(str(tmp_path))
    skipped: list[str] = []
    assert [row.text for row in source.rows(skipped=skipped)] == ["x", "y"]
    assert len(skipped) == 1


def test_an_unknown_split_of_a_dataset_is_named(tmp_path: Path) -> None:
    _parquet(tmp_path / "deu.parquet", [{"text": "x", "split": "train"}, {"text": "y", "split": "holdout"}])
    (source,) = find_sources(str(tmp_path))
    with pytest.raises(BadInput, match="holdout"):
        list(source.rows())


def test_a_broken_parquet_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "deu.parquet").write_bytes(b"PAR1 no parquet")
    (source,) = find_sources(str(tmp_path))
    with pytest.raises(BadInput, match=r"deu.parquet"):
        list(source.rows())


def test_an_empty_parquet_file_is_named(tmp_path: Path) -> None:
    import pyarrow
    from pyarrow import parquet

    parquet.write_table(pyarrow.table({"text": pyarrow.array([], pyarrow.string())}), tmp_path / "deu.parquet")
    (source,) = find_sources(str(tmp_path))
    with pytest.raises(BadInput, match=r"deu.parquet: no text in it"):
        list(source.rows())


@pytest.mark.parametrize(
    "name", ["spa.csv", "spa.json", "SPA.JSONL", "spa.txt.gz", "spa.jsonl.zst", "es.TSV", "spa.ndjson"]
)
def test_no_file_of_a_language_is_left_out_in_silence(tmp_path: Path, name: str) -> None:
    write_jsonl(tmp_path / "deu.jsonl", ["eins"])
    texts = {".csv": "text\nuno\n", ".tsv": "text\nuno\n", ".gz": "uno\n"}
    content = texts.get(Path(name).suffix.lower(), '{"text": "uno"}\n').encode()
    packing = {".gz": gzip.compress, ".zst": zstd}
    (tmp_path / name).write_bytes(packing.get(Path(name).suffix, bytes)(content))
    sources = find_sources(str(tmp_path))
    assert {source.code: list(source.texts()) for source in sources} == {"deu": ["eins"], "spa": ["uno"]}


def test_what_is_no_corpus_is_named_in_a_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    write_jsonl(tmp_path / "deu.jsonl", ["x"])
    write_jsonl(tmp_path / "nld" / "part.jsonl", ["x"])
    for name in ("LIES.MICH", "spa.docx", "ita.txt.bz2", "nld/notes.doc"):
        (tmp_path / name).touch()
    (tmp_path / "pictures").mkdir()
    (tmp_path / "nld" / "old").mkdir()
    (tmp_path / "lexicon").mkdir()
    (tmp_path / "lexicon" / "ind-ace.csv").write_text("a,b\n")
    (tmp_path / "stats.json").write_text("{}")
    os.mkfifo(tmp_path / "rus.txt")
    assert [source.code for source in find_sources(str(tmp_path))] == ["deu", "nld"]
    for name in (
        "LIES.MICH",
        "spa.docx",
        "ita.txt.bz2",
        "nld/notes.doc",
        "nld/old",
        "pictures/",
        "lexicon",
        "stats.json",
    ):
        assert name in caplog.text, name
    assert "rus.txt" in caplog.text


def test_a_dangling_link_is_refused_for_every_user(tmp_path: Path) -> None:
    write_jsonl(tmp_path / "deu.jsonl", ["x"])
    (tmp_path / "nld.jsonl").symlink_to(tmp_path / "gone.jsonl")
    with pytest.raises(BadInput, match=r"nld.jsonl: a link to a file that is not there"):
        find_sources(str(tmp_path))
    with pytest.raises(BadInput, match=r"nld.jsonl: a link"):
        rank_sources("deu", None, tmp_path)


def test_ranking_and_training_read_the_same_documents(tmp_path: Path) -> None:
    (tmp_path / "deu.jsonl").write_bytes('\ufeff{"text": "eins zwei"}\n\n{"text": "drei"}\n'.encode())
    (tmp_path / "nld.txt").write_bytes(b"een\rtwee\ndrie\n")
    write_jsonl(tmp_path / "rus" / "0.jsonl", ["раз"])
    (tmp_path / "rus" / "1.csv").write_text("id,text\n7,два\n", encoding="utf-8")
    report = rank_sources("deu", None, tmp_path, cache=tmp_path / "kept")
    trained = {source.code: list(source.texts()) for source in find_sources(str(tmp_path))}
    assert trained == {"deu": ["eins zwei", "drei"], "nld": ["een\rtwee", "drie"], "rus": ["раз", "два"]}
    assert {code: facts["documents"] for code, facts in report.profiles.items()} == {"deu": 2, "nld": 2, "rus": 2}


def test_a_strange_name_does_not_stand_in_the_way_of_languages_that_are_named(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for name in ("deu", "qqzz"):
        write_jsonl(tmp_path / f"{name}.jsonl", ["x"])
    assert [source.code for source in find_sources(str(tmp_path), ["deu"])] == ["deu"]
    assert "qqzz.jsonl is not read: its name is no language" in caplog.text


def test_the_format_is_in_the_fingerprint_and_that_of_older_runs_stays(tmp_path: Path) -> None:
    prints = set()
    for name in ("deu.txt", "deu.jsonl", "deu.csv", "deu.tsv", "deu.json"):
        (tmp_path / name).write_bytes(b"text\n")
        prints.add(Source("deu", (tmp_path / name,)).fingerprint())
    assert len(prints) == 5
    content = sha256_of(tmp_path / "deu.txt")
    assert hashlib.sha256(f".txt{content}".encode()).hexdigest() in prints
    packed = tmp_path / "deu.jsonl.gz"
    packed.write_bytes(b"x")
    assert Source("deu", (packed,)).fingerprint() == hashlib.sha256(f".gz{sha256_of(packed)}".encode()).hexdigest()
