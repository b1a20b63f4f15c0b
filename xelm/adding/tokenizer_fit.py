"""How well the run's tokenizer serves a new language, compared with the run's own languages."""

from __future__ import annotations

import statistics
from collections.abc import Collection, Mapping

from clustering.languages.codes import name_of
from clustering.sources.profiles import Profile
from xelm.run.records.ledger import TokenizerCheck, TokenizerFit

_MANY_TOKENS = 1.5
"""Tokens a byte, as a multiple of the median of the run's languages, from which on text costs noticeably more."""
_MANY_TOKENS_A_WORD = 2.0
"""Tokens a word, as a multiple of the median of the run's languages; it is large since word lengths differ."""
_MANY_PIECES = 0.2
"""Share of byte pieces by which a language may exceed the run's worst language before it is reported."""
_MANY_UNKNOWN = 0.001


def fit_of(profile: Profile) -> TokenizerFit:
    """How a tokenizer splits a language's text, computed from a profile made with it."""
    tokens = max(1, profile.subword_tokens)
    return TokenizerFit(
        tokens_per_byte=profile.subword_tokens / max(1, profile.num_bytes),
        tokens_per_word=profile.fertility if profile.word_tokens else None,
        fallback_share=profile.fallback_tokens / tokens,
        unknown_share=profile.unknown_tokens / tokens,
    )


def check_tokenizer(language: str, profiles: Mapping[str, Profile]) -> TokenizerCheck:
    """Compare the new language with the run's languages and report where the tokenizer serves it badly.

    Args:
        language: The new language's code.
        profiles: Profiles of the new language and the run's languages, by code, made with the run's tokenizer.
    """
    fits = {code: fit_of(profile) for code, profile in sorted(profiles.items())}
    own = fits.pop(language)
    return TokenizerCheck(own, fits, _warnings(name_of(language), own, list(fits.values())))


def badly_served(profiles: Mapping[str, Profile], left_out: Collection[str] = ()) -> list[str]:
    """Report which of a run's languages the tokenizer serves badly, before they are trained.

    Args:
        profiles: Profiles by code, made with the run's tokenizer.
        left_out: Languages that are not reported: their experts read pieces of their own.
    """
    fits = {code: fit_of(profile) for code, profile in sorted(profiles.items())}
    words = {code: fit.tokens_per_word for code, fit in fits.items() if fit.tokens_per_word}
    usual = statistics.median(words.values()) if words else 0.0
    warnings = []
    for code, fit in fits.items():
        faults = []
        if words.get(code, 0.0) > _MANY_TOKENS_A_WORD * usual:
            faults.append(f"{words[code]:.1f} tokens a word (the run's median is {usual:.1f})")
        if fit.fallback_share > _MANY_PIECES:
            faults.append(f"{fit.fallback_share:.0%} of its tokens are pieces of a character")
        if fit.unknown_share > _MANY_UNKNOWN:
            faults.append(f"{fit.unknown_share:.1%} of its tokens stand for text that cannot be written")
        if faults and code not in left_out:
            warnings.append(f"the tokenizer serves {name_of(code)} ({code}) badly: {'; '.join(faults)}.")
    return warnings


def _warnings(name: str, own: TokenizerFit, others: list[TokenizerFit]) -> list[str]:
    warnings = []
    usual = statistics.median(fit.tokens_per_byte for fit in others) if others else own.tokens_per_byte
    if own.tokens_per_byte > _MANY_TOKENS * usual:
        warnings.append(
            f"{name} takes {own.tokens_per_byte:.2f} tokens a byte where the run's languages take {usual:.2f}: the "
            f"same budget reads {own.tokens_per_byte / usual:.1f} times less text, and a prompt holds less of it."
        )
    worst = max((fit.fallback_share for fit in others), default=own.fallback_share)
    if own.fallback_share > worst + _MANY_PIECES:
        warnings.append(
            f"{own.fallback_share:.0%} of the tokens of {name} are pieces of a character (at most {worst:.0%} "
            "elsewhere in the run): the tokenizer never learned this script. It works, but learns slowly."
        )
    if own.unknown_share > _MANY_UNKNOWN:
        warnings.append(
            f"{own.unknown_share:.1%} of the tokens of {name} stand for text the tokenizer cannot write: its expert "
            "will never produce it. A base with byte fallback would."
        )
    return warnings
