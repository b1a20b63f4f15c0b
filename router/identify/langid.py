"""langid.py's model (97 languages), restricted to a run's languages, vectorised and with believable probabilities.

langid walks its automaton byte by byte in Python and normalises over raw naive-Bayes sums, so that nearly every answer
is "certain". Here its arrays are read once and the walk is done for all bytes of all texts together: the automaton
looks for byte n-grams of at most `_MAX_GRAM` bytes, so its state after a byte depends on that byte and the three
before it. Shape letters: `B` texts, `N` bytes, `S` states, `L` languages.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from clustering.errors import BadInput
from clustering.languages.codes import match, to_code
from router.cleaning.clean import clean
from router.identify.langid_arrays import load_langid
from router.letters import plain_letters, utf8_bytes

_MAX_GRAM = 4
# temperature = scale * bytes ** power, fitted on the train sentences of SIB-200 cut to 20, 50 and 150 characters,
# among all 97 classes (experiments/routing/fit_constants.py).
TEMPERATURE_SCALE = 0.785
TEMPERATURE_POWER = 0.369


class LangidIdentifier:
    """langid restricted to the given languages.

    Guarantees: sums of log-likelihoods equal langid's own; the posterior is softmax of (sum / temperature), where the
    temperature grows with length because neighbouring n-grams repeat each other's evidence. Text without letters
    gets the uniform posterior.

    Args:
        languages: Codes or names to answer for, in this order, if langid knows them (`swh` as `sw`); None for all 97.
        restrict: False keeps all 97 classes in the softmax and the columns of the languages asked for first.

    Raises:
        BadInput: If langid knows none of `languages`.

    Example:
        >>> LangidIdentifier(["deu", "swh"]).posterior(["Guten Morgen"]).argmax()
        0
    """

    def __init__(self, languages: Sequence[str] | None = None, restrict: bool = True):
        model = load_langid()
        columns: dict[str, int] = {}
        for language in languages if languages is not None else model.classes:
            found = match(language, model.classes)
            if found is not None:
                columns[to_code(language)] = model.classes.index(found)
        if not columns:
            raise BadInput(
                f"langid knows none of {', '.join(languages or [])}. Train an identifier on the run's own text "
                "instead (router.identify.ngram)."
            )
        self.unknown = tuple(code for code in map(to_code, languages or ()) if code not in columns)
        if not restrict:
            taken = set(columns.values())
            columns |= {to_code(c): i for i, c in enumerate(model.classes) if i not in taken}
        self._languages = tuple(columns)
        indices = list(columns.values())
        # With all languages, use the model's own scores in its order; a copy would double the memory.
        self._order = indices if len(indices) == len(model.classes) else None
        self._scores_SL = model.state_scores if self._order else np.ascontiguousarray(model.state_scores[:, indices])
        self._log_prior_L = model.log_prior[indices]
        self._next_state = model.next_state

    @property
    def languages(self) -> Sequence[str]:
        """The codes that it answers for, as the caller wrote them."""
        return self._languages

    def log_likelihoods(self, texts: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
        """langid's raw scores.

        Args:
            texts: B texts.

        Returns:
            langid's log-likelihoods with prior in nats, shape (B, L), and lengths in bytes, shape (B,).
        """
        encoded = [utf8_bytes(text) for text in texts]
        lengths_B = np.array([len(data) for data in encoded], dtype=np.int64)
        states_N = self._states(encoded, lengths_B)
        scores_BL = _sum_rows(self._scores_SL, states_N, lengths_B)
        if self._order:
            scores_BL = scores_BL[:, self._order]
        return scores_BL + self._log_prior_L, lengths_B

    def posterior(self, texts: Sequence[str]) -> np.ndarray:
        """Probabilities of the languages, shape (B, L), rows summing to 1; uniform without letters."""
        texts = [clean(text) for text in texts]
        scores_BL, lengths_B = self.log_likelihoods(texts)
        temperatures_B = TEMPERATURE_SCALE * np.maximum(lengths_B, 1) ** TEMPERATURE_POWER
        logits_BL = scores_BL / temperatures_B[:, None]
        logits_BL[[not plain_letters(text) for text in texts]] = 0.0
        odds_BL = np.exp(logits_BL - logits_BL.max(axis=1, keepdims=True))
        return np.asarray(odds_BL / odds_BL.sum(axis=1, keepdims=True))

    def _states(self, encoded: list[bytes], lengths_B: np.ndarray) -> np.ndarray:
        """The automaton's state after each byte of each text, shape (N,), texts one after the other."""
        bytes_N = np.frombuffer(b"".join(encoded), dtype=np.uint8).astype(np.int64)
        starts_B = np.cumsum(lengths_B) - lengths_B
        offset_N = np.arange(len(bytes_N)) - np.repeat(starts_B, lengths_B)
        states_N = np.zeros(len(bytes_N), dtype=np.int64)
        for back in range(_MAX_GRAM - 1, -1, -1):
            # Near the beginning of a text, the walk starts later, from the root.
            walking_N = offset_N >= back
            source_N = np.flatnonzero(walking_N)
            stepped = self._next_state[(states_N[source_N] << 8) + bytes_N[source_N - back]]
            states_N[source_N] = stepped
        return states_N


def _sum_rows(scores_SL: np.ndarray, states_N: np.ndarray, lengths_B: np.ndarray) -> np.ndarray:
    from scipy.sparse import csr_matrix

    if len(lengths_B) == 1:  # in the same order, without what the making of sparse matrices costs
        states, counts = np.unique(states_N, return_counts=True)
        return np.asarray((counts[:, None].astype(np.float64) * scores_SL[states]).sum(axis=0, keepdims=True))

    bounds = np.concatenate([[0], np.cumsum(lengths_B)])
    visits_BS = csr_matrix(
        (np.ones(len(states_N), dtype=np.float32), states_N, bounds), shape=(len(lengths_B), len(scores_SL))
    )
    visits_BS.sum_duplicates()  # exact counts, so that long texts add in few terms
    return np.asarray(visits_BS.astype(np.float64) @ scores_SL)
