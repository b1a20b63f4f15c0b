"""Additions that cannot be: each is refused in one message with a way out, and the run stays as it was.

And unusual ones that can: a language without typology, a script the tokenizer never saw, a few kilobytes of text.
"""

from __future__ import annotations

import logging
import random
from pathlib import Path

import pytest

from clustering.errors import BadInput
from tests.xelm.adding import contents, copy_of, models_of, new_text, train_masked, train_tiny
from tests.xelm.conftest import sentences, write_jsonl
from xelm.adding.add import add_language, remove_language
from xelm.run.experts import ExpertSet

GEORGIAN = "და არ არის სახლი წყალი დილა საღამო ქუჩა ლამაზი დიდი ბავშვი პური მზე დღე ღამე"
FRENCH = (
    "Le vieux pêcheur rentre tard le soir et raconte à ses enfants une longue histoire de la mer",
    "Nous avons acheté du pain et du fromage au marché avant de prendre le train pour la ville",
    "Elle pense que les livres de cette bibliothèque sont plus intéressants que ceux de l'école",
    "Quand il pleut dans la montagne, les rivières deviennent dangereuses pour les voyageurs",
)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with a BPE tokenizer of byte fallback, trained on German and Dutch alone."""
    folder = tmp_path_factory.mktemp("finished")
    base = {"tokenizer": "bpe", "vocab_size": 300, "hidden_size": 16, "num_layers": 1, "num_heads": 2}
    return train_tiny(
        folder,
        base={"new": {**base, "context_length": 32, "tokens": 1280, "learning_rate": 5e-3}},
        data={"languages": ["deu", "nld"]},
    )


@pytest.fixture
def run(finished: Path, tmp_path: Path) -> Path:
    return copy_of(finished, tmp_path)


def _refused(run: Path, message: str, language: str, data: Path, **options: object) -> None:
    start = contents(run)
    with pytest.raises(BadInput, match=message) as caught:
        add_language(run, language, data, **options)  # type: ignore[arg-type]
    assert len(str(caught.value).splitlines()) == 1
    assert contents(run) == start, "refused additions leave nothing behind"


@pytest.mark.parametrize("language", ["deu", "de", "German"])
def test_a_language_that_is_there_already_is_refused_under_any_name(finished: Path, tmp_path: Path, language: str):
    _refused(finished, "German is in this run already, as deu in c", language, new_text(tmp_path, "swe"))


def test_an_unknown_language_is_refused(finished: Path, tmp_path: Path) -> None:
    _refused(finished, "qqqq", "qqqq", new_text(tmp_path, "swe"))


def test_text_that_is_not_there_or_of_an_unknown_kind_is_refused(finished: Path, tmp_path: Path) -> None:
    _refused(finished, r"swe\.jsonl: no such file or folder", "swe", tmp_path / "swe.jsonl")
    (tmp_path / "swe.doc").write_text("x")
    _refused(finished, r"swe\.doc: unknown kind of file\. A corpus is read from \.txt", "swe", tmp_path / "swe.doc")
    _refused(finished, "no text for 'pol'. There is: swe", "pol", new_text(tmp_path / "folder", "swe").parent)


def test_a_folder_gives_the_file_of_the_language(run: Path, tmp_path: Path) -> None:
    experts = add_language(run, "swe", new_text(tmp_path / "folder", "swe").parent, tokens=128)
    assert "swe" in experts.languages


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"donor": "zul"},
            r"donor='zul': neither a model \(base, dense, c1.*\) nor a language of this run \(deu, nld\)",
        ),
        ({"donor": "nonsense!"}, "donor='nonsense!': neither a model"),
        ({"replay": 1.0}, r"replay=1\.0 is a share of the training blocks: choose 0 up to, but not, 1"),
        ({"replay": -0.1}, "replay=-0.1"),
        ({"replay": float("nan")}, "replay=nan"),
        ({"as_": "guest"}, "as_='guest': choose new .* or join"),
        ({"as_": "join", "donor": "base"}, "as_='join' needs an expert to join; base is none"),
        ({"tokens": 0}, "tokens=0 must be at least 1"),
    ],
)
def test_arguments_out_of_range_are_refused(
    finished: Path, tmp_path: Path, options: dict[str, object], message: str
) -> None:
    _refused(finished, message, "swe", new_text(tmp_path, "swe"), **options)


def test_text_without_held_out_rows_or_too_little_of_it_is_refused(finished: Path, tmp_path: Path) -> None:
    rows = [{"text": text, "split": "train"} for text in sentences("rus", 40)]
    _refused(
        finished,
        "rus: no held-out text.*some must be 'valid' or 'test'",
        "rus",
        write_jsonl(tmp_path / "a.jsonl", rows),
    )
    _refused(finished, "too few to hold out", "rus", write_jsonl(tmp_path / "b.jsonl", ["Слово."]))
    (tmp_path / "c.jsonl").write_text('{"text": "a"}\n{broken\n')
    _refused(finished, r"c\.jsonl, line 2", "rus", tmp_path / "c.jsonl")


def test_a_run_that_is_not_there_or_not_whole_is_refused(run: Path, tmp_path: Path) -> None:
    text = new_text(tmp_path, "swe")
    with pytest.raises(BadInput, match="no such run directory"):
        add_language("someone/some-run", "swe", text)
    assert not Path("someone").exists()
    (run / "plan.json").write_text((run / "plan.json").read_text() + " ")
    with pytest.raises(BadInput, match=r"the run is not whole \(changed: plan\.json\)\. Run `xelm verify"):
        add_language(run, "swe", text)


def test_only_what_was_added_can_be_removed(finished: Path) -> None:
    with pytest.raises(BadInput, match=r"deu: was not added to this run \(added: none\)"):
        remove_language(finished, "deu")


def test_text_of_a_language_that_the_run_has_is_refused_unless_the_label_is_believed(run: Path, tmp_path: Path) -> None:
    german = write_jsonl(tmp_path / "swe.jsonl", list(sentences("deu", 60, seed=7)))
    _refused(
        run, r"looks like German \(deu\) in .* not Swedish; German is already in this run.*believe_label", "swe", german
    )
    assert "swe" in add_language(run, "swe", german, tokens=128, believe_label=True).languages


def test_text_of_a_language_that_the_world_knows_is_refused_unless_the_label_is_believed(
    finished: Path, tmp_path: Path
) -> None:
    rng = random.Random(0)
    french = write_jsonl(tmp_path / "swe.jsonl", [f"{'. '.join(rng.sample(FRENCH, 3))} {i}." for i in range(60)])
    _refused(finished, r"looks like French \(fra\) in .* not Swedish\. If .*believe_label", "swe", french)


def test_a_language_that_uriel_does_not_know_is_added_by_loss(run: Path, tmp_path: Path) -> None:
    experts = add_language(run, "ckm", new_text(tmp_path, "ckm"), tokens=128)
    line = experts.manifest.ledger[-1]
    assert "Typology says nothing: URIEL does not know Chakavian" in line.reason
    assert all(row.distance is None for row in line.candidates)
    assert line.donor in experts.names
    assert experts.plan.cluster_of("ckm") == line.expert


def test_a_script_that_the_tokenizer_never_saw_is_told_and_works(
    run: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING, "xelm"):
        experts = add_language(run, "kat", new_text(tmp_path, "kat", words=GEORGIAN), tokens=512)
    assert "the tokenizer never learned this script" in caplog.text
    fit = experts.manifest.ledger[-1].tokenizer
    assert fit.own.fallback_share > 0.9
    assert fit.others["deu"].fallback_share < 0.1
    assert fit.own.tokens_per_byte > 1.5 * fit.others["deu"].tokens_per_byte
    assert fit.own.unknown_share == 0
    assert len(fit.warnings) == 2
    cell = experts.manifest.ledger[-1].bits_per_byte["kat"]
    assert cell.before is not None and cell.after < cell.before


def test_five_kilobytes_of_text_are_added_with_a_smaller_budget_and_a_word_about_it(
    run: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    import xelm.adding.branch

    # The languages of the tiny run got less than 40 epochs of 5 KB.
    monkeypatch.setattr(xelm.adding.branch, "_MOST_EPOCHS", 0.1)
    text = new_text(tmp_path, "spa", number=70)
    assert 4_000 < text.stat().st_size < 7_000
    with caplog.at_level(logging.WARNING, "xelm"):
        experts = add_language(run, "spa", text)
    assert "only" in caplog.text
    assert "tokens of text: trained for" in caplog.text
    assert "the option tokens sets another budget" in caplog.text
    entry = experts.manifest.experts[experts.plan.cluster_of("spa")]
    assert entry.tokens < 768
    assert experts.verify() == []


def test_adapters_of_a_lora_run_are_trained_on_and_a_full_donor_gives_a_full_expert(tmp_path: Path) -> None:
    run = train_tiny(tmp_path / "lora", expert={"kind": "lora", "rank": 2}, train={"dense": "full"})
    old = models_of(run, ExpertSet.load(run).models)
    adapted = add_language(run, "swe", new_text(tmp_path, "swe"), donor="deu", tokens=128)
    full = add_language(run, "pol", new_text(tmp_path, "pol"), donor="dense", tokens=128)
    from_full = add_language(run, "ell", new_text(tmp_path, "ell"), donor="pol", tokens=128)
    kinds = {code: from_full.manifest.experts[from_full.plan.cluster_of(code)].kind for code in ("swe", "pol", "ell")}
    assert kinds == {"swe": "lora", "pol": "full", "ell": "full"}
    assert (adapted.folder(adapted.plan.cluster_of("swe")) / "adapter_config.json").is_file()
    assert not (full.folder(full.plan.cluster_of("pol")) / "adapter_config.json").is_file()
    assert models_of(run, ["base", "dense", *full.names[:2]]) == old
    losses = from_full.manifest.ledger[-1].bits_per_byte
    assert losses["ell"].before is not None and losses["ell"].after < losses["ell"].before


def test_a_run_of_masked_models_grows_too(tmp_path: Path) -> None:
    run = train_masked(tmp_path)
    start = contents(run)
    experts = add_language(run, "swe", new_text(tmp_path, "swe"), tokens=1024)
    assert experts.verify() == []
    cell = experts.manifest.ledger[-1].bits_per_byte["swe"]
    assert cell.before is not None and cell.after < cell.before
    remove_language(run, "swe")
    assert contents(run) == start
