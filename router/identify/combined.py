"""langid and n-grams of the run's own text in one calibrated posterior that also notices foreign text.

For each language the n-gram evidence, divided by a temperature that grows with length, is added to langid's
log-probability of that language among all its 97 (a constant for languages it does not know). The constants were
fitted once on SIB-200's train sentences with models trained on other books (experiments/routing/fit_constants.py);
training on a run may soften them if its languages are harder to distinguish, but never sharpen them, since held-out
text of the same book gives too good results. Shape letters: `B` texts, `L` languages, `C` classes of langid, `F`
features of familiarity.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from types import MappingProxyType

import numpy as np

from clustering.errors import BadInput
from clustering.files import read_json, write_json
from clustering.languages.codes import match, point_beside
from router.cleaning.clean import clean
from router.cleaning.spellings import Evidence, OtherSpellings
from router.identify.langid import LangidIdentifier
from router.identify.langid_opinion import LangidOpinion, OtherNames
from router.identify.ngram import NgramIdentifier
from router.identify.samples import random_spans, sample_texts
from router.routes.affinity import softmax

logger = logging.getLogger(__name__)

FORMAT_VERSION = 1
INDEX_FILE = "identifier.json"
NGRAM_SCALE = 9.0
NGRAM_POWER = 0.436
LANGID_SHARE = 0.31
# Log-probability in nats of a text in another spelling than the run's text of its language, before it is read.
OTHER_SPELLING = float(np.log(0.6))
# Log-probability in nats that counts as langid's for a language that it does not know.
LANGID_UNKNOWN = -6.2
# Log-odds that a text is in one of the languages, from `familiarity_features` and a constant, where langid knows the
# best of them and where not. Fitted with as many foreign texts as own, on the two books' runs and small parts of them.
FAMILIAR_KNOWN = (6.37, 0.6, -6.73, 8.44, 8.6, -4.84)
FAMILIAR_UNKNOWN = (1.0, 0.0, -1.82, 2.07, 28.75, -3.28)
# The same for a text in another spelling than the run's text of its language, where langid says nothing, and as many
# foreign texts as own come. Fitted on romanised Serbian, Russian and Bulgarian of SIB-200 against 28 foreign languages
# under four runs, with readings of any typicality: on a fifth run it knows 88 % of them and takes 3.5 % of the foreign.
FAMILIAR_RESPELT = (19.28, 0.0, -26.35, 36.28, 0.0, -14.58)
# Share of its usual evidence that a language finds in any text of its script; only a larger lead is evidence.
ANY_TEXT = 0.4
# Beyond these numbers of letters, a text's length no longer changes how its evidence is read.
SHORT, LONG = 20, 150
# Users mostly give texts in the run's languages: nine in ten.
PRIOR_LOG_ODDS = float(np.log(9.0))
NUM_SPANS = 40
SOFTENING_GRID = np.linspace(0.0, 1.5, 16)
_MOST_SOFTENING = 20.0


class CombinedIdentifier:
    """The identifier of a run.

    Args:
        ngram: Trained on the run's text; its languages are the answer's.
        use_langid: Whether to add langid's evidence for the languages that it knows.
        softening: Log of the factor by which this run's temperatures are raised, >= 0.
        other_names: What langid takes languages for that it does not recognise in this run's text.
    """

    def __init__(
        self,
        ngram: NgramIdentifier,
        use_langid: bool = True,
        softening: float = 0.0,
        other_names: OtherNames = MappingProxyType({}),
    ):
        self.ngram = ngram
        self.use_langid = use_langid
        self.softening = softening
        self.other_names = dict(other_names) if use_langid else {}
        self._opinion = LangidOpinion(ngram.languages, self.other_names) if use_langid else None
        self._known_L = self._opinion.known_L if self._opinion else np.zeros(len(ngram.languages), dtype=bool)

    @classmethod
    def train(
        cls, corpora: Mapping[str, Iterable[str]], seed: int = 0, *, use_langid: bool = True
    ) -> CombinedIdentifier:
        """Train on a run's text and calibrate on a held-out tenth of it; a fraction of a second for each language.

        Args:
            corpora: Language -> texts, as for `NgramIdentifier.train`.
            seed: Chooses samples and spans.
            use_langid: See the class.

        Raises:
            BadInput: If there is no language, or one has no text with letters.
        """
        samples = {code: sample_texts(code, texts, seed) for code, texts in corpora.items()}
        ngram = NgramIdentifier.from_samples(samples)
        drawn = [random_spans(part.held_out, NUM_SPANS, seed + row) for row, part in enumerate(samples.values())]
        other_names = _other_names(dict(zip(ngram.languages, drawn, strict=True))) if use_langid else {}
        identifier = cls(ngram, use_langid, other_names=other_names)
        truth_B = np.repeat(np.arange(len(drawn)), NUM_SPANS)
        softening = identifier._fit_softening([span for spans in drawn for span in spans], truth_B)
        return cls(ngram, use_langid, softening, other_names)

    def refuse_unknown(self, code: str) -> None:
        """Does nothing: a language is learnt from its text."""

    def with_language(self, code: str, texts: Iterable[str], seed: int = 0) -> CombinedIdentifier:
        """A new identifier with one more language; tables and calibration of the others do not change."""
        sample, point = sample_texts(code, texts, seed), point_beside(code, self.ngram.tables)
        ngram = self.ngram.with_sample(code, sample)
        found = _other_names({point: random_spans(sample.held_out, NUM_SPANS, seed)}) if self.use_langid else {}
        others = {known: names for known, names in self.other_names.items() if known != point}
        return CombinedIdentifier(ngram, self.use_langid, self.softening, {**others, **found})

    def without_language(self, code: str) -> CombinedIdentifier:
        """A new identifier without one language, as if `with_language` had not been called.

        Raises:
            BadInput: If it does not know the language, or knows no other.
        """
        ngram = self.ngram.without_language(code)
        others = {known: names for known, names in self.other_names.items() if known in ngram.tables}
        return CombinedIdentifier(ngram, self.use_langid, self.softening, others)

    @property
    def languages(self) -> Sequence[str]:
        """The run's codes."""
        return self.ngram.languages

    def posterior(self, texts: Sequence[str]) -> np.ndarray:
        """Probabilities of the languages, shape (B, L), rows summing to 1; uniform without letters."""
        texts = [clean(text) for text in texts]
        langid_BC = self._langid_log_posterior(texts)
        return self._soften(self._logits(self._evidence(texts), langid_BC))

    def familiarity(self, texts: Sequence[str]) -> np.ndarray:
        """Probability that each text is in one of `languages`, shape (B,); 0 without letters."""
        return self.identify(texts)[1]

    def identify(self, texts: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
        """Posterior and familiarity together, at the cost of one."""
        return self._identify_beside_langid(texts)[:2]

    @property
    def other_languages(self) -> Sequence[str]:
        """langid's languages outside the run."""
        return tuple(self._world.languages[column] for column in self._other_columns)

    def identify_openly(self, texts: Sequence[str]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """See `RunIdentifier`; it costs little more than `identify`, which has asked langid already."""
        posterior_BR, familiarity_B, langid_BC = self._identify_beside_langid(texts)
        if langid_BC is None:
            langid_BC = np.log(self._world.posterior(texts).clip(1e-300))
        # langid's softmax over some of its classes is that over all of them, renormalised.
        others_BO = langid_BC[:, self._other_columns]
        return posterior_BR, familiarity_B, softmax(others_BO) if self._other_columns else others_BO

    @cached_property
    def _world(self) -> LangidIdentifier:
        return self._opinion.langid if self._opinion else LangidIdentifier()

    @cached_property
    def _other_columns(self) -> list[int]:
        return [i for i, code in enumerate(self._world.languages) if match(code, self.languages) is None]

    def _identify_beside_langid(self, texts: Sequence[str]) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
        """Posterior, familiarity, and langid's log-probabilities, shape (B, C), if it was used."""
        texts = [clean(text) for text in texts]
        found = self._evidence(texts)
        langid_BC = self._langid_log_posterior(texts)
        posterior_BL = self._soften(self._logits(found, langid_BC))
        best_B = posterior_BL.argmax(axis=1)
        features_BF, known_B, respelt_B = self._features(best_B, found, langid_BC)
        kinds = [respelt_B[:, None], known_B[:, None]]
        coefficients_BK = np.select(kinds, [FAMILIAR_RESPELT, FAMILIAR_KNOWN], FAMILIAR_UNKNOWN)
        log_odds_B = (coefficients_BK[:, :-1] * features_BF).sum(axis=1) + coefficients_BK[:, -1]
        log_odds_B = np.where(respelt_B, log_odds_B, log_odds_B + PRIOR_LOG_ODDS)
        familiarity_B = np.where(found.lengths > 0, 1 / (1 + np.exp(-log_odds_B)), 0.0)
        return posterior_BL, familiarity_B, langid_BC

    def familiarity_features(self, texts: Sequence[str]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """The features from which familiarity is computed.

        Returns:
            Features, shape (B, F); whether langid knows the best language, shape (B,); whether the text is in another
            spelling than the run's text of that language, which langid does not know, shape (B,). The features:
            typicality, which is evidence for the best language per letter over its usual evidence (about 1 for its own
            text); langid's log-odds of the run's languages against all others; log of the length; typicality times
            that; the lead in typicality over the next language, or over `ANY_TEXT` if that is more.
        """
        texts = [clean(text) for text in texts]
        found = self._evidence(texts)
        langid_BC = self._langid_log_posterior(texts)
        return self._features(self._logits(found, langid_BC).argmax(axis=1), found, langid_BC)

    def _features(
        self, best_B: np.ndarray, found: Evidence, langid_BC: np.ndarray | None
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        rows_B, lengths_B = np.arange(len(best_B)), found.lengths
        usual_B = found.usual[rows_B, best_B]
        typical_BL = found.evidence / np.maximum(lengths_B, 1)[:, None] / usual_B[:, None]
        typical_B = typical_BL[rows_B, best_B]
        typical_BL[rows_B, best_B] = 0.0
        lead_B = typical_B - np.maximum(typical_BL.max(axis=1), ANY_TEXT)
        length_B = np.log(np.clip(lengths_B, SHORT, LONG) / SHORT)
        odds_B = np.zeros(len(best_B))
        if langid_BC is not None and self._opinion:
            share_B = self._opinion.share_of_run(langid_BC).clip(1e-6, 1 - 1e-6)
            odds_B = np.log(share_B / (1 - share_B))
        features_BF = np.stack([typical_B, odds_B, length_B, typical_B * length_B, lead_B], axis=1)
        return features_BF, self._known_L[best_B], found.respelt[rows_B, best_B]

    def save(self, folder: str | Path) -> None:
        """Write JSON and safetensors, about 100 kB a language."""
        self.ngram.save(folder)
        write_json(
            Path(folder) / INDEX_FILE,
            {"version": FORMAT_VERSION, "use_langid": self.use_langid, "softening": self.softening}
            | ({"other_names": self.other_names} if self.other_names else {}),
        )

    @classmethod
    def load(cls, folder: str | Path) -> CombinedIdentifier:
        """Read what `save` wrote.

        Raises:
            BadInput: If a file is missing, damaged, or of another version.
        """
        index = read_json(Path(folder) / INDEX_FILE)
        if not isinstance(index, dict) or index.get("version") != FORMAT_VERSION:
            raise BadInput(
                f"{Path(folder) / INDEX_FILE}: not an identifier of version {FORMAT_VERSION}. Train it again."
            )
        use_langid, softening = index.get("use_langid"), index.get("softening")
        if (
            not isinstance(use_langid, bool)
            or not isinstance(softening, int | float)
            or isinstance(softening, bool)
            or not 0 <= softening <= _MOST_SOFTENING
        ):
            raise BadInput(f"{Path(folder) / INDEX_FILE}: damaged (use_langid or softening). Train it again.")
        ngram = NgramIdentifier.load(folder)
        try:
            other_names = {code: dict(names) for code, names in index.get("other_names", {}).items()}
            return cls(ngram, use_langid, float(softening), other_names)
        except (AttributeError, TypeError, ValueError):
            raise BadInput(f"{Path(folder) / INDEX_FILE}: damaged (other_names). Train it again.") from None

    def _soften(self, logits_BL: np.ndarray) -> np.ndarray:
        """The posterior of logits, at this run's temperature."""
        return softmax(logits_BL * np.exp(-self.softening))

    @cached_property
    def _spellings(self) -> OtherSpellings:
        return OtherSpellings(self.ngram)

    def _evidence(self, texts: Sequence[str]) -> Evidence:
        return self._spellings.read(texts, *self.ngram.evidence(texts))

    def _langid_log_posterior(self, texts: Sequence[str]) -> np.ndarray | None:
        return self._opinion.log_posterior(texts) if self._opinion else None

    def _logits(self, found: Evidence, langid_BC: np.ndarray | None) -> np.ndarray:
        lengths_B, respelt_BL = found.lengths, found.respelt
        logits_BL = found.evidence / (NGRAM_SCALE * np.maximum(lengths_B, 1) ** NGRAM_POWER)[:, None]
        if langid_BC is not None and self._opinion:
            opinion_BL = self._opinion.of_run(langid_BC, LANGID_UNKNOWN)
            # langid does not know such a spelling: it speaks for it as far as it speaks for none of the others.
            as_it_stands_BL = np.where(self._known_L & ~respelt_BL, np.exp(opinion_BL), 0.0)
            none_B = np.log1p(-as_it_stands_BL.sum(axis=1).clip(max=1 - 1e-6))
            opinion_BL = np.where(respelt_BL, none_B[:, None], opinion_BL)
            logits_BL = logits_BL + LANGID_SHARE * opinion_BL
        logits_BL = logits_BL + OTHER_SPELLING * respelt_BL
        return np.where(lengths_B[:, None] > 0, logits_BL, 0.0)

    def _fit_softening(self, spans: list[str], truth_B: np.ndarray) -> float:
        """The grid value with the least mean negative log-probability of the true languages."""
        found = self._spellings.as_they_stand(*self.ngram.evidence(spans))
        logits_BL = self._logits(found, self._langid_log_posterior(spans))
        losses = []
        for softening in SOFTENING_GRID:
            posterior_BL = softmax(logits_BL * np.exp(-softening))
            losses.append(-np.log(posterior_BL[np.arange(len(truth_B)), truth_B].clip(1e-12)).mean())
        best = int(np.argmin(losses))
        logger.info("Identifier: %.4f nats on held-out spans, softening %.1f", losses[best], SOFTENING_GRID[best])
        return float(SOFTENING_GRID[best])


def _other_names(spans_of: Mapping[str, Sequence[str]]) -> dict[str, dict[str, float]]:
    """What langid takes languages for that it does not recognise in the run's text."""
    opinion = LangidOpinion(list(spans_of), {})
    found = {code: opinion.other_names(code, [clean(span) for span in spans]) for code, spans in spans_of.items()}
    for code, names in found.items():
        if names:
            logger.info("%s: langid takes its text for %s, and is not asked which.", code, ", ".join(names))
    return {code: names for code, names in found.items() if names}
