"""What every section of the report needs, read from the run once."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from clustering import name_of
from clustering.plans.picture import cluster_colours
from xelm.models.foreign import unusable_told
from xelm.report.text import language_tag
from xelm.run.experts import ExpertSet
from xelm.run.names import BASE, DENSE
from xelm.run.results import Cells, Forgetting


@dataclass(frozen=True)
class Language:
    """A language as the page names it."""

    code: str
    name: str
    tag: str
    """For HTML's `lang`."""
    expert: str
    """The expert (cluster) that owns it."""
    colour: str
    """Of that expert."""
    added: bool
    """Whether it came after the run was trained."""


@dataclass(frozen=True)
class Facts:
    """A run, with the evaluation on its test text if there is one."""

    experts: ExpertSet
    languages: dict[str, Language]
    """By code, in the plan's order: the languages of an expert stand together."""
    colours: dict[str, str]
    """Of experts."""
    models: dict[str, Cells]
    """Model -> language -> figures on test text; empty if there is none."""
    routed: dict[str, Cells]
    """Policy -> language -> figures."""
    right_expert: dict[str, float] = field(default_factory=dict)
    """Language -> share of its test documents that went to its own expert."""
    forgetting: dict[str, Forgetting] = field(default_factory=dict)
    """Expert -> what it gained at home and lost elsewhere, on test text."""
    num_parameters: int | None = None
    """Of the base model."""

    @classmethod
    def of(cls, experts: ExpertSet) -> Facts:
        """Read them."""
        plan, colours = experts.plan, cluster_colours(experts.plan)
        added = {line.language for line in experts.manifest.ledger}
        languages = {
            code: Language(code, name_of(code), language_tag(code), name, colours[name], code in added)
            for name, codes in plan.clusters.items()
            for code in codes
        }
        result = experts.result("test")
        return cls(
            experts,
            languages,
            colours,
            result.models if result else {},
            result.routed if result else {},
            result.right_expert if result else {},
            result.forgetting if result else {},
            num_parameters(experts.folder(BASE)),
        )

    @property
    def baseline(self) -> str | None:
        """What experts are compared with: dense, or else base, on test text; None without test text."""
        return next((name for name in (DENSE, BASE) if name in self.models), None)

    def bits(self, figures: Cells, code: str) -> float | None:
        """Bits per byte of a model or policy on a language; None if it was not measured."""
        cell = figures.get(code)
        return cell.bits_per_byte if cell and cell.bytes else None

    def change(self, figures: Cells, code: str) -> float | None:
        """Bits per byte against the baseline in percent, negative is better; None if one is not known."""
        if self.baseline is None:
            return None
        mine, theirs = self.bits(figures, code), self.bits(self.models[self.baseline], code)
        return None if mine is None or not theirs else 100 * (mine / theirs - 1)

    def answer(self) -> Cells:
        """Figures of what a user gets: the routed answer of one expert, or else each language's own expert."""
        if "top1" in self.routed:
            return self.routed["top1"]
        owners = {code: self.models.get(language.expert, {}) for code, language in self.languages.items()}
        return {code: figures[code] for code, figures in owners.items() if code in figures}

    def compared(self) -> list[str]:
        """Languages that can be compared fairly: measured, and trained on by baseline and experts alike."""
        answer, dense = self.answer(), self.experts.manifest.dense
        trained = [code for code, language in self.languages.items() if not language.added]
        seen = dense.languages if dense and self.baseline == DENSE else trained
        return [code for code in self.languages if code in seen and self.change(answer, code) is not None]


def expert_tokens(facts: Facts) -> int:
    """Tokens the experts were trained on together when the run was made, without what later languages brought."""
    manifest = facts.experts.manifest
    of_base = (manifest.base.tokens_after if manifest.base else None) or 0
    new = {line.expert for line in manifest.ledger if line.kind == "new"}
    joined = [line for line in manifest.ledger if line.kind == "join" and line.expert not in new]
    total = 0
    for name, entry in manifest.experts.items():
        later = [line.tokens for line in joined if line.expert == name]
        if later and entry.tokens_after is not None:
            total += entry.tokens_after - of_base - sum(later)
        elif name not in new:
            total += entry.tokens
    return total


def num_parameters(folder: Path) -> int | None:
    """Parameters in a folder's safetensors files, from their headers alone; None if there are no such files."""
    files = sorted(folder.glob("*.safetensors"))
    return sum(_size(shape) for file in files for shape in _shapes(file)) if files else None


def _shapes(file: Path) -> list[list[int]]:
    from safetensors import safe_open

    with unusable_told(f"{file}: damaged"), safe_open(file, "np") as tensors:
        return [list(tensors.get_slice(name).get_shape()) for name in tensors.keys()]  # noqa: SIM118 (no mapping)


def _size(shape: list[int]) -> int:
    size = 1
    for side in shape:
        size *= side
    return size
