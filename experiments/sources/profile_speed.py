"""Where the time goes when corpora are profiled, and that a second ranking reads no text.

    python -m experiments.sources.profile_speed ../shared/data/bible

Trains a byte-fallback BPE of 16,000 tokens on the corpora, profiles them, and ranks sources for the first.
"""

from __future__ import annotations

import json
import tempfile
import time
from pathlib import Path
from typing import Any

import click

from clustering import profile_file, profile_texts
from xelm import rank_sources
from xelm.parts import Source, fast_tokenizer, find_sources, source_of

_BYTES = 1_000_000
_VOCABULARY = 16_000


class _Timed:
    """A tokenizers backend that says how long its encoding took."""

    def __init__(self, backend: Any):
        self._backend = backend
        self.spent_s = 0.0

    def get_vocab(self, **options: Any) -> dict[str, int]:
        return self._backend.get_vocab(**options)

    def encode_batch_fast(self, texts: list[str], **options: Any) -> Any:
        started = time.perf_counter()
        encodings = self._backend.encode_batch_fast(texts, **options)
        self.spent_s += time.perf_counter() - started
        return encodings


@click.command()
@click.argument("corpora", type=click.Path(exists=True, path_type=Path))
@click.option("--languages", default=16, show_default=True)
def main(corpora: Path, languages: int) -> None:
    """Profile up to 1 MB of each of the largest corpora in CORPORA."""
    from tokenizers import Tokenizer as Backend
    from tokenizers import decoders, models, normalizers, pre_tokenizers, trainers

    found = sorted(find_sources(corpora), key=lambda source: -source.files[0].stat().st_size)[:languages]
    with tempfile.TemporaryDirectory() as folder:
        sizes = {source.code: _cut(source, Path(folder) / f"{source.code}.jsonl") for source in found}
        files = {code: Path(folder) / f"{code}.jsonl" for code in sizes}
        backend = Backend(models.BPE(byte_fallback=True, unk_token="<unk>"))
        backend.normalizer = normalizers.Prepend("▁")
        backend.pre_tokenizer = pre_tokenizers.Metaspace()
        backend.decoder = decoders.ByteFallback()
        trainer = trainers.BpeTrainer(vocab_size=_VOCABULARY, special_tokens=["<unk>"], limit_alphabet=2000)
        backend.train_from_iterator(
            (text for code, file in files.items() for text in source_of(file, code).texts()), trainer
        )
        timed = _Timed(backend)
        tokenizer = fast_tokenizer("bpe", timed)
        target, *candidates = files
        rank_sources(target, candidates)  # loads typology, which is not what is timed
        profile_texts(["warm up"], tokenizer)
        timed.spent_s = 0.0
        started = time.perf_counter()
        for file in files.values():
            profile_file(file, tokenizer, cache=Path(folder) / "cache")
        profiling = time.perf_counter() - started
        started = time.perf_counter()
        rank_sources(target, candidates, files, tokenizer, cache=Path(folder) / "cache")
        ranking = time.perf_counter() - started
    click.echo(f"{len(sizes)} languages, {sum(sizes.values()) / 1e6:.1f} MB")
    click.echo(
        f"profiling {profiling:.2f} s, of which the tokenizer {timed.spent_s:.2f} s ({timed.spent_s / profiling:.0%})"
    )
    click.echo(f"ranking from kept profiles {ranking:.2f} s")


def _cut(source: Source, target: Path) -> int:
    """Copy documents until there is 1 MB of them; the bytes copied."""
    total = 0
    with target.open("w", encoding="utf-8") as handle:
        for text in source.texts():
            total += len(text.encode())
            handle.write(json.dumps({"text": text}, ensure_ascii=False) + "\n")
            if total >= _BYTES:
                break
    return total


if __name__ == "__main__":
    main()
