"""The inputs of a recipe's models: text as blocks, tokenizer, configuration of the base; found once for a run."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from clustering.corpora.find import Source, find_sources
from xelm.adding.tokenizer_fit import badly_served
from xelm.corpus.blocks import Blocks
from xelm.corpus.known_hashes import KnownHashes
from xelm.corpus.store import TokenStore, heldout_store, heldout_texts, training_texts
from xelm.corpus.tokens.languages import LanguageText, build_stores
from xelm.corpus.translations import training_pairs, with_pairs
from xelm.models import base as base_models
from xelm.models.tokenizers import keep_tokenizer, new_tokenizer
from xelm.objectives.objective import OBJECTIVES
from xelm.recipe.recipe import Base, Data, Train
from xelm.run.records.manifest import fingerprint

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from clustering.sources.profiles import Profile
    from xelm.aligning.pairs import Pair


@dataclass(frozen=True)
class Found:
    """What can be known of the inputs without reading the text."""

    sources: list[Source]
    config: Any
    """Configuration of the base; None for `[base.new]`, whose vocabulary is not known yet."""
    sequence_length: int
    """Tokens of a block."""

    @classmethod
    def of(cls, base: Base, reading: Data, sequence_length: int | None) -> Found:
        """Find text and base.

        Raises:
            BadInput: If there are none, or blocks are longer than the base's context.
        """
        sources = find_sources(reading.path, reading.languages)
        length = base_models.sequence_length(base, sequence_length)
        return cls(sources, None if base.new else base_models.model_config(base), length)


@dataclass(frozen=True)
class Inputs:
    """Text, tokenizer and the base's configuration."""

    sources: list[Source]
    fingerprints: dict[str, str]
    """For each language, the fingerprint of its text."""
    tokenizer: PreTrainedTokenizerBase
    config: Any
    """transformers configuration of the base."""
    stores: dict[str, TokenStore]
    blocks: dict[str, Blocks]

    @classmethod
    def resolve(cls, base: Base, reading: Data, train: Train, found: Found, run: Path) -> Inputs:
        """Tokenise everything; text that was tokenised before is taken from the run's cache.

        Raises:
            BadInput: For any fault of the text or the tokenizer.
        """
        pairs = training_pairs(reading, [source.code for source in found.sources])
        hashes = KnownHashes(run / "cache" / "text-hashes.json")
        fingerprints = with_pairs({source.code: source.fingerprint(hashes) for source in found.sources}, pairs)
        tokenizer = _tokenizer(base, reading, found.sources, fingerprints, run)
        config = base_models.new_config(base.new, tokenizer) if base.new else found.config
        OBJECTIVES.find(train.objective).batches(tokenizer, train, "check")
        base_models.check_vocabulary(tokenizer, config)
        stores = _stores(reading, found.sources, fingerprints, tokenizer, run, pairs)
        blocks = {code: Blocks(store, found.sequence_length) for code, store in stores.items()}
        hashes.save()  # at the end: what is refused leaves nothing behind
        return cls(found.sources, fingerprints, tokenizer, config, stores, blocks)

    @property
    def sequence_length(self) -> int:
        """Number of tokens of a block."""
        return next(iter(self.blocks.values())).sequence_length

    @property
    def num_blocks(self) -> dict[str, int]:
        """Number of training blocks of each language."""
        return {code: len(blocks) for code, blocks in self.blocks.items()}

    @property
    def num_tokens(self) -> dict[str, int]:
        """Number of training tokens of each language."""
        return {code: store.counts.tokens for code, store in self.stores.items()}

    def valid_blocks(self, codes: list[str]) -> dict[str, Blocks]:
        """Blocks of held-out text, of the languages that have some."""
        stores = {code: heldout_store(self.stores[code], "valid", self.tokenizer) for code in codes}
        return {code: Blocks(store, self.sequence_length) for code, store in stores.items() if len(store.tokens)}

    def read_by(self, tokenizer: PreTrainedTokenizerBase, codes: Sequence[str], reading: Data, run: Path) -> Inputs:
        """The text of some of the languages, tokenised by another tokenizer that the base can be taught."""
        sources = [source for source in self.sources if source.code in codes]
        pairs = training_pairs(reading, list(self.stores))
        stores = _stores(reading, sources, self.fingerprints, tokenizer, run, pairs)
        blocks = {code: Blocks(store, self.sequence_length) for code, store in stores.items()}
        return dataclasses.replace(self, sources=sources, tokenizer=tokenizer, stores=stores, blocks=blocks)

    def profiles(self) -> dict[str, Profile]:
        """How the tokenizer splits the held-out text of each language."""
        from clustering.sources.profiles import profile_texts
        from xelm.models.profile_tokenizers import profile_tokenizer

        tokenizer = profile_tokenizer("run", copy.deepcopy(self.tokenizer))  # which it changes
        return {code: profile_texts(heldout_texts(store), tokenizer) for code, store in self.stores.items()}

    def tokenizer_warnings(self, left_out: Collection[str]) -> list[str]:
        """Which languages the tokenizer serves badly, by their held-out text; some are left out."""
        return badly_served(self.profiles(), left_out)


def _tokenizer(
    base: Base, reading: Data, sources: list[Source], fingerprints: dict[str, str], run: Path
) -> PreTrainedTokenizerBase:
    new = base.new
    if new is None:
        return base_models.load_tokenizer(str(base.model), trust_remote_code=base.trust_remote_code)
    if new.tokenizer == "byte":
        return new_tokenizer(new, ())
    key = fingerprint(dataclasses.asdict(new), reading.settings() | {"path": ""}, fingerprints)
    folder = run / "cache" / f"tokenizer-{key[:12]}"
    texts = (text for source in sources for text in training_texts(source, reading))
    keep_tokenizer(folder, new, texts)
    return base_models.load_tokenizer(str(folder))


def _stores(
    reading: Data,
    sources: list[Source],
    fingerprints: dict[str, str],
    tokenizer: PreTrainedTokenizerBase,
    run: Path,
    pairs: Mapping[str, Sequence[Pair]],
) -> dict[str, TokenStore]:
    blank = {"path": "", "languages": None, **({"pairs": ""} if reading.pairs else {})}
    settings = reading.settings() | blank
    mapping = fingerprint(sorted(tokenizer.get_vocab().items()), type(tokenizer).__name__)
    texts = []
    for source in sources:
        key = fingerprint(settings, mapping, fingerprints[source.code])
        texts.append(LanguageText(run / "cache" / f"{source.code}-{key[:12]}", source, pairs.get(source.code, ())))
    return build_stores(texts, reading, tokenizer)
