"""What the documents of a new text read as, and what follows: refused, told, left out or added."""

from __future__ import annotations

import logging
import random
from importlib.resources import files
from itertools import islice
from pathlib import Path

import pytest

from clustering.corpora.find import Source, source_of
from clustering.errors import BadInput
from tests.router.corpora import texts
from tests.router.test_spellings import to_latin
from tests.xelm.adding import contents, copy_of, new_text, train_tiny
from tests.xelm.conftest import write_jsonl
from xelm.adding.add import add_language
from xelm.adding.label import CleanedSource
from xelm.adding.languages_read import LanguageReader, related
from xelm.adding.text import addition_text
from xelm.run.experts import ExpertSet

ZULU = [
    "Bonke abantu bazalwa bekhululekile belingana ngesithunzi nangamalungelo. Bahlanganiswe wumcabango nangunembeza "
    "futhi kufanele baphathane ngomoya wobunye.",
    "Wonke umuntu unelungelo lokuphila, inkululeko nokuphepha komuntu. Akekho umuntu oyogcinwa ebugqilini.",
    "Umuntu wonke unelungelo lokwamukelwa njengomuntu phambi komthetho noma kuphi lapho ekhona.",
]
ASTURIAN = [
    "Tolos seres humanos nacen llibres y iguales en dignidá y drechos y, pola mor de la razón y la conciencia de so, "
    "han comportase hermaniblemente los unos colos otros.",
    "La llingua asturiana ye una llingua romance falada n'Asturies y en delles zones de Lleón y Zamora.",
]
MALAY = [
    "Semua manusia dilahirkan bebas dan samarata dari segi kemuliaan dan hak-hak. Mereka mempunyai pemikiran dan "
    "perasaan hati dan hendaklah bertindak di antara satu sama lain dengan semangat persaudaraan.",
    "Setiap orang adalah berhak kepada semua hak-hak dan kebebasan yang termaktub di dalam Perisytiharan ini.",
]


def starter(code: str, number: int = 30) -> list[str]:
    """Documents of the bundled corpus."""
    path = Path(str(files("xelm") / "starter" / f"{code}.jsonl"))
    return list(islice(source_of(path, code).texts(), number))


def _verdicts(label: str, texts: list[str]) -> dict[str, int]:
    found: dict[str, int] = {}
    for one in LanguageReader(label).read(texts):
        found[one.verdict] = found.get(one.verdict, 0) + 1
    return found


@pytest.mark.parametrize(
    ("label", "texts"), [("zul", ZULU), ("ast", ASTURIAN), ("zsm", MALAY)], ids=["Zulu", "Asturian", "Malay"]
)
def test_rightly_labelled_text_is_at_most_a_relatives(label: str, texts: list[str]) -> None:
    assert set(_verdicts(label, texts)) <= {"claimed", "related"}


@pytest.mark.parametrize("code", ["deu", "eng", "ind", "ita", "jpn", "kor", "nld", "por", "rus", "spa", "tur"])
def test_rightly_labelled_text_of_the_bundled_corpus_reads_as_itself(code: str) -> None:
    found = _verdicts(code, starter(code))
    assert found.get("foreign", 0) <= 1
    assert found.get("claimed", 0) + found.get("related", 0) >= 27


@pytest.mark.parametrize("label", ["por", "swe", "cat", "zul", "wol", "ewe", "hau", "mya", "mri"])
@pytest.mark.parametrize("code", ["eng", "spa", "tur", "rus", "jpn", "ind"])
def test_text_of_another_language_is_noticed_whether_or_not_langid_knows_the_label(code: str, label: str) -> None:
    readings = LanguageReader(label).read(starter(code))
    assert sum(one.verdict == "foreign" and related(one.code, code) for one in readings) >= 27


@pytest.mark.parametrize("label", ["ast", "lad"])
def test_text_of_a_relative_is_related_where_langid_does_not_know_the_label(label: str) -> None:
    assert _verdicts(label, starter("spa")) == {"related": 30}


def test_text_in_a_script_of_another_language_is_unclear() -> None:
    tifinagh = ["ⵉⵎⴷⴰⵏⵏ ⴰⴽⴽⵯ ⵜⵜⵍⴰⵍⵏ ⴷ ⵉⵍⴻⵍⵍⵉⵢⵏ ⵎⵙⴰⵡⴰⵏ ⵖ ⵡⴰⴷⴷⵓⵔ ⵓⵍⴰ ⵉⵣⵔⴼⴰⵏ"] * 4
    assert _verdicts("tzm", tifinagh) == {"unclear": 4}


def test_serbian_in_latin_letters_is_no_foreign_text(shared: Path) -> None:
    cyrillic = texts(shared, "sib200", "srp_Cyrl", "test", 40)
    assert _verdicts("srp", [to_latin(text) for text in cyrillic])["related"] > 36  # single ones read as Slovene
    assert _verdicts("srp", cyrillic)["claimed"] > 30
    assert _verdicts("srp", texts(shared, "sib200", "rus_Cyrl", "test", 40)) == {"foreign": 40}


def test_documents_without_letters_are_unclear() -> None:
    assert _verdicts("zul", ["123 456", "…", "🎉"]) == {"unclear": 3}


@pytest.mark.parametrize(
    ("one", "other", "near"),
    [
        ("zul", "xho", True),
        ("zsm", "ind", True),
        ("ast", "spa", True),
        ("yue", "zho", True),
        ("nld", "deu", True),
        ("ckm", "hrv", True),  # of which URIEL knows nothing
        ("swe", "deu", False),
        ("zul", "eng", False),
        ("wol", "fra", False),
    ],
)
def test_relatives_by_kinship_or_macrolanguage(one: str, other: str, near: bool) -> None:
    assert related(one, other) is related(other, one) is near


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny run of German and Russian that tells them apart."""
    return train_tiny(
        tmp_path_factory.mktemp("finished"),
        data={"languages": ["deu", "rus"]},
        base={"new": {"hidden_size": 16, "num_layers": 1, "num_heads": 2, "context_length": 32, "tokens": 8_000}},
        train={"tokens": 12_000, "batch_size": 8, "learning_rate": 1e-2, "checkpoint_every_steps": 10_000},
    )


def _mixed(folder: Path, english: int, code: str = "swe") -> Path:
    swedish = [
        "Hunden springer över gatan och barnet skrattar i solen medan kvällen kommer till staden vid vattnet",
        "Jag har inte sett den vackra stora katten som bor i huset på andra sidan gatan sedan i går morse",
        "Vi köpte bröd och ost på torget innan vi tog tåget till staden där min syster bor med sina barn",
    ]
    rng = random.Random(0)
    texts = [f"{' '.join(rng.sample(swedish, 2))} {n}." for n in range(60 - english)]
    rows = [*texts, *starter("eng", english)]
    rng.shuffle(rows)
    return write_jsonl(folder / f"{code}.jsonl", list(rows))


def test_half_english_is_told_and_can_be_left_out(
    finished: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    text = _mixed(tmp_path, 30)
    with caplog.at_level(logging.INFO, "xelm"):
        told = add_language(copy_of(finished, tmp_path / "a"), "swe", text, tokens=128)
    assert "30 of 60 documents look like other languages than Swedish (swe): English (eng) 30." in caplog.text
    assert "The option that leaves them out is called drop_other_languages" in caplog.text
    line = told.manifest.ledger[-1]
    assert {(one.language, one.documents) for one in line.languages_read} == {("eng", 30), ("swe", 30)}
    assert line.documents_dropped == 0
    assert "the text's documents read as" in addition_text(line)

    caplog.clear()
    clean = add_language(copy_of(finished, tmp_path / "b"), "swe", text, tokens=128, drop_other_languages=True)
    assert "30 of 60 documents look like other languages than Swedish (swe) and are left out" in caplog.text
    line = clean.manifest.ledger[-1]
    assert line.documents_dropped == 30
    assert clean.manifest.data["swe"]["bytes"] < 0.6 * told.manifest.data["swe"]["bytes"]
    assert "30 documents of other languages left out" in addition_text(line)
    assert ExpertSet.load(clean.path).verify() == []


def test_text_of_nothing_but_another_language_is_refused_with_or_without_dropping(
    finished: Path, tmp_path: Path
) -> None:
    start, text = contents(finished), write_jsonl(tmp_path / "wol.jsonl", list(starter("spa", 60)))
    with pytest.raises(BadInput, match=r"looks like Spanish \(spa\) in \d\d of \d\d documents, not Wolof\. If it is"):
        add_language(finished, "wol", text)
    with pytest.raises(BadInput, match=r"nothing is left to add|looks like"):
        add_language(finished, "wol", text, drop_other_languages=True)
    assert contents(finished) == start


def test_a_run_language_under_a_label_that_nobody_knows_is_caught_by_the_runs_own_expert(
    finished: Path, tmp_path: Path
) -> None:
    from tests.xelm.conftest import sentences

    start = contents(finished)
    german = write_jsonl(tmp_path / "ckm.jsonl", list(sentences("deu", 60, seed=9)))
    with pytest.raises(BadInput, match=r"looks like German \(deu\) to the run's own expert of it, not Chakavian"):
        add_language(finished, "ckm", german)
    assert contents(finished) == start
    assert "ckm" in add_language(copy_of(finished, tmp_path), "ckm", german, tokens=128, believe_label=True).languages


def test_a_language_that_nobody_knows_is_added_for_what_it_is(finished: Path, tmp_path: Path) -> None:
    run = copy_of(finished, tmp_path)
    assert "ckm" in add_language(run, "ckm", new_text(tmp_path, "ckm"), tokens=128).languages


def test_the_zulu_of_the_readme_is_added_with_a_word_about_its_relative(
    finished: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    words = " ".join(ZULU).replace(".", "").replace(",", "").split()
    rng = random.Random(1)
    rows = [f"{rng.choice(ZULU)} {' '.join(rng.choices(words, k=6))} {n}." for n in range(60)]
    text = write_jsonl(tmp_path / "zul.jsonl", list(rows))
    assert "zul" in add_language(copy_of(finished, tmp_path), "zul", text, tokens=128).languages


def test_a_source_without_some_documents_has_a_fingerprint_of_its_own(tmp_path: Path) -> None:
    file = write_jsonl(tmp_path / "deu.jsonl", ["a", "b", "c"])
    whole = Source("deu", (file,))
    cleaned = CleanedSource("deu", (file,), None, frozenset({1}))
    assert list(cleaned.texts()) == ["a", "c"]
    other = CleanedSource("deu", (file,), None, frozenset({2}))
    assert len({source.fingerprint() for source in (whole, cleaned, other)}) == 3
    assert CleanedSource("deu", (file,)).fingerprint() == whole.fingerprint()
