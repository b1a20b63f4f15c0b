"""Techniques of transfer: code-switching, translation, pseudo-labels; dictionaries and translators."""

from __future__ import annotations

import gzip
import random
import sys
from pathlib import Path
from typing import Any

import pytest

import xelm
from tests.xelm.transfers import recipe_of, translate_word_by_word, write_dictionary, write_task
from xelm import BadInput
from xelm.transferring.data.examples import Example
from xelm.transferring.dictionaries.dictionary import Table
from xelm.transferring.dictionaries.find import find_dictionary, open_dictionary
from xelm.transferring.dictionaries.freedict import FreeDict, translations
from xelm.transferring.techniques.code_switch import CodeSwitch
from xelm.transferring.translators.kinds import Command, FunctionTranslator
from xelm.transferring.translators.translator import translate


@pytest.fixture(scope="module")
def task(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_task(tmp_path_factory.mktemp("task"))


def _accuracy(report: xelm.TransferReport, technique: str, target: str = "spa") -> float:
    [row] = [row for row in report.table if row["technique"] == technique and row["sources"] == "eng"]
    return float(row["by_language"][target])


@pytest.mark.parametrize(
    "augment",
    [
        {"kind": "code-switch", "dictionary": "DICTIONARY"},
        {"kind": "translate-train", "translate": translate_word_by_word},
        {"kind": "translate-test", "translate": translate_word_by_word},
        {"kind": "back-translate", "translate": translate_word_by_word},
    ],
    ids=lambda augment: augment["kind"],
)
def test_a_technique_answers_a_language_that_zero_shot_cannot(
    task: Path, tmp_path: Path, augment: dict[str, Any]
) -> None:
    if "dictionary" in augment:
        augment = {**augment, "dictionary": str(write_dictionary(tmp_path / "words"))}
    recipe = recipe_of(task, augment=[augment], evaluate={"targets": ["spa", "nld"]}, sources={"languages": ["eng"]})
    report = xelm.transfer(recipe, tmp_path / "out")
    assert _accuracy(report, augment["kind"]) > 0.85 > 0.6 > _accuracy(report, "plain")
    [row] = [row for row in report.table if row["technique"] == augment["kind"]]
    assert row["against"]["value"] > 0.25 and row["against"]["low"] > 0
    if augment["kind"] == "code-switch":
        assert row["targets"] == 1
        assert report.skipped == [
            {
                "technique": "code-switch",
                "target": "nld",
                "sources": "eng",
                "reason": "no dictionary for these languages",
            }
        ]


def test_pseudo_labels_take_the_surest_texts(task: Path, tmp_path: Path) -> None:
    augment = [{"kind": "pseudo-label", "share": 0.5}]
    report = xelm.transfer(recipe_of(task, augment=augment, sources={"languages": ["deu"]}), tmp_path / "out")
    [row] = [row for row in report.rows if row.technique == "pseudo-label"]
    cell = next(cell for cell in row.transfer if cell.target == "nld")
    assert cell.num_taught == 63 + 31 or cell.num_taught == 63 + 32
    assert cell.accuracy.value > 0.8


def test_code_switching_replaces_words_and_phrases_in_place() -> None:
    lexicon = Table.of_pairs(
        [("United States", "Estados Unidos"), ("states", "estados"), ("big", "grande"), ("big", "gran")]
    )
    row = Example("The United States, big-hearted, are Big.", "eng", "x")
    switched, replaced, words = CodeSwitch(dictionary="x").switch(row, lexicon, random.Random(0))
    assert switched.text == "The Estados Unidos, big-hearted, are Grande."
    assert (replaced, words) == (3, 6)
    assert (switched.label, switched.made_by, switched.language) == ("x", "code-switch", "eng")
    single = CodeSwitch(dictionary="x", phrase=1).switch(row, lexicon, random.Random(0))[0]
    assert single.text == "The United Estados, big-hearted, are Grande."
    rows = [CodeSwitch(dictionary="x", rate=0.5).switch(row, lexicon, random.Random(n))[1] for n in range(200)]
    assert 250 < sum(rows) < 350  # half of two places, one of which counts for two words


def test_code_switching_keeps_one_label_for_each_word() -> None:
    lexicon = Table.of_pairs([("states", "estados"), ("of", "de los"), ("wolves", "lobos")])
    row = Example("states of wolve", "eng", tokens=("states", "of", "wolves"), tags=("N", "P", "N"))
    switched = CodeSwitch(dictionary="x").switch(row, lexicon, random.Random(0))[0]
    assert switched.tokens == ("estados", "of", "lobos") and switched.tags == row.tags
    found = CodeSwitch(dictionary="x", lose_letters=2).switch(Example("statesly", "eng"), lexicon, random.Random(0))[0]
    assert found.text == "estados"


def _write_freedict(folder: Path) -> Path:
    digits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"

    def number(value: int) -> str:
        text = ""
        while value or not text:
            text, value = digits[value % 64] + text, value // 64
        return text

    entries = {
        "00databaseshort": "A dictionary\n",
        "run": 'run /rʌn/\n1. laufen, rennen <v>\n      "run a mile" - eine Meile laufen\n see: {runs}\n',
        "water": "water /w/\nWasser <neut>\n   Synonym: {aqua}\n",
        "long": "long\nso dass man lange erklären muss was es ist\n",
    }
    content, lines = b"", []
    for word, entry in entries.items():
        lines.append(f"{word}\t{number(len(content))}\t{number(len(entry.encode()))}")
        content += entry.encode()
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "freedict-eng-deu.index").write_text("\n".join(lines) + "\n", encoding="utf-8")
    (folder / "freedict-eng-deu.dict.dz").write_bytes(gzip.compress(content))
    return folder


def test_freedict_entries_give_translations_alone(tmp_path: Path) -> None:
    folder = _write_freedict(tmp_path)
    file = find_dictionary(folder, "eng", "deu")
    assert file is not None
    words = open_dictionary(file, "eng", "deu")
    assert words.find("run") == ["laufen", "rennen"]
    assert words.find("water") == ["Wasser"]
    assert not words.find("long") and not words.find("00databaseshort")
    assert len(words) == 3
    assert find_dictionary(folder, "deu", "eng") is None
    with pytest.raises(BadInput, match="translates from eng to deu"):
        open_dictionary(file, "deu", "eng")
    turkish = "water /w/\n1. su\n2. kara suları. water ballet su balesi\n"
    assert translations(turkish) == ["su", "kara suları"]


def test_a_damaged_freedict_is_refused(tmp_path: Path) -> None:
    folder = _write_freedict(tmp_path)
    index = folder / "freedict-eng-deu.index"
    index.write_text(index.read_text(encoding="utf-8") + "far\t////\t//\n", encoding="utf-8")
    with pytest.raises(BadInput, match="points beyond the end"):
        FreeDict(index)
    (folder / "freedict-eng-deu.dict.dz").write_bytes(b"no gzip")
    with pytest.raises(BadInput, match="not a whole dictzip file"):
        FreeDict(index)
    (folder / "freedict-eng-deu.dict.dz").unlink()
    with pytest.raises(BadInput, match="lies beside it"):
        FreeDict(index)


def test_tables_and_muse_files_are_dictionaries_of_their_names_languages(tmp_path: Path) -> None:
    (tmp_path / "ind-jav.csv").write_text(",indonesian,javanese\n0,abu,awu\n1,air,banyu\n", encoding="utf-8")
    (tmp_path / "en-tr.txt").write_text("water su\nwater deniz\n", encoding="utf-8")
    (tmp_path / "notes.txt").write_text("no dictionary", encoding="utf-8")
    file = find_dictionary(tmp_path, "ind", "jav")
    assert file is not None and open_dictionary(file, "ind", "jav").find("air") == ["banyu"]
    turned = find_dictionary(tmp_path, "jav", "ind")
    assert turned is not None and open_dictionary(turned, "jav", "ind").find("banyu") == ["air"]
    muse = find_dictionary(tmp_path, "eng", "tur")
    assert muse is not None and open_dictionary(muse, "eng", "tur").find("water") == ["su", "deniz"]
    assert find_dictionary(tmp_path, "eng", "deu") is None
    with pytest.raises(BadInput, match="no such dictionary"):
        find_dictionary(tmp_path / "nowhere", "eng", "deu")
    (tmp_path / "eng-deu.txt").write_text("water Wasser gut\n", encoding="utf-8")
    with pytest.raises(BadInput, match="line 1: 3 parts"):
        open_dictionary(tmp_path / "eng-deu.txt", "eng", "deu")


SHOUT = f"{sys.executable} -c 'import sys\nfor line in sys.stdin: print(line.strip().upper())'"
CUT = f"{sys.executable} -c 'import sys\nfor line in list(sys.stdin)[:-1]: print(line.strip())'"


def test_a_command_translates_each_text_once(tmp_path: Path) -> None:
    texts = ["one two", "three\nfour", "one two", ""]
    assert translate(Command(SHOUT), texts, "eng", "spa", tmp_path) == ["ONE TWO", "THREE FOUR", "ONE TWO", ""]
    asked: list[str] = []

    def upper(lines: list[str], source: str, target: str) -> list[str]:
        asked.extend(lines)
        return [line.upper() for line in lines]

    translate(FunctionTranslator(upper), texts, "eng", "spa", tmp_path)
    translate(FunctionTranslator(upper), [*texts, "five"], "eng", "spa", tmp_path)
    assert asked == ["one two", "three four", "five"]


@pytest.mark.parametrize(
    ("command", "message"),
    [
        (CUT, "1 lines came back for 2"),
        ("exit 3", "ended with exit code 3"),
        (f"{sys.executable} -c 'raise SystemExit(\"bad pair\")'", "exit code 1: bad pair"),
        ("true", "0 lines came back for 2"),
    ],
)
def test_a_translator_that_loses_lines_or_fails_is_refused(tmp_path: Path, command: str, message: str) -> None:
    with pytest.raises(BadInput, match=message):
        translate(Command(command), ["one", "two"], "eng", "spa", tmp_path)
    assert list(tmp_path.iterdir()) == []  # nothing of it is kept


def test_the_command_of_a_recipe_is_refused_when_it_loses_lines(task: Path, tmp_path: Path) -> None:
    augment = [{"kind": "translate-train", "command": CUT, "target": "spa"}]
    recipe = recipe_of(task, augment=augment, sources={"languages": ["eng"]})
    with pytest.raises(BadInput, match="no line can be trusted"):
        xelm.transfer(recipe, tmp_path / "out")


def test_a_command_serves_the_languages_that_it_names() -> None:
    assert Command("apertium -u eng-spa").pair() == ("eng", "spa")
    assert Command("apertium -u en-es").pair() == ("eng", "spa")
    assert Command("mt {source}-{target}").pair() is None and Command("mt {source}").is_general
    assert Command("cat").pair() is None
    assert Command("mt --from {source} --to {target}").identity("eng", "spa") == "mt --from eng --to spa"


def test_unchanged_and_empty_translations_are_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    translate(Command("cat"), ["one", "two"], "eng", "spa", tmp_path)
    assert "of 2 texts, 0 came back empty and 2 unchanged" in caplog.text


def test_a_technique_of_another_package_is_one_class(task: Path, tmp_path: Path) -> None:
    from dataclasses import dataclass

    from xelm.transferring.techniques.technique import TECHNIQUES, Technique, technique

    @technique
    @dataclass(frozen=True, kw_only=True)
    class Half(Technique):
        kind: str = "half"

        def training(self, rows: list[Example], cell: Any, lab: Any) -> list[Example]:
            return rows[::2]

    try:
        recipe = recipe_of(task, augment=[{"kind": "half"}], sources={"languages": ["deu"]})
        report = xelm.transfer(recipe, tmp_path / "out")
    finally:
        del TECHNIQUES._found["half"]
    [row] = [row for row in report.rows if row.technique == "half"]
    assert {cell.num_taught for cell in row.transfer} == {32}


def test_a_translation_model_gives_a_line_for_each_line(tmp_path: Path) -> None:
    import torch
    from transformers import BartConfig, BartForConditionalGeneration

    from tests.router.tiny import BYTE_VOCABULARY, byte_tokenizer
    from xelm.transferring.translators.kinds import ModelTranslator

    torch.manual_seed(0)
    config = BartConfig(
        vocab_size=BYTE_VOCABULARY,
        d_model=16,
        encoder_layers=1,
        decoder_layers=1,
        encoder_attention_heads=2,
        decoder_attention_heads=2,
        encoder_ffn_dim=16,
        decoder_ffn_dim=16,
        max_position_embeddings=300,
        pad_token_id=0,
        bos_token_id=1,
        eos_token_id=2,
        decoder_start_token_id=2,
        forced_eos_token_id=2,
    )
    BartForConditionalGeneration(config).save_pretrained(tmp_path / "model")
    byte_tokenizer().save_pretrained(tmp_path / "model")
    translator = ModelTranslator(str(tmp_path / "model"))
    found = translate(translator, ["one two", "three"], "eng", "spa", tmp_path / "kept")
    assert len(found) == 2
    assert translate(ModelTranslator("nowhere/at-all"), [], "eng", "spa", tmp_path / "kept") == []
    with pytest.raises(BadInput, match="no translation model"):
        translate(ModelTranslator(str(tmp_path)), ["one"], "eng", "spa", tmp_path / "kept")


def test_pairs_of_a_folder_are_labelled_by_the_plain_head_and_tested_sentences_are_left_out(tmp_path: Path) -> None:
    from tests.xelm.conftest import write_jsonl
    from tests.xelm.transfers import sentence, split_of, topic_of, word_in

    folder = write_task(tmp_path / "task", languages=("eng", "spa"))
    pairs = [
        {"text": " ".join(word_in(word, "spa") for word in words), "eng": " ".join(words)}
        for words in (sentence(n, topic_of(n)) for n in range(90))
    ]
    write_jsonl(tmp_path / "pairs" / "spa.jsonl", pairs)

    def align(sources: Any, targets: Any) -> list[set[tuple[int, int]]]:
        return [{(place, place) for place in range(len(words))} for words in sources]

    augment = [{"kind": "project", "parallel": str(tmp_path / "pairs"), "align": align, "keep": False}]
    recipe = recipe_of(folder, task={"kind": "tagging"}, augment=augment, sources={"languages": ["eng"]})
    report = xelm.transfer(recipe, tmp_path / "out")
    tested = sum(split_of(n) == "test" for n in range(90))
    assert f"project, spa: {tested} pairs are not aligned because a test holds the sentence" in report.notes
    [row] = [row for row in report.rows if row.technique == "project"]
    assert row.cells[0].num_taught == 90 - tested
    assert row.cells[0].accuracy.value > 0.9
