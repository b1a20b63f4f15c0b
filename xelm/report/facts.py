"""The facts that the sections of the report need, read from the run once."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from clustering import name_of
from clustering.plans.picture import cluster_colours
from xelm.models.foreign import unusable_reported
from xelm.report.text import language_tag
from xelm.run.experts import ExpertSet
from xelm.run.names import BASE, DENSE, is_dense
from xelm.run.records.results import Cells, Forgetting


@dataclass(frozen=True)
class Language:
    """A language as the page names it."""

    code: str
    name: str
    tag: str
    """Its tag for HTML's `lang`."""
    expert: str
    """The expert (cluster) that owns it."""
    colour: str
    """Colour of that expert."""
    added: bool
    """Whether it was added after the run was trained."""


@dataclass(frozen=True)
class Facts:
    """A run, with the evaluation on its test text if there is one."""

    experts: ExpertSet
    languages: dict[str, Language]
    """Languages by code, in the plan's order: the languages of an expert stand together."""
    colours: dict[str, str]
    """Expert -> colour."""
    models: dict[str, Cells]
    """Model -> language -> figures on test text; empty if there is none."""
    routed: dict[str, Cells]
    """Routing policy -> language -> figures on test text."""
    routing: str = "text"
    """Whether these figures are causal (`prefix`) or by the whole text."""
    routed_by_text: dict[str, Cells] = field(default_factory=dict)
    """The figures by the whole text, where `routed` is causal."""
    right_expert: dict[str, float] = field(default_factory=dict)
    """Language -> share of its test documents that went to its own expert."""
    forgetting: dict[str, Forgetting] = field(default_factory=dict)
    """Expert -> its own gain and its cost elsewhere, on test text."""
    num_parameters: int | None = None
    """Number of parameters of the base model; None if its weights are missing."""

    @classmethod
    def of(cls, experts: ExpertSet) -> Facts:
        """Read the facts of a run."""
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
            result.routing if result else "text",
            result.routed_by_text if result else {},
            result.right_expert if result else {},
            result.forgetting if result else {},
            num_parameters(experts.folder(BASE)),
        )

    @property
    def baseline(self) -> str | None:
        """The model that experts are compared with: dense, or else base; None without test text."""
        return next((name for name in (DENSE, BASE) if name in self.models), None)

    def bits(self, figures: Cells, code: str) -> float | None:
        """Bits per byte of a model or policy on a language; None if it was not measured."""
        cell = figures.get(code)
        return cell.bits_per_byte if cell and cell.bytes else None

    def change(self, figures: Cells, code: str) -> float | None:
        """Change of bits per byte against the baseline in percent, negative is better; None if one is unknown."""
        if self.baseline is None:
            return None
        mine, theirs = self.bits(figures, code), self.bits(self.models[self.baseline], code)
        return None if mine is None or not theirs else 100 * (mine / theirs - 1)

    def answer(self) -> Cells:
        """Figures of the answers that a user gets: of the routed expert, or else of each language's own expert."""
        if "top1" in self.routed:
            return self.routed["top1"]
        owners = {code: self.models.get(language.expert, {}) for code, language in self.languages.items()}
        return {code: figures[code] for code, figures in owners.items() if code in figures}

    def compared(self) -> list[str]:
        """Languages that can be compared fairly: measured, and in the training of both baseline and experts."""
        answer, dense = self.answer(), self.experts.manifest.dense
        trained = [code for code, language in self.languages.items() if not language.added]
        seen = dense.languages if dense and is_dense(self.baseline) else trained
        return [code for code in self.languages if code in seen and self.change(answer, code) is not None]


def expert_tokens(facts: Facts) -> int:
    """Tokens that all experts were trained on when the run was made, without those of languages added later."""
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
    """Number of parameters in a folder's safetensors files, read from their headers; None without such files."""
    files = sorted(folder.glob("*.safetensors"))
    return sum(_size(shape) for file in files for shape in _shapes(file)) if files else None


def _shapes(file: Path) -> list[list[int]]:
    from safetensors import safe_open

    with unusable_reported(f"{file}: damaged"), safe_open(file, "np") as tensors:
        return [list(tensors.get_slice(name).get_shape()) for name in tensors.keys()]  # noqa: SIM118 (no mapping)


def _size(shape: list[int]) -> int:
    size = 1
    for side in shape:
        size *= side
    return size
