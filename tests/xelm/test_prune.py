"""Pruned vocabularies: same pieces, same hidden states, same logits on text whose pieces are kept."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

import xelm
from tests.xelm.conftest import sentences

TEXT = {code: [text.rsplit(" ", 1)[0] + "." for text in sentences(code, 120)] for code in ("deu", "nld", "rus")}
"""Without the numbers, of which every sentence has one that no other has."""
SPECIALS = ["<unk>", "<pad>", "<s>", "</s>", "<mask>"]


def make_tokenizer(kind: str) -> Any:
    """A tokenizer of each algorithm, trained on all three languages, with a chat template."""
    from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
    from transformers import PreTrainedTokenizerFast

    common: dict[str, Any] = {"vocab_size": 500, "special_tokens": SPECIALS, "show_progress": False}
    if kind == "byte-level":
        inner = Tokenizer(models.BPE())
        inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        inner.decoder = decoders.ByteLevel()
        trainer: Any = trainers.BpeTrainer(initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), **common)
    elif kind == "bpe":
        inner = Tokenizer(models.BPE(unk_token="<unk>", fuse_unk=True))
        inner.pre_tokenizer = pre_tokenizers.Metaspace()
        inner.decoder = decoders.Metaspace()
        trainer = trainers.BpeTrainer(**common)
    elif kind == "unigram":
        inner = Tokenizer(models.Unigram())
        inner.normalizer = normalizers.NFKC()
        inner.pre_tokenizer = pre_tokenizers.Metaspace()
        inner.decoder = decoders.Metaspace()
        trainer = trainers.UnigramTrainer(unk_token="<unk>", **common)
    else:
        inner = Tokenizer(models.WordPiece(unk_token="<unk>"))
        inner.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
        inner.decoder = decoders.WordPiece()
        trainer = trainers.WordPieceTrainer(**common)
    inner.train_from_iterator([text for texts in TEXT.values() for text in texts], trainer)
    start, end = (("<s>", inner.token_to_id("<s>")), ("</s>", inner.token_to_id("</s>")))
    inner.post_processor = processors.TemplateProcessing(single="<s> $A </s>", special_tokens=[start, end])
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=inner,
        unk_token="<unk>",
        pad_token="<pad>",
        bos_token="<s>",
        eos_token="</s>",
        mask_token="<mask>",
    )
    tokenizer.chat_template = "{% for message in messages %}{{ message['content'] }}{% endfor %}"
    return tokenizer


def make_model(kind: str, num_rows: int, tokenizer: Any) -> Any:
    """A causal model with tied or untied head, a masked model, an encoder."""
    import torch
    from transformers import BertConfig, BertForMaskedLM, BertModel, LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    size: dict[str, Any] = {
        "vocab_size": num_rows,
        "hidden_size": 32,
        "intermediate_size": 48,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": tokenizer.pad_token_id,
    }
    if kind.startswith("causal"):
        return LlamaForCausalLM(LlamaConfig(**size, tie_word_embeddings=kind == "causal-tied", initializer_range=0.3))
    cls = BertForMaskedLM if kind == "masked" else BertModel
    model = cls(BertConfig(**size, initializer_range=0.3))
    if kind == "masked":
        torch.nn.init.normal_(model.cls.predictions.bias)
    return model


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Text of three languages."""
    folder = tmp_path_factory.mktemp("corpus")
    for code, texts in TEXT.items():
        rows = [json.dumps({"text": text, "split": "test" if i % 5 == 0 else "train"}) for i, text in enumerate(texts)]
        (folder / f"{code}.jsonl").write_text("\n".join(rows), encoding="utf-8")
    return folder


@pytest.mark.parametrize(
    ("kind", "algorithm", "padding"),
    [
        ("causal-tied", "byte-level", 0),
        ("causal-untied", "bpe", 37),
        ("masked", "wordpiece", 3),
        ("encoder", "unigram", 0),
        ("masked", "unigram", 37),
        ("causal-untied", "unigram", 0),
    ],
)
def test_what_is_kept_computes_as_before(kind: str, algorithm: str, padding: int, corpus: Path, tmp_path: Path) -> None:
    import torch
    from transformers import AutoTokenizer

    tokenizer = make_tokenizer(algorithm)
    whole = make_model(kind, len(tokenizer) + padding, tokenizer).eval()
    whole.save_pretrained(tmp_path / "whole")
    tokenizer.save_pretrained(tmp_path / "whole")
    result = xelm.prune(tmp_path / "whole", ["German", "nld"], tmp_path / "small", corpus, unchanged=0)
    small = type(whole).from_pretrained(tmp_path / "small").eval()
    pruned = AutoTokenizer.from_pretrained(tmp_path / "small")
    assert result.parameters < result.parameters_before
    assert len(pruned) < len(tokenizer)
    assert small.get_input_embeddings().num_embeddings == result.rows
    assert pruned.chat_template == tokenizer.chat_template
    assert pruned.special_tokens_map == tokenizer.special_tokens_map
    assert small.config.pad_token_id == pruned.pad_token_id
    compared = 0
    for text in TEXT["deu"][::7] + TEXT["nld"][::7]:
        before, after = tokenizer(text)["input_ids"], pruned(text)["input_ids"]
        if tokenizer.convert_ids_to_tokens(before) != pruned.convert_ids_to_tokens(after):
            continue
        compared += 1
        with torch.no_grad():
            one = whole(torch.tensor([before]), output_hidden_states=True)
            other = small(torch.tensor([after]), output_hidden_states=True)
        for a, b in zip(one.hidden_states, other.hidden_states, strict=True):
            assert torch.allclose(a, b, atol=1e-5)
        if "logits" in one:
            kept = [tokenizer.convert_tokens_to_ids(t) for t in pruned.convert_ids_to_tokens(range(len(pruned)))]
            assert torch.allclose(one.logits[..., kept], other.logits[..., : len(kept)], atol=1e-5)
    assert compared > 20
    assert result.comparison.largest_difference is not None
    # What is not kept is cut into smaller pieces and not lost.
    for text in TEXT["rus"][:5]:
        assert pruned.decode(pruned(text)["input_ids"], skip_special_tokens=True) == tokenizer.decode(
            tokenizer(text)["input_ids"], skip_special_tokens=True
        )


def test_likely_pieces_keep_more_sentences_as_they_were(corpus: Path, tmp_path: Path) -> None:
    tokenizer = make_tokenizer("unigram")
    make_model("encoder", len(tokenizer), tokenizer).save_pretrained(tmp_path / "whole")
    tokenizer.save_pretrained(tmp_path / "whole")
    few = xelm.prune(tmp_path / "whole", ["deu"], tmp_path / "few", corpus, min_count=30, unchanged=0)
    many = xelm.prune(tmp_path / "whole", ["deu"], tmp_path / "many", corpus, min_count=30, unchanged=0.9)
    assert few.comparison.share_unchanged < many.comparison.share_unchanged
    assert few.rows < many.rows


def test_prune_says_what_it_cannot_do(corpus: Path, tmp_path: Path) -> None:
    tokenizer = make_tokenizer("bpe")
    make_model("encoder", len(tokenizer), tokenizer).save_pretrained(tmp_path / "whole")
    tokenizer.save_pretrained(tmp_path / "whole")
    with pytest.raises(xelm.BadInput, match="no text of its own"):
        xelm.prune(tmp_path / "whole", ["deu"], tmp_path / "small")
    with pytest.raises(xelm.BadInput, match="fra"):
        xelm.prune(tmp_path / "whole", ["fra"], tmp_path / "small", corpus)
    with pytest.raises(xelm.BadInput, match=r'\["deu"\]|\[\'deu\'\]'):
        xelm.prune(tmp_path / "whole", "deu", tmp_path / "small", corpus)
    with pytest.raises(xelm.BadInput, match="not empty"):
        xelm.prune(tmp_path / "whole", ["deu"], tmp_path / "whole", corpus)
    with pytest.raises(xelm.BadInput, match="min_count=0"):
        xelm.prune(tmp_path / "whole", ["deu"], tmp_path / "small", corpus, min_count=0)
    with pytest.raises(xelm.BadInput, match="unchanged=1"):
        xelm.prune(tmp_path / "whole", ["deu"], tmp_path / "small", corpus, unchanged=1)
    assert not (tmp_path / "small").exists()


def test_the_command_prints_sizes_and_the_share_unchanged(corpus: Path, tmp_path: Path) -> None:
    from xelm.cli import group

    tokenizer = make_tokenizer("byte-level")
    make_model("causal-tied", len(tokenizer), tokenizer).save_pretrained(tmp_path / "whole")
    tokenizer.save_pretrained(tmp_path / "whole")
    words = ["prune", str(tmp_path / "whole"), "--languages", "deu,nld", "--corpus", str(corpus)]
    shown = CliRunner().invoke(group, [*words, "--out", str(tmp_path / "small")], catch_exceptions=False)
    assert "parameters:" in shown.output
    assert "tokenised as before" in shown.output


def test_a_pruned_run_verifies_and_answers_as_before(tmp_path: Path) -> None:
    from tests.xelm.adding import train_tiny

    new = {"tokenizer": "bpe", "vocab_size": 320, "hidden_size": 16, "num_layers": 1, "num_heads": 2}
    new |= {"context_length": 48, "tokens": 1536, "learning_rate": 5e-3}
    run = train_tiny(tmp_path, base={"new": new}, train={"sequence_length": 32})
    result = xelm.prune(run, ["German", "nld"], tmp_path / "small", unchanged=0)
    small, whole = xelm.ExpertSet.load(tmp_path / "small"), xelm.ExpertSet.load(run)
    assert small.verify() == []
    assert result.rows < result.rows_before
    assert result.comparison.share_unchanged > 0.5
    assert {len(small.tokenizer(name)) for name in small.models} == {result.pieces}
    assert small.languages == whole.languages
    one, other = xelm.RoutedLM(whole, device="cpu"), xelm.RoutedLM(small, device="cpu")
    text = TEXT["deu"][0]
    before, after = one.tokenizer(text)["input_ids"], other.tokenizer(text)["input_ids"]
    assert one.tokenizer.convert_ids_to_tokens(before) == other.tokenizer.convert_ids_to_tokens(after)
    # Fewer pieces share the probability of the rest, so a text can only become more probable.
    name = one.experts.plan.cluster_of("deu")
    assert 0 < other.score([text], name)[0].nats <= one.score([text], name)[0].nats
    with pytest.raises(xelm.BadInput, match="no language of this run"):
        xelm.prune(run, ["fra"], tmp_path / "none")
