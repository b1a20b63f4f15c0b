"""What is asked for when a language is added, and the checks that need no training."""

from __future__ import annotations

import dataclasses
import logging
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

from clustering.corpora.find import Source, find_sources, source_of
from clustering.errors import BadInput, arg
from clustering.languages.codes import match, name_of, resolve
from router.identify.stored import load_identifier
from xelm.corpus.store import TokenStore, build_store
from xelm.recipe.recipe import Data
from xelm.run.experts import ExpertSet
from xelm.run.folder import is_expert
from xelm.run.heldout import SPLITS, read_heldout, texts_of
from xelm.run.ledger import Kind
from xelm.run.manifest import fingerprint

_OTHER_LANGUAGE = 0.9
"""Share of documents read as another language from which the label is not believed; also how sure each reading is."""
logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Addition:
    """What is asked for."""

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

    def __post_init__(self) -> None:
        # `not 0 <= x < 1` also refuses NaN.
        if not 0 <= self.replay < 1:
            raise BadInput(f"replay={self.replay} is a share of the training blocks: choose 0 up to, but not, 1.")
        if self.kind not in get_args(Kind):
            raise BadInput(
                f"as={self.kind!r}: choose new (an expert of its own) or join (the donor's expert takes it in)."
            )
        if self.tokens is not None and self.tokens < 1:
            raise BadInput(f"tokens={self.tokens} must be at least 1.")

    @property
    def name(self) -> str:
        """Of its training: decides the order in which blocks are drawn."""
        return f"add-{self.language}"


@dataclass(frozen=True)
class NewText:
    """The text of the new language, read and tokenised."""

    store: TokenStore
    fingerprint: str
    """Of the files it was read from."""
    valid: list[str]
    """Held-out documents for decisions."""
    test: list[str]
    """Held-out documents for results."""

    @property
    def folder(self) -> Path:
        """Where its tokens are kept."""
        return self.store.heldout_file.parent


def new_code(experts: ExpertSet, language: str) -> str:
    """The code of a language that the run does not have yet.

    Raises:
        BadInput: If there is no such language, the run has it, or the run's identifier cannot learn it.
    """
    code = resolve(language).code
    there = match(code, experts.languages)
    if there:
        raise BadInput(
            f"{name_of(code)} is in this run already, as {there} in {experts.plan.cluster_of(there)}. "
            "If it was added, `xelm remove` takes it out again."
        )
    load_identifier(experts.files.router).refuse_unknown(code)
    return code


def find_source(data: Path, code: str) -> Source:
    """The new language's text: a file of any name, or its file in a folder.

    Raises:
        BadInput: If there is none, or of an unknown kind.
    """
    if data.is_dir():
        return dataclasses.replace(find_sources(str(data), [code])[0], code=code)
    return source_of(data, code)


def named_donor(experts: ExpertSet, wanted: str, kind: Kind) -> str:
    """The model that a donor given as a model's name or a language means; `auto` stays.

    Raises:
        BadInput: If it is neither, or cannot be joined.
    """
    if wanted == "auto":
        return wanted
    name = wanted if wanted in experts.models else _expert_of(experts, wanted)
    if kind == "join" and not is_expert(name):
        raise BadInput(f"--as join needs an expert to join; {name} is none. There are: {', '.join(experts.names)}.")
    return name


def _expert_of(experts: ExpertSet, language: str) -> str:
    try:
        code = match(resolve(language).code, experts.languages)
    except BadInput:
        code = None
    if code is None:
        raise BadInput(
            f"--donor {language}: neither a model ({', '.join(experts.models)}) nor a language of this run "
            f"({', '.join(experts.languages)}). Use auto to have one chosen."
        )
    return experts.plan.cluster_of(code)


def read_text(experts: ExpertSet, source: Source, reading: Data) -> NewText:
    """Read, split and tokenise the new language's text into the run's cache.

    Raises:
        BadInput: For text that cannot be read or is too short to hold some out.
    """
    text_print, tokenizer = source.fingerprint(), experts.tokenizer()
    settings = reading.settings() | {"path": "", "languages": None}
    folder = experts.files.cache / f"{source.code}-{fingerprint(text_print, settings)[:12]}"
    store = build_store(folder, source, reading, tokenizer, vocab_size=len(tokenizer))
    texts = {split: texts_of(read_heldout(store.heldout_file, split)) for split in SPLITS}
    if not any(texts.values()):
        raise BadInput(
            f"{source.code}: no held-out text, so nothing to choose a donor by or to measure on. Rows say their "
            "split: some must be 'valid' or 'test'."
        )
    return NewText(store, text_print, texts["valid"] or texts["test"], texts["test"] or texts["valid"])


def refuse_other_language(experts: ExpertSet, addition: Addition, texts: Sequence[str]) -> None:
    """Stop where the text is plainly another language than said: one of the run's, or one that langid knows.

    Raises:
        BadInput: If nine in ten documents are read as one other language, and `believe_label` is not set.
    """
    if addition.believe_label:
        return
    said = name_of(addition.language)
    for taken in (_read_as_of_run(experts, texts), _read_as_of_world(addition.language, texts)):
        most = max(sorted(set(taken) - {""}), key=taken.count, default=None)
        if most and taken.count(most) >= math.ceil(_OTHER_LANGUAGE * len(texts)):
            here = f"; {name_of(most)} is already in this run" if most in experts.languages else ""
            raise BadInput(
                f"The text looks like {name_of(most)} ({most}) in {taken.count(most)} of {len(texts)} held-out "
                f"documents, not {said}{here}. If it is {said}, add {arg('believe_label', True)}."
            )


def _read_as_of_run(experts: ExpertSet, texts: Sequence[str]) -> list[str]:
    """The language of the run that each text surely is; empty where it is surely none."""

    identifier = load_identifier(experts.files.router)
    posterior_BL, familiarity_B = identifier.identify(texts)
    sure_B = posterior_BL.max(axis=1) * familiarity_B > _OTHER_LANGUAGE
    best_B = posterior_BL.argmax(axis=1)
    return [identifier.languages[best] if sure else "" for best, sure in zip(best_B, sure_B, strict=True)]


def _read_as_of_world(language: str, texts: Sequence[str]) -> list[str]:
    """What langid reads each text as; empty where that is the language itself, unsure, or langid does not know it.

    Of a language it does not know langid names the nearest it knows, and surely: that is no evidence.
    """
    from router.identify.langid import LangidIdentifier

    identifier = LangidIdentifier()
    own = match(language, identifier.languages)
    if own is None:
        return [""] * len(texts)
    posterior_BC = identifier.posterior(texts)
    read = [(identifier.languages[int(row.argmax())], float(row.max())) for row in posterior_BC]
    return [code if code != own and sure > _OTHER_LANGUAGE else "" for code, sure in read]
