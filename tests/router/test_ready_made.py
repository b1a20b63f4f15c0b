"""Ready-made identifiers as a run's: restricted to its languages, saved with it, honest about what they do not know."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from clustering.errors import BadInput
from router.identify.backend import BACKENDS, Backend
from router.identify.combined import CombinedIdentifier
from router.identify.labelled import LabelledIdentifier
from router.identify.open import OpenIdentifier
from router.identify.ready import ReadyMadeIdentifier
from router.identify.stored import check_identifier, load_identifier, save_identifier, train_identifier

TEXTS = ["Guten Morgen, wie geht es dir?", "Доброе утро, как дела?", "おはようございます", "123"]
SAID = {"a": {"deu": 0.6, "nld": 0.2, "jpn": 0.2}, "b": {"jpn": 1.0}, "c": {}}


def _fixed() -> Backend:
    """A backend that knows three languages and says what `SAID` says."""
    labels = {code: code for code in ("deu", "nld", "jpn")}
    return Backend(
        "fixed", lambda languages, file: LabelledIdentifier(labels, lambda t: SAID[t].items(), languages, "")
    )


def test_probabilities_are_shared_out_between_the_run_and_the_others() -> None:
    identifier = ReadyMadeIdentifier(_fixed(), None, ["nld", "deu"])
    posterior, familiarity, others = identifier.identify_openly(["a", "b", "c", "1"])
    assert np.allclose(posterior, [[0.25, 0.75], [0.5, 0.5], [0.5, 0.5], [0.5, 0.5]])
    assert np.allclose(familiarity, [0.8, 0.0, 2 / 3, 0.0])  # of c nothing is said: any of three
    assert identifier.other_languages == ("jpn",) and np.allclose(others, 1.0)
    opened = OpenIdentifier(identifier)
    assert opened.languages == ("nld", "deu", "jpn")
    assert np.allclose(opened.posterior(["a"]), [[0.2, 0.6, 0.2]])


@pytest.mark.parametrize("name", ["langid", "py3langid", pytest.param("lingua", marks=pytest.mark.slow)])
def test_every_backend_reads_plain_text_and_comes_back_from_its_folder(name: str, tmp_path: Path) -> None:
    pytest.importorskip({"lingua": "lingua", "py3langid": "py3langid"}.get(name, "langid"))
    identifier = train_identifier(name, {"jpn": [], "deu": [], "rus": []})
    posterior, familiarity = identifier.identify(TEXTS)
    assert posterior[:3].argmax(axis=1).tolist() == [1, 2, 0]
    assert (familiarity[:3] > 0.2).all() and familiarity[3] == 0
    save_identifier(identifier, tmp_path)
    loaded = load_identifier(tmp_path)
    assert np.array_equal(loaded.posterior(TEXTS), identifier.posterior(TEXTS))
    grown = loaded.with_language("ell", [])
    assert grown.languages == ("jpn", "deu", "rus", "ell") and grown.posterior(["Καλημέρα σας"]).argmax() == 3
    assert grown.without_language("el").languages == ("jpn", "deu", "rus")


def test_a_fasttext_model_is_kept_in_the_folder(tmp_path: Path) -> None:
    fasttext = pytest.importorskip("fasttext")
    words = {"deu": "guten morgen wie geht es dir", "rus": "доброе утро как дела", "jpn": "おはよう ございます"}
    training = tmp_path / "train.txt"
    training.write_text("".join(f"__label__{code} {text}\n" * 20 for code, text in words.items()), encoding="utf-8")
    model = tmp_path / "lid.bin"
    fasttext.train_supervised(
        str(training), epoch=25, minn=2, maxn=4, dim=8, bucket=500, thread=1, verbose=0
    ).save_model(str(model))
    run = tmp_path / "router"
    save_identifier(train_identifier(f"fasttext:{model}", {"rus": [], "deu": []}), run)
    model.unlink()  # the run is whole without it
    identifier = load_identifier(run)
    assert identifier.posterior(["guten morgen", "доброе утро"]).argmax(axis=1).tolist() == [1, 0]
    assert sorted(file.name for file in run.iterdir()) == ["identifier.bin", "identifier.json"]
    (run / "identifier.bin").unlink()
    with pytest.raises(BadInput, match=r"identifier\.bin: no such file"):
        load_identifier(run)


def test_another_identifier_leaves_no_files_of_the_first(tmp_path: Path) -> None:
    corpora = {"deu": ["Guten Morgen"], "rus": ["Доброе утро"]}
    save_identifier(CombinedIdentifier.train(corpora), tmp_path)
    save_identifier(train_identifier("langid", corpora), tmp_path)
    assert [file.name for file in tmp_path.iterdir()] == ["identifier.json"]
    save_identifier(train_identifier("combined", corpora), tmp_path)
    assert isinstance(load_identifier(tmp_path), CombinedIdentifier)


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("langidd", r"\[router\] identifier = 'langidd': choose combined or fasttext or langid"),
        ("langid:model.bin", "langid reads no file"),
        ("fasttext", "write 'fasttext:PATH'"),
        ("fasttext:none.bin", r"none\.bin: no such file"),
        ("langid", r"langid does not know Shuar \(jiv\)"),
    ],
)
def test_what_a_run_could_not_use_is_refused(spec: str, message: str) -> None:
    with pytest.raises(BadInput, match=message):
        check_identifier(spec, ["deu", "jiv"])


def test_names_are_found_and_a_language_outside_cannot_be_taken_out() -> None:
    assert {"fasttext", "langid", "lingua", "py3langid"} <= set(BACKENDS.names())
    with pytest.raises(BadInput, match="does not answer for it, but for deu"):
        train_identifier("langid", {"deu": []}).without_language("rus")


def test_a_broken_index_is_named(tmp_path: Path) -> None:
    (tmp_path / "identifier.json").write_text('{"version": 9, "backend": "langid", "languages": ["deu"]}')
    with pytest.raises(BadInput, match="not an identifier of version 2"):
        load_identifier(tmp_path)
