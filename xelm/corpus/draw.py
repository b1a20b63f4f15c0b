"""The order of blocks, drawn once from a seed, so that every step of every run can be reproduced."""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

_PIECE = 64


def sampling_shares(sizes: Mapping[str, int], temperature: float) -> dict[str, float]:
    """Share of each language: p ∝ size^(1/temperature), summing to 1 (Devlin et al. 2019; temperature 1 is by size).

    Args:
        sizes: Tokens or blocks of each language, > 0.
        temperature: > 0; large makes the shares equal.
    """
    logits = np.array([np.log(size) / temperature for size in sizes.values()])
    weights = np.exp(logits - logits.max())
    return dict(zip(sizes, (weights / weights.sum()).tolist(), strict=True))


def apportion(total: int, shares: Mapping[str, float]) -> dict[str, int]:
    """Whole numbers that sum to `total` in proportion to `shares` (largest remainder; ties to the first)."""
    scale = sum(shares.values())
    exact = {name: total * share / scale for name, share in shares.items()}
    counts = {name: int(value) for name, value in exact.items()}
    by_remainder = sorted(exact, key=lambda name: counts[name] - exact[name])
    for name in by_remainder[: total - sum(counts.values())]:
        counts[name] += 1
    return counts


@dataclass(frozen=True)
class DrawOrder:
    """The blocks of a whole training, in order: block `block[i]` of language `languages[language[i]]`."""

    languages: tuple[str, ...]
    language: np.ndarray
    block: np.ndarray

    def __len__(self) -> int:
        return len(self.language)

    def part(self, begin: int, end: int) -> DrawOrder:
        """The blocks from one place up to another."""
        return DrawOrder(self.languages, self.language[begin:end], self.block[begin:end])

    def counts(self) -> dict[str, int]:
        """Blocks of each language."""
        counts = np.bincount(self.language, minlength=len(self.languages)).tolist()
        return dict(zip(self.languages, counts, strict=True))


def draw_order(
    num_blocks: Mapping[str, int], shares: Mapping[str, float], num_draws: int, *, seed: int, name: str
) -> DrawOrder:
    """Draw blocks so that each language is drawn in proportion to its share, spread evenly at random.

    Every block of a language comes once before any comes twice, each time round in a new order.

    Args:
        num_blocks: Blocks there are of each language.
        shares: Share of each language in the draws.
        num_draws: Blocks to draw.
        seed: Of the run.
        name: Of the stage (`base`, an expert's name), so that stages differ.
    """
    counts = apportion(num_draws, {code: shares[code] for code in sorted(num_blocks)})
    return draw_phases(num_blocks, [counts], seed=seed, name=name)


def open_order(
    num_blocks: Mapping[str, int], shares: Mapping[str, float], num_draws: int, *, seed: int, name: str
) -> DrawOrder:
    """Draw blocks as `draw_order` does, but so that a longer order begins with every shorter one.

    A language's draws follow one another at even distances; within each piece of 64 draws they are shuffled.

    Args:
        num_blocks: Blocks there are of each language.
        shares: Share of each language in the draws.
        num_draws: Blocks to draw.
        seed: Of the run.
        name: Of the stage.
    """
    languages, label = tuple(sorted(num_blocks)), zlib.crc32(name.encode())
    whole = -(-num_draws // _PIECE) * _PIECE
    numbers = [np.arange(int(whole * shares[code]) + 2) for code in languages]
    times = np.concatenate([(n + 0.5) / shares[code] for n, code in zip(numbers, languages, strict=True)])
    language = np.repeat(np.arange(len(languages)), [len(n) for n in numbers])[np.argsort(times, kind="stable")]
    for begin in range(0, whole, _PIECE):
        np.random.default_rng([seed, label, begin]).shuffle(language[begin : begin + _PIECE])
    language = language[:num_draws]
    block = np.empty(num_draws, dtype=np.int64)
    for index, code in enumerate(languages):
        mine = language == index
        rounds = range(-(-int(mine.sum()) // num_blocks[code]))
        order = [_permutation(num_blocks[code], [seed, label, zlib.crc32(code.encode()), r]) for r in rounds]
        if order:
            block[mine] = np.concatenate(order)[: mine.sum()]
    return DrawOrder(languages, language, block)


def _permutation(number: int, seed: list[int]) -> np.ndarray:
    return np.random.default_rng(seed).permutation(number)


def draw_phases(
    num_blocks: Mapping[str, int], counts: Sequence[Mapping[str, int]], *, seed: int, name: str
) -> DrawOrder:
    """Draw blocks in phases, each with its own number of blocks a language, spread evenly at random within the phase.

    Every block of a language comes once before any comes twice, over all phases.

    Args:
        num_blocks: Blocks there are of each language.
        counts: For each phase, how many blocks of each language (left out: none).
        seed: Of the run.
        name: Of the stage.
    """
    rng = np.random.default_rng([seed, zlib.crc32(name.encode())])
    languages = tuple(sorted(num_blocks))
    language = shuffled_languages(rng, languages, counts)
    block = np.empty(len(language), dtype=np.int64)
    for index, code in enumerate(languages):
        drawn = int((language == index).sum())
        order = [rng.permutation(num_blocks[code]) for _ in range(-(-drawn // num_blocks[code]))]
        if order:
            block[language == index] = np.concatenate(order)[:drawn]
    return DrawOrder(languages, language, block)


def shuffled_languages(
    rng: np.random.Generator, languages: Sequence[str], phases: Sequence[Mapping[str, int]]
) -> np.ndarray:
    """The language of each block of a training, by its index in `languages`; shuffled within each phase.

    Args:
        rng: The generator of the order.
        languages: Codes.
        phases: For each phase, how many blocks of each language (left out: none).
    """
    pieces = []
    for phase in phases:
        piece = np.repeat(np.arange(len(languages)), [phase.get(code, 0) for code in languages])
        rng.shuffle(piece)
        pieces.append(piece)
    return np.concatenate(pieces)
