"""Tokenizers by name for source profiles: whole documents, the right tokens, byte pieces told apart."""

from __future__ import annotations

from pathlib import Path

import pytest

from clustering.errors import BadInput
from clustering.sources.profiles import profile_texts
from xelm.models.profile_tokenizers import load_tokenizer, rank_sources


@pytest.fixture(scope="module")
def tokenizer_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=300, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), special_tokens=["<unk>"]
    )
    backend.train_from_iterator(["habari ya asubuhi"] * 20, trainer)
    backend.enable_truncation(4)
    folder = tmp_path_factory.mktemp("tokenizer")
    PreTrainedTokenizerFast(tokenizer_object=backend, unk_token="<unk>").save_pretrained(folder)
    return folder


def test_a_saved_tokenizer_cuts_whole_documents(tokenizer_folder: Path) -> None:
    tokenizer = load_tokenizer(str(tokenizer_folder))
    profile = profile_texts(["habari ya asubuhi " * 3], tokenizer)
    assert "".join(tokenizer.tokenize(["habari ya"])[0]) == "habariĠya"
    assert profile.subword_tokens >= 9
    assert profile.fallback_share == 0.0
    assert tokenizer.name.startswith(f"{tokenizer_folder}@")


def test_pieces_of_characters_are_counted_as_fallback(tokenizer_folder: Path) -> None:
    profile = profile_texts(["字字"], load_tokenizer(str(tokenizer_folder)))
    assert profile.subword_tokens == 6
    assert profile.fallback_share == 1.0


def test_ranking_takes_a_tokenizer_by_name(tokenizer_folder: Path, tmp_path: Path) -> None:
    for name, text in {"swa": "habari ya asubuhi", "zul": "sawubona ekuseni", "deu": "guten morgen"}.items():
        (tmp_path / f"{name}.txt").write_text(text, encoding="utf-8")
    report = rank_sources("swa", None, tmp_path, str(tokenizer_folder), cache=tmp_path / "cache")
    assert report.ranking[0].language == "zul"
    assert "subword_overlap" in report.ranking[0].contributions


def test_a_missing_tokenizer_is_explained(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="No tokenizer"):
        load_tokenizer(str(tmp_path / "nowhere"))
