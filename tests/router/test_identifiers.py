"""Identifiers: langid as its authors compute it, n-grams of the run's own text, both together."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clustering.errors import BadInput
from router.identify.backend import make_identifier
from router.identify.combined import CombinedIdentifier
from router.identify.labelled import LabelledIdentifier
from router.identify.langid import LangidIdentifier
from router.identify.ngram import STEPS_PER_NAT, NgramIdentifier, NgramTable
from router.identify.open import OpenIdentifier
from router.identify.protocol import LanguageIdentifier, OpenSetIdentifier
from router.ngram_hashes import hashed_ngrams
from tests.router.corpora import GREETINGS, texts

# Of these langid knows only Swahili.
BIBLE = ["acu", "agr", "cak", "usp", "kab", "shi", "chr", "syc", "swh"]
SILENT = ["", "   ", "😀🎉", "12 345,67", "\ud800", "---\n\n..."]


@pytest.fixture(scope="module")
def bible(shared):
    return {code: texts(shared, "bible", code, "train", 60) for code in BIBLE}


@pytest.fixture(scope="module")
def combined(bible):
    return CombinedIdentifier.train(bible)


@pytest.fixture(scope="module")
def small():
    return CombinedIdentifier.train(GREETINGS)


def test_vectorised_scores_equal_langids_own():
    from langid import langid

    source = langid.LanguageIdentifier.from_modelstring(langid.model)
    samples = [
        "a",
        "Guten Morgen",
        "日本語のテキスト",
        "Привет 🎉",
        "x" * 50,
        *(t for v in GREETINGS.values() for t in v),
    ]
    scores, lengths = LangidIdentifier().log_likelihoods(samples)
    for text, row, length in zip(samples, scores, lengths, strict=True):
        assert np.abs(source.nb_classprobs(source.instance2fv(text)) - row).max() < 1e-3
        assert length == len(text.encode())


def test_langid_answers_for_the_run_s_languages_under_its_codes():
    identifier = LangidIdentifier(["swh", "deu", "nob", "acu"])
    assert tuple(identifier.languages) == ("swh", "deu", "nob")
    assert identifier.unknown == ("acu",)
    assert identifier.posterior(["Guten Morgen allerseits", "Habari za asubuhi rafiki"]).argmax(1).tolist() == [1, 0]
    everything = LangidIdentifier(["swh"], restrict=False)
    assert everything.languages[0] == "swh" and len(everything.languages) == 97
    with pytest.raises(BadInput, match="knows none of acu"):
        LangidIdentifier(["acu"])


def test_batches_do_not_change_a_posterior(combined):
    samples = ["Habari za asubuhi", "", "ᎤᎵᎮᎵᏍᏗ", "winawe"]
    for identifier in (LangidIdentifier(["swh", "deu"]), combined):
        together = identifier.posterior(samples)
        apart = np.concatenate([identifier.posterior([text]) for text in samples])
        assert np.allclose(together, apart, atol=1e-6)


@pytest.mark.parametrize("name", ["langid", "py3langid"])
def test_named_identifiers_hold_the_protocol(name):
    pytest.importorskip(name)
    identifier = make_identifier(name, ["deu", "swh", "ell"])
    assert isinstance(identifier, LanguageIdentifier)
    assert tuple(identifier.languages) == ("deu", "swh", "ell")
    posterior = identifier.posterior([GREETINGS[code][0] for code in identifier.languages])
    assert posterior.argmax(1).tolist() == [0, 1, 2]
    assert np.allclose(identifier.posterior(SILENT), 1 / 3)


def test_silent_text_is_uniform_and_unfamiliar(combined):
    posterior, familiarity = combined.identify(SILENT)
    assert np.allclose(posterior, 1 / len(BIBLE))
    assert (familiarity == 0).all()


def test_run_s_own_languages_are_told_apart_where_langid_knows_none(combined, shared):
    generator = np.random.default_rng(0)
    samples, truth = [], []
    for row, code in enumerate(BIBLE):
        for text in texts(shared, "bible", code, "test")[:12]:
            start = int(generator.integers(0, max(1, len(text) - 60)))
            samples.append(text[start : start + 60])
            truth.append(row)
    posterior = combined.posterior(samples)
    assert (posterior.argmax(1) == np.array(truth)).mean() >= 0.98


def test_confidence_is_calibrated_on_short_spans_of_unseen_chapters(combined, shared):
    generator = np.random.default_rng(1)
    hits, confidence = [], []
    for row, code in enumerate(BIBLE):
        spans = []
        for text in texts(shared, "bible", code, "valid")[:12]:
            for _ in range(10):
                start = int(generator.integers(0, max(1, len(text) - 12)))
                spans.append(text[start : start + 12])
        posterior = combined.posterior(spans)
        hits.extend(posterior.argmax(1) == row)
        confidence.extend(posterior.max(1))
    assert abs(np.mean(hits) - np.mean(confidence)) < 0.05


def test_foreign_text_is_less_familiar_than_own(combined, shared):
    own = texts(shared, "bible", "acu", "test")[:8] + texts(shared, "bible", "swh", "test")[:8]
    foreign = texts(shared, "sib200", "fin_Latn", "train", 8) + texts(shared, "sib200", "tha_Thai", "train", 8)
    assert combined.familiarity(own).min() > 0.9
    assert combined.familiarity(foreign).max() < 0.5
    assert isinstance(combined, OpenSetIdentifier)


def test_adding_a_language_leaves_every_other_table_untouched(combined, shared, tmp_path):
    grown = combined.with_language("wol", texts(shared, "bible", "wol", "train", 40))
    assert tuple(grown.languages) == (*BIBLE, "wol")
    for code in BIBLE:
        before, after = combined.ngram.tables[code], grown.ngram.tables[code]
        assert before.usual_evidence == after.usual_evidence
        assert before.keys.tobytes() == after.keys.tobytes() and before.weights.tobytes() == after.weights.tobytes()
    sample = texts(shared, "bible", "acu", "test")[:3]
    assert np.array_equal(combined.ngram.evidence(sample)[0], grown.ngram.evidence(sample)[0][:, : len(BIBLE)])
    assert grown.posterior(texts(shared, "bible", "wol", "test")[:3]).argmax(1).tolist() == [len(BIBLE)] * 3
    assert tuple(grown.without_language("wol").languages) == tuple(combined.languages)


def test_saved_identifier_is_small_and_answers_alike(combined, tmp_path):
    combined.save(tmp_path)
    assert sum(file.stat().st_size for file in tmp_path.iterdir()) < 110_000 * len(BIBLE)
    assert {file.suffix for file in tmp_path.iterdir()} == {".json", ".safetensors"}
    again = CombinedIdentifier.load(tmp_path)
    samples = ["Habari za asubuhi", "winawe", ""]
    assert np.array_equal(again.posterior(samples), combined.posterior(samples))
    assert np.array_equal(again.familiarity(samples), combined.familiarity(samples))


@pytest.mark.parametrize("harmed", ["deu.keys", "deu.weights", "all", "usual_evidence"])
def test_a_saved_table_that_holds_no_numbers_is_refused(tmp_path, harmed):
    from safetensors.numpy import load_file, save_file

    texts = {code: [f"{letter}b{letter}c d{letter}" * 9] * 9 for code, letter in (("deu", "ä"), ("nld", "ij"))}
    CombinedIdentifier.train(texts).save(tmp_path)
    file, index = tmp_path / "ngrams.safetensors", tmp_path / "ngrams.json"
    arrays = load_file(file)
    for name in arrays:
        if harmed in (name, "all"):
            arrays[name] = arrays[name].astype(np.float32) * np.float32("nan")
    save_file(arrays, file)
    if harmed == "usual_evidence":
        table = json.loads(index.read_text())
        table["languages"]["deu"]["usual_evidence"] = float("nan")
        index.write_text(json.dumps(table))
    with pytest.raises(BadInput, match=r"the table of deu is damaged|no number"):
        CombinedIdentifier.load(tmp_path)


def test_training_repeats_with_the_seed(bible):
    few = {code: bible[code][:10] for code in ("acu", "kab")}
    a, b, c = (NgramIdentifier.train(few, seed=seed) for seed in (0, 0, 1))
    assert a.tables["acu"].weights.tobytes() == b.tables["acu"].weights.tobytes()
    assert a.tables["acu"].keys.tobytes() != c.tables["acu"].keys.tobytes()


def test_one_language_and_five_kilobytes_are_enough(shared):
    only = CombinedIdentifier.train({"swh": texts(shared, "bible", "swh", "train", 2)})
    assert only.posterior(["Habari", "", "Guten Morgen"]).tolist() == [[1.0]] * 3
    few = {code: ["".join(texts(shared, "bible", code, "train", 3))[:5000]] for code in ("acu", "kab", "swh")}
    tiny = CombinedIdentifier.train(few)
    for row, code in enumerate(few):
        assert (tiny.posterior([t[:200] for t in texts(shared, "bible", code, "test")]).argmax(1) == row).mean() > 0.9


def test_a_few_words_of_each_script_train_an_identifier(small):
    assert small.posterior(["Guten Tag", "asubuhi njema", "ο ήλιος"]).argmax(1).tolist() == [0, 1, 2]


@settings(max_examples=60, deadline=None)
@given(st.lists(st.text(max_size=80), max_size=6))
def test_any_unicode_gives_distributions(small, samples):
    posterior, familiarity = small.identify(samples)
    assert posterior.shape == (len(samples), 3)
    assert np.allclose(posterior.sum(1), 1)
    assert ((familiarity >= 0) & (familiarity <= 1)).all()
    assert np.allclose(LangidIdentifier(["deu", "swh"]).posterior(samples).sum(1), 1)


def test_one_megabyte_is_identified_at_once(small):
    posterior, familiarity = small.identify(["Guten Morgen, wie geht es Ihnen? " * 32_000])
    assert posterior[0].argmax() == 0
    assert np.isfinite(posterior).all() and familiarity[0] > 0.5


def test_labels_of_scripts_add_up_and_strangers_are_left_out():
    answers = {"a": [("srp_Cyrl", 0.3), ("srp_Latn", 0.3), ("bul_Cyrl", 0.4)], "b": [("xxx", 1.0)]}
    labels = {"srp_Cyrl": "srp", "srp_Latn": "srp", "bul_Cyrl": "bul", "xxx": "rus"}
    identifier = LabelledIdentifier(labels, lambda text: answers[text], ["bul", "srp"], "test")
    assert np.allclose(identifier.posterior(["a", "b"]), [[0.4, 0.6], [0.5, 0.5]])


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda path: make_identifier("langidd"), r"langid\?"),
        (lambda path: NgramIdentifier.train({}), "at least one language"),
        (lambda path: NgramIdentifier.train({"deu": ["1 2 3"]}), "deu: no text with letters"),
        (lambda path: NgramIdentifier.train({"deu": ["gut"]}).without_language("swh"), "does not know it"),
        (lambda path: NgramIdentifier.train({"deu": ["gut"]}).without_language("deu"), "at least one language"),
        (lambda path: CombinedIdentifier.load(path), "no such file"),
        (lambda path: _load_damaged(path), "damaged"),
        (lambda path: _load_mismatched(path), "do not belong together"),
        (lambda path: LabelledIdentifier({"x": "rus"}, lambda text: [], ["deu"], "thing"), "thing knows none of deu"),
    ],
)
def test_misuse_is_named(make, message, tmp_path):
    with pytest.raises(BadInput, match=message):
        make(tmp_path)


def _load_damaged(path):
    NgramIdentifier.train(GREETINGS).save(path)
    file = path / "ngrams.safetensors"
    file.write_bytes(file.read_bytes()[:100])
    return NgramIdentifier.load(path)


def _load_mismatched(path):
    NgramIdentifier.train(GREETINGS).save(path)
    index = path / "ngrams.json"
    index.write_text(index.read_text().replace('"deu"', '"nld"'))
    return NgramIdentifier.load(path)


def test_n_grams_alone_give_distributions_too(small):
    assert small.ngram.posterior(["Guten Morgen", "asubuhi", "ήλιος", "😀"]).argmax(1).tolist() == [0, 1, 2, 0]
    assert np.allclose(small.ngram.posterior(SILENT), 1 / 3)


def test_open_identifier_hands_foreign_text_to_langids_languages(combined, shared):
    opened = OpenIdentifier(combined)
    assert opened.languages[: len(BIBLE)] == tuple(BIBLE) and "swa" not in opened.languages
    foreign = texts(shared, "sib200", "tha_Thai", "train", 5) + texts(shared, "sib200", "ita_Latn", "train", 5)
    posterior = opened.posterior([*foreign, texts(shared, "bible", "acu", "test")[0], "😀"])
    found = [opened.languages[i] for i in posterior.argmax(1)]
    assert found[:5] == ["tha"] * 5 and found[5:10].count("ita") >= 4 and found[10] == "acu"
    assert np.allclose(posterior.sum(1), 1) and np.allclose(posterior[-1], 1 / len(opened.languages))


def test_evidence_is_the_sum_of_the_tables_however_many_texts_come(bible, combined):
    """Few and many texts are added up in two ways, which must agree to the bit, with n-grams that share a hash too."""
    ngram = combined.ngram
    shared_hash = NgramTable(np.array([5, 5, 9], dtype=np.uint32), np.array([16, 32, 8], dtype=np.uint8), 1.0, 10)
    vocabulary, weights = NgramIdentifier({"deu": shared_hash, "nld": shared_hash})._merged
    assert vocabulary.tolist() == [5, 9] and weights.toarray().tolist() == [[3.0, 3.0], [0.5, 0.5]]
    sample = [text[:80] for code in BIBLE for text in bible[code][:40]]
    expected = []
    for text in sample:
        keys = np.concatenate([keys_G for _, keys_G, _ in hashed_ngrams([text])])
        row = []
        for table in ngram.tables.values():
            found = np.searchsorted(table.keys, keys).clip(max=len(table.keys) - 1)
            row.append(np.where(table.keys[found] == keys, table.weights[found], 0).sum() / STEPS_PER_NAT)
        expected.append(row)
    alone = np.concatenate([ngram.evidence([text])[0] for text in sample])
    together = ngram.evidence(sample * 4)[0]
    assert np.array_equal(alone, expected)
    assert np.array_equal(together, np.tile(expected, (4, 1)))


def test_langid_says_the_same_of_a_text_alone_and_among_others(bible):
    langid = LangidIdentifier()
    sample = [text for code in BIBLE for text in bible[code][:12]] + SILENT + ["a", " ".join(bible["swh"])]
    alone = np.concatenate([langid.log_likelihoods([text])[0] for text in sample])
    assert np.array_equal(alone, langid.log_likelihoods(sample)[0])
