"""A language in a spelling that langid takes for other languages: langid does not decide between it and them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from clustering.errors import BadInput
from clustering.files import read_json, write_json
from router.identify.combined import INDEX_FILE, CombinedIdentifier
from router.identify.langid_opinion import LangidOpinion
from router.identify.open import OpenIdentifier
from tests.router.corpora import texts
from tests.router.test_spellings import to_latin


@pytest.fixture(scope="module")
def corpora(shared: Path) -> dict[str, list[str]]:
    """Serbian in Latin letters, of which langid knows the Cyrillic spelling alone, beside others."""
    found = {code: texts(shared, "progit", code, "train", 25) for code in ("slv", "deu", "pol")}
    return found | {"srp": [to_latin(text) for text in texts(shared, "sib200", "srp_Cyrl", "train")]}


@pytest.fixture(scope="module")
def identifier(corpora) -> CombinedIdentifier:
    return CombinedIdentifier.train(corpora)


def test_latin_serbian_of_a_run_is_known_and_not_sent_away_as_croatian(identifier, shared):
    asked = [to_latin(text)[:80] for text in texts(shared, "sib200", "srp_Cyrl", "test", 150)]
    opened = OpenIdentifier(identifier)
    posterior_BR, familiarity_B, others_BO = opened.identify(asked)
    best_B = opened.joint(posterior_BR, familiarity_B, others_BO).argmax(axis=1)
    found = [opened.languages[best] for best in best_B]
    assert found.count("srp") > 0.95 * len(found)
    assert np.median(familiarity_B) > 0.9


def test_what_langid_takes_a_language_for_is_kept_and_the_others_are_as_ever(identifier, corpora):
    assert set(identifier.other_names) == {"srp"}
    names = identifier.other_names["srp"]
    assert max(names.values()) == 1.0 and {"hrv", "bos"} <= set(names)
    others = CombinedIdentifier.train({code: corpora[code] for code in ("slv", "deu", "pol")})
    assert not others.other_names
    sentences = ["Danes je lep dan za sprehod.", "Heute ist ein schöner Tag.", "Dzisiaj jest piękny dzień."]
    for code in ("slv", "deu", "pol"):
        one, other = (i.ngram.evidence(sentences)[0][:, list(i.languages).index(code)] for i in (identifier, others))
        assert (one == other).all()


def test_a_run_with_other_names_is_stored_and_grows_and_shrinks(identifier, corpora, tmp_path):
    identifier.save(tmp_path)
    loaded = CombinedIdentifier.load(tmp_path)
    assert loaded.other_names == identifier.other_names
    sentences = ["Danas je lep dan za šetnju.", "Heute ist ein schöner Tag."]
    assert (loaded.posterior(sentences) == identifier.posterior(sentences)).all()
    smaller = identifier.without_language("srp")
    assert not smaller.other_names
    grown = smaller.with_language("srp", corpora["srp"])
    assert set(grown.other_names) == {"srp"} and grown.without_language("deu").other_names == grown.other_names
    write_json(tmp_path / INDEX_FILE, read_json(tmp_path / INDEX_FILE) | {"other_names": {"srp": {"xyz": 1.0}}})
    with pytest.raises(BadInput, match="other_names"):
        CombinedIdentifier.load(tmp_path)


def test_an_opinion_by_other_names():
    opinion = LangidOpinion(["srp", "hrv", "deu", "nld"], {"srp": {"hrv": 1.0, "bos": 0.5}})
    classes = opinion.langid.languages
    said_C = np.full(len(classes), 1e-9)
    for name, probability in (("hrv", 0.4), ("bos", 0.3), ("deu", 0.2), ("nld", 0.1)):
        said_C[classes.index(name)] = probability
    by_name = np.exp(opinion.of_run(np.log(said_C)[None], -6.2))[0]
    assert by_name == pytest.approx([0.4 + 0.15, 0.4, 0.2, 0.1], abs=1e-6)
    # Of the run: Croatian, German and Dutch, and Bosnian as readily as Serbian is taken for it.
    assert opinion.share_of_run(np.log(said_C)[None])[0] == pytest.approx(0.4 + 0.2 + 0.1 + 0.15, abs=1e-6)
    assert opinion.known_L.all()
