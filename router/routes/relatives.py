"""Languages that are hard to distinguish: what a run has measured of them, and what its answers make of it.

Two things are kept in the run's router. A *prior* for a language that came later, so that text which may be an older
language's is not taken from it: nats that are added to the newcomer's log-probability, at most 0, chosen by the losses
of the older languages' held-out text. And *groups* of languages whose sentences the identifier confuses, measured on
held-out text: they share an answer ("bos/hrv/srp") where a text does not decide, and the probabilities among them are
softened to what that text bears out.
Shape letters: `B` texts, `L` languages, `G` languages of a group, `O` others.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from clustering.errors import BadInput
from clustering.files import read_json, write_json
from clustering.languages.codes import match
from router.cleaning.clean import clean_letters
from router.identify.protocol import OpenlyIdentifies, OpenSetIdentifier
from router.routes.affinity import softmax

FORMAT_VERSION = 1
FILE_NAME = "relatives.json"
CONFUSED_SHARE = 0.05
"""Share of the sentences of two languages that are read as the other one, from which on they share an answer."""
FEWEST_CONFUSED = 3
"""Sentences read wrongly that are needed before a share counts: one in ten may be an accident."""
SURE = 0.9
"""A text decides between languages of a group if one of them has this much of the group's probability."""
LEAST_PRIOR = -20.0
_TEMPERATURES = np.exp(np.linspace(0.0, 3.0, 31))


@dataclass(frozen=True)
class Group:
    """Languages that share an answer.

    Attributes:
        languages: At least two codes, in order.
        temperature: The probabilities among them are taken to the power of one over this, at least 1.
    """

    languages: tuple[str, ...]
    temperature: float = 1.0

    def __post_init__(self) -> None:
        if len(self.languages) < 2 or not 1 <= self.temperature < np.inf:
            raise ValueError(f"a group of {len(self.languages)} languages at temperature {self.temperature}")


@dataclass(frozen=True)
class Relatives:
    """What a run knows of languages that are hard to distinguish.

    Attributes:
        priors: Language -> nats added to its log-probability, at most 0; languages without one have 0.
        groups: Languages that share an answer; none is in two groups.
    """

    priors: Mapping[str, float] = field(default_factory=dict)
    groups: tuple[Group, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.groups) or any(self.priors.values())

    def with_prior(self, language: str, prior: float) -> Relatives:
        """The same with the prior of one language; 0 removes it."""
        others = {code: value for code, value in self.priors.items() if code != language}
        return replace(self, priors={**others, language: prior} if prior else others)

    def adjust(self, posterior_BL: np.ndarray, languages: Sequence[str]) -> np.ndarray:
        """Probabilities of the languages with priors and softened groups, shape (B, L), rows summing to 1.

        Args:
            posterior_BL: The identifier's probabilities.
            languages: Its L codes.
        """
        if not self:
            return posterior_BL
        adjusted_BL = np.array(posterior_BL, dtype=np.float64)
        for language, prior in self.priors.items():
            if (found := match(language, languages)) is not None:
                adjusted_BL[:, list(languages).index(found)] *= np.exp(prior)
        for columns, group in self._columns(languages):
            adjusted_BL[:, columns] = _softened(adjusted_BL[:, columns], group.temperature)
        return np.asarray(adjusted_BL / adjusted_BL.sum(axis=1, keepdims=True))

    def shared(self, languages: Sequence[str]) -> dict[int, tuple[int, ...]]:
        """Index of a language -> indices of all that share its answer."""
        return {column: columns for columns, _ in self._columns(languages) for column in columns}

    def _columns(self, languages: Sequence[str]) -> list[tuple[tuple[int, ...], Group]]:
        found = [(tuple(match(code, languages) for code in group.languages), group) for group in self.groups]
        index = {code: column for column, code in enumerate(languages)}
        return [(tuple(index[code] for code in codes if code), group) for codes, group in found if all(codes)]

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {"priors": dict(self.priors), "groups": [asdict(group) for group in self.groups]}

    def save(self, folder: str | Path) -> None:
        """Write them into the folder of a run's router, or remove the file if there is nothing to say."""
        path = Path(folder) / FILE_NAME
        if not self:
            path.unlink(missing_ok=True)
            return
        write_json(path, {"version": FORMAT_VERSION, **self.to_dict()})

    @classmethod
    def load(cls, folder: str | Path) -> Relatives:
        """Read what `save` wrote; a router without the file, such as one of an earlier version, has none.

        Raises:
            BadInput: If the file is damaged, or of another version.
        """
        path = Path(folder) / FILE_NAME
        if not path.is_file():
            return cls()
        index = read_json(path)
        if not isinstance(index, dict) or index.get("version") != FORMAT_VERSION:
            raise BadInput(f"{path}: no relatives of version {FORMAT_VERSION}. Train the run's router again.")
        try:
            priors = {str(code): float(value) for code, value in index["priors"].items()}
            groups = tuple(Group(tuple(map(str, g["languages"])), float(g["temperature"])) for g in index["groups"])
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise BadInput(f"{path}: damaged ({error}). Restore it from a copy of the run.") from None
        members = [code for group in groups for code in group.languages]
        if len(set(members)) < len(members) or not all(LEAST_PRIOR <= value <= 0 for value in priors.values()):
            raise BadInput(f"{path}: damaged (priors, or a language in two groups). Restore it from a copy of the run.")
        return cls(priors, groups)


class RelativesIdentifier:
    """An identifier whose probabilities are adjusted by what a run knows of relatives.

    Args:
        identifier: The run's identifier.
        relatives: What the run knows.
    """

    def __init__(self, identifier: OpenlyIdentifies, relatives: Relatives):
        self.plain, self.relatives = identifier, relatives

    @property
    def languages(self) -> Sequence[str]:
        """The run's codes."""
        return self.plain.languages

    @property
    def other_languages(self) -> Sequence[str]:
        """The codes outside the run that it can identify."""
        return self.plain.other_languages

    def posterior(self, texts: Sequence[str]) -> np.ndarray:
        """Probabilities of the languages, shape (B, L), rows summing to 1; the priors for a text without evidence."""
        return self.relatives.adjust(self.plain.posterior(texts), self.languages)

    def identify(self, texts: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
        """The posterior, and the probability that each text is in one of `languages`, shape (B,)."""
        posterior_BL, familiarity_B = self.plain.identify(texts)
        return self.relatives.adjust(posterior_BL, self.languages), familiarity_B

    def identify_openly(self, texts: Sequence[str]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """See `OpenlyIdentifies`."""
        posterior_BL, familiarity_B, others_BO = self.plain.identify_openly(texts)
        return self.relatives.adjust(posterior_BL, self.languages), familiarity_B, others_BO


def find_groups(identifier: OpenSetIdentifier, sentences: Mapping[str, Sequence[str]]) -> tuple[Group, ...]:
    """The languages of a run that cannot be told apart, by held-out text.

    Two languages share an answer if at least `CONFUSED_SHARE` of their sentences, and at least `FEWEST_CONFUSED`, are
    likelier in the other one of the two. Languages that are linked by others are in one group.

    Args:
        identifier: Answers for these languages.
        sentences: Language of the identifier -> sentences of it that it was not trained on.

    Returns:
        Groups in the order of the identifier's languages, each with the temperature of at least 1 at which the true
        languages have the greatest likelihood among the group's.
    """
    spoken = {code: [text for text in rows if clean_letters(text)] for code, rows in sentences.items()}
    languages = [code for code in identifier.languages if spoken.get(code)]
    if len(languages) < 2:
        return ()
    truth_B = np.repeat(np.arange(len(languages)), [len(spoken[code]) for code in languages])
    columns = [list(identifier.languages).index(code) for code in languages]
    posterior_BL = identifier.posterior([text for code in languages for text in spoken[code]])[:, columns]
    linked = _confused_pairs(posterior_BL, truth_B)
    return tuple(
        Group(tuple(languages[column] for column in columns), _temperature(posterior_BL, truth_B, columns))
        for columns in _joined(linked)
    )


def _confused_pairs(posterior_BL: np.ndarray, truth_B: np.ndarray) -> list[tuple[int, int]]:
    """Pairs of languages of which enough sentences are likelier in the other one of the two."""
    num_languages = posterior_BL.shape[1]
    wrong_LL = np.zeros((num_languages, num_languages))
    for own in range(num_languages):
        rows_BL = posterior_BL[truth_B == own]
        wrong_LL[own] = (rows_BL >= rows_BL[:, [own]]).sum(axis=0)
    of_each_L = np.bincount(truth_B, minlength=num_languages)
    limit_LL = np.maximum(FEWEST_CONFUSED, CONFUSED_SHARE * (of_each_L[:, None] + of_each_L))
    first, second = np.nonzero(np.triu(wrong_LL + wrong_LL.T >= limit_LL, k=1))
    return list(zip(first.tolist(), second.tolist(), strict=True))


def _joined(pairs: Sequence[tuple[int, int]]) -> list[list[int]]:
    """The connected parts of a graph, each in order."""
    parts: list[set[int]] = []
    for pair in pairs:
        touching = [part for part in parts if part & set(pair)]
        parts = [part for part in parts if part not in touching] + [set(pair).union(*touching)]
    return sorted(sorted(part) for part in parts)


def _temperature(posterior_BL: np.ndarray, truth_B: np.ndarray, columns: Sequence[int]) -> float:
    rows = np.isin(truth_B, columns)
    members_BG = posterior_BL[rows][:, columns]
    own_B = np.array([list(columns).index(row) for row in truth_B[rows]])
    losses = []
    for temperature in _TEMPERATURES:
        shares_BG = _softened(members_BG, float(temperature), of_all=1.0)
        losses.append(-np.log(shares_BG[np.arange(len(own_B)), own_B].clip(1e-12)).mean())
    return float(_TEMPERATURES[int(np.argmin(losses))])


def _softened(members_BG: np.ndarray, temperature: float, of_all: float | None = None) -> np.ndarray:
    """Probabilities of a group's languages at a temperature; together as much as before, or `of_all`."""
    shares_BG = softmax(np.log(members_BG.clip(1e-300)) / temperature)
    return shares_BG * (members_BG.sum(axis=1, keepdims=True) if of_all is None else of_all)
