"""A ready-made identifier as the identifier of a run: restricted to its languages, and with all others that it knows.

Shape letters: `B` texts, `C` languages the backend knows, `R` of the run, `O` others.
"""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from clustering.errors import BadInput
from clustering.files import atomic_write, write_json
from clustering.languages.codes import match, name_of, point_beside, points_of
from clustering.languages.points import code_of
from router.cleaning.clean import clean_letters
from router.identify.backend import Backend, read_spec
from router.identify.protocol import LanguageIdentifier

FORMAT_VERSION = 2
INDEX_FILE = "identifier.json"
MODEL_FILE = "identifier.bin"


class ReadyMadeIdentifier:
    """A backend's answers among the languages of a run.

    The posterior is the backend's, renormalised over the run's languages; a text is familiar by the share of
    probability that they have.

    Args:
        backend: The ready-made identifier.
        file: Its model file, if it reads one.
        languages: The run's R codes.
        known: The loaded backend, if it is loaded already, since some take long to load.

    Raises:
        BadInput: If the backend does not know one of them.
    """

    def __init__(
        self,
        backend: Backend,
        file: Path | None,
        languages: Sequence[str],
        known: LanguageIdentifier | None = None,
    ):
        self.backend = backend
        self._file = file
        self._known = known or backend.make(None, file)
        self._languages = tuple(points_of(languages))
        for code in self._languages:
            self.refuse_unknown(code)
        self._refuse_scripts()
        classes = list(self._known.languages)
        found = [match(code, classes) for code in self._languages]
        self._columns_R = [classes.index(code) for code in found if code is not None]
        self._columns_O = [column for column in range(len(classes)) if column not in set(self._columns_R)]

    @classmethod
    def of(cls, spec: str, languages: Sequence[str]) -> ReadyMadeIdentifier:
        """From `name` or `name:path`.

        Raises:
            BadInput: See `read_spec`, and the class.
        """
        return cls(*read_spec(spec), languages)

    @property
    def languages(self) -> Sequence[str]:
        """The run's codes."""
        return self._languages

    @property
    def other_languages(self) -> Sequence[str]:
        """The other languages that the backend knows."""
        return tuple(self._known.languages[column] for column in self._columns_O)

    def posterior(self, texts: Sequence[str]) -> np.ndarray:
        """Probabilities of the run's languages, shape (B, R), rows summing to 1; uniform without evidence."""
        return self.identify_openly(texts)[0]

    def identify(self, texts: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
        """Posterior and familiarity."""
        return self.identify_openly(texts)[:2]

    def identify_openly(self, texts: Sequence[str]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """See `RunIdentifier`."""
        posterior_BC = self._known.posterior(texts)
        own_BR, others_BO = posterior_BC[:, self._columns_R], posterior_BC[:, self._columns_O]
        spoken_B = np.array([bool(clean_letters(text)) for text in texts], dtype=bool)
        familiarity_B = np.where(spoken_B, own_BR.sum(axis=1).clip(0.0, 1.0), 0.0)
        return _shares(own_BR), familiarity_B, _shares(others_BO)

    def refuse_unknown(self, code: str) -> None:
        """Refuse a language that the backend does not know.

        Raises:
            BadInput: If it does not know the language; the message says what to do.
        """
        if match(code, self._known.languages) is None:
            raise BadInput(
                f"the language identifier {self.backend.name} does not know {name_of(code)} ({code}), so no text would "
                'reach its expert. Take [router] identifier = "combined", which learns from the run\'s own text.'
            )

    def _refuse_scripts(self) -> None:
        several = [code for code, number in Counter(map(code_of, self._languages)).items() if number > 1]
        if several:
            raise BadInput(
                f"the language identifier {self.backend.name} does not tell the scripts of {name_of(several[0])} "
                'apart. Take [router] identifier = "combined", which learns from the run\'s own text.'
            )

    def with_language(self, code: str, texts: Iterable[str], seed: int = 0) -> ReadyMadeIdentifier:
        """A new identifier with one more language that the backend knows; its text is not needed.

        Raises:
            BadInput: If the backend does not know it.
        """
        return ReadyMadeIdentifier(self.backend, self._file, [*self._languages, code], self._known)

    def without_language(self, code: str) -> ReadyMadeIdentifier:
        """A new identifier without one language.

        Raises:
            BadInput: If it is not one of the run's.
        """
        left = [known for known in self._languages if known != point_beside(code, self._languages)]
        if len(left) == len(self._languages):
            raise BadInput(f"{code}: the identifier does not answer for it, but for {', '.join(self._languages)}.")
        return ReadyMadeIdentifier(self.backend, self._file, left, self._known)

    def save(self, folder: str | Path) -> None:
        """Write the backend's name and the languages; the model file is copied, so that a run is complete."""
        target = Path(folder) / MODEL_FILE
        if self._file is not None and self._file.resolve() != target.resolve():
            with atomic_write(target) as partial:
                shutil.copyfile(self._file, partial)
        index = {"version": FORMAT_VERSION, "backend": self.backend.name, "languages": list(self._languages)}
        write_json(Path(folder) / INDEX_FILE, index)


def _shares(part_BX: np.ndarray) -> np.ndarray:
    """Rows scaled to sum to 1; uniform if they sum to 0."""
    sums_B1 = part_BX.sum(axis=1, keepdims=True)
    uniform = np.full_like(part_BX, 1.0 / max(1, part_BX.shape[1]))
    return np.asarray(np.divide(part_BX, sums_B1, out=uniform, where=sums_B1 > 0))
