"""Character n-grams of many texts at once, as hashes.

Shape letters: `B` texts, `N` characters of all texts, `G` n-grams found.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from router.letters import code_points, plain_letters

ORDERS = (1, 2, 3, 4, 5)
_MULTIPLIER = np.uint64(0x9E3779B97F4A7C15)  # 2^64 / golden ratio: consecutive code points land far apart
_MIX = np.uint64(0xBF58476D1CE4E5B9)
_HALF = np.uint64(32)


def hashed_ngrams(texts: Sequence[str]) -> Iterator[tuple[int, np.ndarray, np.ndarray]]:
    """Hash the character n-grams of each text; words keep one space on either side.

    Args:
        texts: B texts, any Unicode; reduced by `plain_letters` first.

    Yields:
        For each order in `ORDERS`: the order, 32-bit hashes of its n-grams, shape (G,), and the index of the text each
        belongs to, shape (G,), not decreasing. No n-gram spans two texts, and none is a lone space.
    """
    plain = [f" {letters} " if letters else "" for letters in map(plain_letters, texts)]
    codes_N = code_points("".join(plain)).astype(np.uint64)
    owner_N = np.repeat(np.arange(len(plain)), [len(text) for text in plain])
    hashes_G = np.zeros(len(codes_N), dtype=np.uint64)
    for order in range(1, ORDERS[-1] + 1):
        num_grams = max(0, len(codes_N) - order + 1)
        # Rolling hash: that of n characters follows from that of their first n - 1.
        hashes_G = (hashes_G[:num_grams] + codes_N[order - 1 :] + np.uint64(1)) * _MULTIPLIER
        hashes_G ^= hashes_G >> _HALF
        inside_G = owner_N[:num_grams] == owner_N[order - 1 :]
        if order == 1:
            inside_G = inside_G & (codes_N != ord(" "))
        keys_G = ((hashes_G * _MIX) >> _HALF).astype(np.uint32)
        yield order, keys_G[inside_G], owner_N[:num_grams][inside_G]
