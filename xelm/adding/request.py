"""The request to add a language, and the checks that need no training."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

from clustering.corpora.find import Source, find_sources, source_of
from clustering.errors import BadInput, arg
from clustering.files import expanded
from clustering.languages.codes import match, name_of, point_beside
from router.identify.stored import load_identifier
from xelm.adding.donors.race import MOST_SHARE, SHARE
from xelm.corpus.store import TokenStore, build_store
from xelm.recipe.recipe import Data
from xelm.run.experts import ExpertSet
from xelm.run.names import is_expert
from xelm.run.records.heldout import SPLITS, read_heldout, texts_of
from xelm.run.records.ledger import Kind
from xelm.run.records.manifest import fingerprint
from xelm.vocabulary.own import Size

JOIN_REPLAY = 0.2
"""Replay of a language that joins an expert: without any, the expert loses a quarter on its own languages."""


@dataclass(frozen=True, kw_only=True)
class Addition:
    """A request to add a language."""

    language: str
    """ISO 639-3 code."""
    source: Source
    donor: str = "auto"
    """`auto`, or the name of a model of the run."""
    replay: float = 0.0
    """Share of the training blocks drawn from the donor's own languages, in [0, 1)."""
    kind: Kind = "new"
    tokens: int | None = None
    believe_label: bool = False
    drop_other_languages: bool = False
    vocabulary: Size | None = None
    """Number of pieces of its own, or `auto`. None: it reads the donor's pieces."""
    trial: float = SHARE
    """Share of the budget for which each of the likeliest starts is tried if the donor is `auto`; 0: no trial."""

    def __post_init__(self) -> None:
        # `not 0 <= x < 1` also refuses NaN.
        if not 0 <= self.replay < 1:
            raise BadInput(
                f"{arg('replay', self.replay)} is a share of the training blocks: choose 0 up to, but not, 1."
            )
        if self.kind not in get_args(Kind):
            raise BadInput(
                f"{arg('as_', self.kind)}: choose new (an expert of its own) or join (the donor's expert takes it in)."
            )
        if self.vocabulary is not None:
            self._check_vocabulary()
        if self.tokens is not None and self.tokens < 1:
            raise BadInput(f"{arg('tokens', self.tokens)} must be at least 1.")
        if not 0 <= self.trial <= MOST_SHARE:
            raise BadInput(
                f"{arg('trial', self.trial)} is the share of the budget that each of three starts is tried for: choose "
                f"0 (no trial) to {MOST_SHARE}."
            )

    def _check_vocabulary(self) -> None:
        if self.vocabulary != "auto" and (isinstance(self.vocabulary, str) or int(self.vocabulary or 0) < 1):
            raise BadInput(f"{arg('vocabulary', self.vocabulary)}: a number of pieces from 1 up, or auto.")
        if self.kind == "join":
            raise BadInput("an expert that others read with keeps its pieces: a vocabulary needs an expert of its own.")
        if self.replay:
            raise BadInput(
                f"{arg('replay', self.replay)}: the donor's text is kept as pieces of the donor, which an expert with "
                "a vocabulary of its own does not read. Leave one of the two out."
            )

    @property
    def name(self) -> str:
        """Name of its training, which decides the order in which blocks are drawn."""
        return f"add-{self.language}"


@dataclass(frozen=True)
class Own:
    """A tokenizer other than the run's, by which a new language's text is read."""

    folder: Path
    """Folder of the vocabulary (`xelm.vocabulary.own`), or of the expert whose vocabulary it is."""
    tokenizer: Any
    fingerprint: str
    is_new: bool
    """Whether it has pieces that the donor lacks."""


@dataclass(frozen=True)
class NewText:
    """The text of the new language, read and tokenised."""

    store: TokenStore
    fingerprint: str
    """Fingerprint of the files that it was read from."""
    valid: list[str]
    """Held-out documents for decisions."""
    test: list[str]
    """Held-out documents for results."""

    @property
    def folder(self) -> Path:
        """The folder in which its tokens are kept."""
        return self.store.heldout_file.parent


def request_of(
    experts: ExpertSet,
    language: str,
    data: str | Path,
    *,
    donor: str = "auto",
    as_: Kind = "new",
    replay: float | None = None,
    **settings: Any,
) -> Addition:
    """The request of a user, with language, text and donor found.

    Args:
        experts: The run.
        language: Any code or name.
        data: A file, or a folder that holds the language's.
        donor: `auto`, a language of the run, or a model's name.
        as_: Whether it gets an expert of its own.
        replay: Share of the blocks from the donor's languages; None: `JOIN_REPLAY` for a language that joins, else 0.
        settings: Other fields of `Addition`.

    Raises:
        BadInput: If one of them does not fit.
    """
    code = new_code(experts, language)
    source, donor = find_source(expanded(data), language, code), named_donor(experts, donor, as_)
    if replay is None:
        replay = JOIN_REPLAY if as_ == "join" else 0.0
    return Addition(language=code, source=source, donor=donor, kind=as_, replay=replay, **settings)


def new_code(experts: ExpertSet, language: str) -> str:
    """The code of a language that the run does not have yet.

    Raises:
        BadInput: If there is no such language, the run has it, or the run's identifier cannot learn it.
    """
    code = point_beside(language, experts.languages)
    there = match(language, experts.languages)
    if there:
        raise BadInput(
            f"{name_of(code)} is in this run already, as {there} in {experts.plan.cluster_of(there)}. "
            "If it was added, `xelm remove` takes it out again."
        )
    load_identifier(experts.files.router).refuse_unknown(code)
    return code


def find_source(data: Path, language: str, code: str) -> Source:
    """The new language's text: a file of any name, or its file in a folder.

    Args:
        data: The file or folder.
        language: The language as the user gave it, perhaps with a script.
        code: Its code in the run.

    Raises:
        BadInput: If there is none, or its kind is unknown.
    """
    if data.is_dir():
        return dataclasses.replace(find_sources(str(data), [language])[0], code=code)
    return source_of(data, code)


def named_donor(experts: ExpertSet, wanted: str, kind: Kind) -> str:
    """The model that `wanted`, a model's name or a language, stands for; `auto` is returned unchanged.

    Raises:
        BadInput: If it is neither, or the model cannot be joined.
    """
    if wanted == "auto":
        return wanted
    name = wanted if wanted in experts.models else _expert_of(experts, wanted)
    if kind == "join" and not is_expert(name):
        raise BadInput(
            f"{arg('as_', 'join')} needs an expert to join; {name} is none. There are: {', '.join(experts.names)}."
        )
    return name


def _expert_of(experts: ExpertSet, language: str) -> str:
    try:
        code = match(language, experts.languages)
    except BadInput:
        code = None
    if code is None:
        raise BadInput(
            f"{arg('donor', language)}: neither a model ({', '.join(experts.models)}) nor a language of this run "
            f"({', '.join(experts.languages)}). Use auto to have one chosen."
        )
    return experts.plan.cluster_of(code)


def read_text(experts: ExpertSet, source: Source, reading: Data, own: Own | None = None) -> NewText:
    """Read, split and tokenise the new language's text into the run's cache, by the run's tokenizer or another.

    Raises:
        BadInput: If the text cannot be read, or is too short to hold some of it out.
    """
    text_print, tokenizer = source.fingerprint(), own.tokenizer if own else experts.tokenizer()
    settings = reading.settings() | {"path": "", "languages": None}
    parts = [text_print, settings, *([own.fingerprint] if own else [])]
    folder = experts.files.cache / f"{source.code}-{fingerprint(*parts)[:12]}"
    store = build_store(folder, source, reading, tokenizer, vocab_size=len(tokenizer))
    texts = {split: texts_of(read_heldout(store.heldout_file, split)) for split in SPLITS}
    if not any(texts.values()):
        raise BadInput(
            f"{source.code}: no held-out text, so nothing to choose a donor by or to measure on. Rows say their "
            "split: some must be 'valid' or 'test'."
        )
    return NewText(store, text_print, texts["valid"] or texts["test"], texts["test"] or texts["valid"])
