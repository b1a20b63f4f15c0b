"""Translations that a training reads beside the text: pairs of sentences, by language."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence

from clustering.corpora.find import find_sources
from clustering.errors import BadInput
from clustering.languages.codes import match, to_code
from xelm.aligning.pairs import Pair, read_pairs
from xelm.recipe.recipe import Data
from xelm.run.records.manifest import fingerprint

logger = logging.getLogger(__name__)


def training_pairs(data: Data, codes: Sequence[str]) -> dict[str, tuple[Pair, ...]]:
    """The pairs of the run's languages in `[data] pairs`, without those that `xelm align` holds out to test on.

    Args:
        data: The `[data]` section.
        codes: The run's languages.

    Returns:
        Language -> its pairs; languages without pairs, the pivot among them, are left out.

    Raises:
        BadInput: If none of the languages has pairs.
    """
    if data.pairs is None:
        return {}
    there = [source.code for source in find_sources(data.pairs)]
    pivot = match(data.pivot, there) or to_code(data.pivot)
    wanted = {code: tag for code in codes if (tag := match(code, there)) is not None and tag != pivot}
    if not wanted:
        raise BadInput(
            f"[data] pairs = {data.pairs!r}: pairs of {', '.join(there)}, but of no language of this run beside "
            f"the pivot ({', '.join(codes)})."
        )
    found = read_pairs(data.pairs, data.pivot, languages=sorted(set(wanted.values())))
    pairs = {code: found[name].fit for code, name in wanted.items() if found[name].fit}
    without = [code for code in codes if code not in pairs and not _same(code, pivot)]
    said = ", ".join(f"{code} {len(own):,}" for code, own in pairs.items())
    logger.info("pairs with %s to train on: %s%s", pivot, said, f"; none of {', '.join(without)}" if without else "")
    return pairs


def _same(code: str, pivot: str) -> bool:
    return match(pivot, [code]) is not None


def with_pairs(prints: Mapping[str, str], pairs: Mapping[str, Sequence[Pair]]) -> dict[str, str]:
    """Fingerprints of the text of languages, of which some have pairs too."""
    return {
        code: fingerprint(text, [[pair.text, pair.pivot] for pair in pairs[code]]) if code in pairs else text
        for code, text in prints.items()
    }
