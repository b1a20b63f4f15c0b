"""The recipe: everything that decides a run, as frozen dataclasses read from TOML and checked when built."""

from __future__ import annotations

import dataclasses
import logging
import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from clustering.corpora.rows import Reading
from clustering.errors import BadInput, arg
from clustering.files import expanded
from xelm.expert_kinds.kind import ExpertKind
from xelm.objectives.head import LossKind
from xelm.objectives.objective import OBJECTIVES, Objective
from xelm.recipe.docstrings import fields_in_help
from xelm.recipe.parsing import build, check, override, read_toml

_SHORTEST_BLOCK = 8
_MEASURED = "measured"
logger = logging.getLogger(__name__)


@fields_in_help
@dataclass(frozen=True, kw_only=True)
class NewBase:
    """A small Llama-type base model made here and trained first on all languages."""

    tokenizer: Literal["byte", "bpe"] = "byte"
    """`byte`: one token per UTF-8 byte; `bpe`: byte-level BPE trained on the corpus."""
    vocab_size: int = 8000
    """Tokens of the BPE vocabulary, special tokens counted in. Not used by `byte`."""
    hidden_size: int = 64
    """Width of the model; an even multiple of num_heads."""
    num_layers: int = 2
    """Number of layers."""
    num_heads: int = 4
    """Attention heads of a layer."""
    intermediate_size: int | None = None
    """Width of the feed-forward part. None: 8/3 of hidden_size, rounded up to a multiple of 16."""
    context_length: int = 256
    """Positions the model can attend over, in tokens."""
    tokens: int = 6_000_000
    """Budget of the base training over all languages, in tokens."""
    learning_rate: float = 3e-3
    """Peak learning rate of the base training."""

    def __post_init__(self) -> None:
        for name in ("hidden_size", "num_layers", "num_heads", "tokens"):
            check(getattr(self, name) >= 1, f"[base.new] {name}={getattr(self, name)} must be at least 1.")
        # Rotary positions turn the channels of a head in pairs.
        check(
            self.hidden_size % (2 * self.num_heads) == 0,
            f"[base.new] hidden_size={self.hidden_size} must be an even multiple of num_heads={self.num_heads}.",
        )
        check(
            self.intermediate_size is None or self.intermediate_size >= 1,
            f"[base.new] intermediate_size={self.intermediate_size} must be at least 1.",
        )
        check(
            self.context_length >= _SHORTEST_BLOCK,
            f"[base.new] context_length={self.context_length} must be at least {_SHORTEST_BLOCK} tokens.",
        )
        check(self.learning_rate > 0, f"[base.new] learning_rate={self.learning_rate} must be > 0.")
        check(
            self.vocab_size >= 260,
            f"[base.new] vocab_size={self.vocab_size} must be at least 260 (all bytes).",
        )


@fields_in_help
@dataclass(frozen=True, kw_only=True)
class Base:
    """The base model: a hub id or path, or `[base.new]`."""

    model: str | None = None
    """Hub id or path of a pretrained model; or give a table `[base.new]` instead."""
    new: NewBase | None = None
    """A small new base, see `[base.new]`."""
    dtype: Literal["auto", "float32", "bfloat16"] = "float32"
    """Type of the weights, in training and when saved. `auto`: that of the checkpoint."""
    trust_remote_code: bool = False
    """Run code that comes with the model; only for models whose authors you trust."""
    attn_implementation: Literal["eager", "sdpa", "flex_attention", "flash_attention_2", "flash_attention_3"] | None = (
        None
    )
    """The kernel of attention while models are trained, by transformers' names. Flash attention keeps the documents of
    a block apart without a mask. None: what transformers chooses, `sdpa` for most models."""

    def settings(self) -> dict[str, Any]:
        """The keys, for fingerprints, without settings of the engine."""
        settings = dataclasses.asdict(self)
        del settings["attn_implementation"]
        return settings

    def __post_init__(self) -> None:
        check(
            (self.model is None) != (self.new is None),
            '[base] needs either model = "hub id or path" or a [base.new] table, not both and not neither.',
        )


@fields_in_help
@dataclass(frozen=True, kw_only=True)
class Data:
    """Where the text is and how it is read."""

    path: str
    """Folder of <code>.{txt,jsonl,ndjson,json,csv,tsv,parquet,conllu}, plain or as .gz or .zst, or of <code>/ folders
    of such files; or a hub dataset with one config per language."""
    languages: tuple[str, ...] | None = None
    """Languages to train on. None: all of the folder."""
    kind: Literal["text", "instructions"] = "text"
    """`text`, or `instructions`: rows of a prompt and its answer, of which the answer alone is learnt, in the base's
    chat template if it has one."""
    text_field: str = "text"
    """Key or column of the text."""
    prompt_field: str = "prompt"
    """For `instructions`: key or column of the prompt."""
    answer_field: str = "answer"
    """For `instructions`: key or column of the answer."""
    id_field: str = "id"
    """Key or column of a document's name, where rows have one."""
    on_bad_line: Literal["error", "skip"] = "error"
    """A line that cannot be read: stop and name it, or skip and count it."""
    valid_fraction: float = 0.02
    """Share of documents held out for decisions, chosen by a hash of the text, where rows have no `split`."""
    test_fraction: float = 0.02
    """Share of documents held out for the evaluation, chosen in the same way."""
    heldout_bytes: int = 65_536
    """Most held-out text kept per language and split, in UTF-8 bytes."""
    pairs: str | None = None
    """For the objective `tlm`: folder of translations, as `xelm align --pairs` reads them, that are trained on beside
    the text; the pairs that `xelm align` would test on are left out."""
    pivot: str = "eng"
    """For `pairs`: the language of the translations."""

    def __post_init__(self) -> None:
        check(bool(self.path), "[data] path is empty: name a folder or a hub dataset.")
        check(self.languages != (), "[data] languages is empty: name some, or leave the key out to take all.")
        check(self.heldout_bytes >= 0, f"[data] heldout_bytes={self.heldout_bytes} must be at least 0.")
        held = self.valid_fraction + self.test_fraction
        check(
            min(self.valid_fraction, self.test_fraction) >= 0 and held < 1,
            f"[data] valid_fraction + test_fraction = {held} must lie in [0, 1).",
        )

    @property
    def reading(self) -> Reading:
        """Where a document's parts stand, for the corpus reader."""
        way_out = 'Correct the line, or set data.on_bad_line = "skip".'
        found = Reading(text_field=self.text_field, id_field=self.id_field, way_out=way_out)
        if self.kind == "text":
            return found
        return dataclasses.replace(found, text_field=self.answer_field, prompt_field=self.prompt_field)

    def settings(self) -> dict[str, Any]:
        """The keys, for fingerprints. A later key is left out at its default, so that older runs keep theirs."""
        settings = dataclasses.asdict(self)
        if self.id_field == "id":
            del settings["id_field"]
        if self.pairs is None:
            del settings["pairs"], settings["pivot"]
        if self.kind == "text":
            del settings["kind"], settings["prompt_field"], settings["answer_field"]
        return settings


@fields_in_help
@dataclass(frozen=True, kw_only=True)
class Clusters:
    """How the languages are grouped: one expert each group."""

    k: int | None = None
    """Number of clusters, one expert each; or give a `plan`."""
    plan: str | None = None
    """Plan (JSON) made by `xelm cluster --out`, to use instead of clustering."""
    method: str = "ward"
    """How languages are grouped; `xelm cluster --help` lists the methods."""
    distance: str | None = None
    """Kind of distance, such as `combined` or `syntactic`; None: the default of the method."""
    balance: Literal["languages", "tokens"] | None = None
    """The quantity that is made nearly equal in all clusters. None: clusters are not balanced."""
    effects: str | None = None
    """For `measured`: a file that `xelm measure` wrote. None: measured before the experts are trained."""

    def __post_init__(self) -> None:
        check(
            (self.k is None) != (self.plan is None),
            '[clusters] needs either k = N or plan = "plan.json", not both.',
        )
        check(
            self.effects is None or self.method in (_MEASURED, Clusters.method),
            f'[clusters] effects makes a plan of method "{_MEASURED}": method = "{self.method}" does not go with it.',
        )
        check(
            not self.is_measured or (self.distance is None and self.balance != "tokens"),
            f'[clusters] method = "{_MEASURED}" goes by effects and makes even groups: leave out distance and balance.',
        )
        check(self.k is None or self.k >= 1, f"[clusters] k={self.k} must be at least 1.")

    @property
    def is_measured(self) -> bool:
        """Whether the plan is made from measured effects."""
        return self.plan is None and (self.method == _MEASURED or self.effects is not None)


@fields_in_help
@dataclass(frozen=True, kw_only=True)
class Train:
    """The budget of the experts, which is the dense baseline's too, and how it is spent."""

    tokens: int
    """Training tokens of all experts together; the dense baseline gets as many."""
    share: Literal["languages", "equal"] = "languages"
    """`languages`: a language sees as many tokens under its expert as under dense; `equal`: total / K each."""
    dense: bool | Literal["full"] = True
    """Train the dense baseline too, in the way of the experts (adapters if they are); `"full"`: all its weights."""
    sequence_length: int | None = None
    """Tokens of a block. None: the model's context, at most 1024."""
    batch_size: int = 32
    """Blocks of one optimizer step, over all devices."""
    micro_batch_size: int | None = None
    """Blocks of one forward pass on one device. None: batch_size / processes."""
    learning_rate: float = 1e-3
    """Peak learning rate of experts and dense; `[base.new]` has its own."""
    schedule: Literal["cosine", "linear", "wsd", "constant"] = "cosine"
    """Course of the learning rate after the warmup; `wsd` keeps it and lets it fall over the last fifth, before which
    experts and dense can be made longer by a larger `tokens`."""
    warmup_fraction: float = 0.05
    """Share of the steps over which the learning rate rises from 0."""
    warmup_steps: int | None = None
    """Steps over which it rises, whatever the length of the training. None: `warmup_fraction` of them."""
    min_learning_rate_ratio: float = 0.1
    """Learning rate at the end, as a share of its peak."""
    optimizer: Literal["adamw", "muon", "adamw8bit"] = "adamw"
    """`muon`: matrices inside the layers are turned to their nearest orthogonal direction (Jordan et al. 2024), at the
    learning rates of AdamW (Liu et al. 2025), which has the rest: embeddings, head, norms and biases. `adamw8bit`:
    AdamW whose moments take 8 bits (Dettmers et al. 2022), by bitsandbytes."""
    betas: tuple[float, ...] = (0.9, 0.95)
    """Of AdamW: how long the means of gradients and of their squares last."""
    weight_decay: float = 0.1
    """Weight decay of matrices; norms and biases have none."""
    clip_norm: float = 1.0
    """Largest norm of the gradient; a larger one is scaled down to it."""
    objective: str = "causal"
    """`causal`: predict the next token; `masked`: fill in masked tokens, for models such as XLM-R and ModernBERT;
    `tlm`: the same, reading translations beside the text; `denoise`: write the spans left out of a text, for
    encoder-decoder models such as T5 and mT5. `[base] model` must be of that kind. Installed packages may add more."""
    mask_rates: tuple[float, ...] = (0.30, 0.15, 0.05)
    """For `masked`: share of tokens to fill in, over equal parts of a training (mmBERT: Marone et al. 2025)."""
    sampling: Literal["temperature", "unimax"] = "temperature"
    """How languages share the blocks. `unimax`: evenly, but none read more than `max_epochs` times (Chung et al.
    2023)."""
    sampling_temperature: float = 1.0
    """Languages are drawn with p ∝ (their blocks)^(1/temperature): 1 by size, large uniform."""
    final_sampling_temperature: float | None = None
    """The temperature at the end: 1/temperature changes evenly over a training (mmBERT: 1.43 to 3.33). None: it does
    not change."""
    max_epochs: float = 4.0
    """For `unimax`: how often a language's text is read at most."""
    enters: dict[str, float] = field(default_factory=dict)
    """Languages that come later: the share of a training over all languages after which each is first drawn (mmBERT
    brings most languages in at the end)."""
    precision: Literal["fp32", "bf16"] = "fp32"
    """Precision of the forward and backward pass (autocast)."""
    loss: LossKind = "auto"
    """`logits`: computed from the logits of all positions; `chunks`: a few positions at a time, and only those that are
    judged, so that they are never all held; `auto`: in chunks where they would take memory (from 32,768 tokens of
    vocabulary and 256 MiB on). They agree to 1e-5."""
    gradient_checkpointing: bool = False
    """Compute activations twice instead of keeping them: less memory, more time."""
    compile: bool = False
    """Compile the layers (`torch.compile`), one for all of them: the first step waits for it, the next training finds
    it on disk."""
    checkpoint_every_steps: int = 200
    """Steps between two checkpoints, from which an interrupted training resumes."""
    keep_checkpoints: int = 1
    """How many of them are kept until the model is finished: where the newest cannot be read, the one before serves."""
    evaluate_every_steps: int | None = None
    """Steps between two measurements of the loss on valid text of the model's languages. None: never while training."""
    log: Literal["files", "tensorboard", "wandb"] = "files"
    """A program that also gets the training curves, besides `logs/`."""
    seed: int = 0
    """Seed of every random choice."""

    def __post_init__(self) -> None:
        for name in ("tokens", "batch_size", "checkpoint_every_steps", "keep_checkpoints"):
            check(getattr(self, name) >= 1, f"[train] {name}={getattr(self, name)} must be at least 1.")
        for name in ("learning_rate", "sampling_temperature", "final_sampling_temperature", "max_epochs", "clip_norm"):
            value = getattr(self, name)
            check(value is None or value > 0, f"[train] {name}={getattr(self, name)} must be > 0.")
        for name in ("weight_decay", "seed"):
            check(getattr(self, name) >= 0, f"[train] {name}={getattr(self, name)} must be at least 0.")
        for name in ("warmup_fraction", "min_learning_rate_ratio"):
            check(0 <= getattr(self, name) <= 1, f"[train] {name}={getattr(self, name)} must lie in [0, 1].")
        check(
            self.sequence_length is None or self.sequence_length >= _SHORTEST_BLOCK,
            f"[train] sequence_length={self.sequence_length} must be at least {_SHORTEST_BLOCK} tokens.",
        )
        check(
            bool(self.mask_rates) and all(0 < rate < 1 for rate in self.mask_rates),
            f"[train] mask_rates={list(self.mask_rates)} must be shares between 0 and 1, at least one.",
        )
        check(
            all(0 <= share < 1 for share in self.enters.values()),
            f"[train] enters={self.enters}: languages enter after a share of the training, at least 0 and below 1.",
        )
        other = "enters" if self.enters else "final_sampling_temperature" if self.final_sampling_temperature else None
        check(
            self.sampling != "unimax" or other is None,
            f'[train] sampling = "unimax" already decides how often each language is drawn: remove {other}.',
        )
        OBJECTIVES.find(self.objective, "train.objective")
        check(
            len(self.betas) == 2 and all(0 <= beta < 1 for beta in self.betas),
            f"[train] betas={list(self.betas)} must be two numbers in [0, 1).",
        )
        warmup = self.warmup_steps
        check(warmup is None or warmup >= 0, f"[train] warmup_steps={warmup} must be at least 0.")
        every = self.evaluate_every_steps
        check(every is None or every >= 1, f"[train] evaluate_every_steps={every} must be at least 1.")
        micro = self.micro_batch_size
        check(
            micro is None or (micro >= 1 and self.batch_size % micro == 0),
            f"[train] micro_batch_size={micro} must divide {arg('batch_size', self.batch_size)}.",
        )


@fields_in_help
@dataclass(frozen=True, kw_only=True)
class Router:
    """How a run finds the experts of a text."""

    identifier: str = "combined"
    """`combined` is trained on the run's own text. Ready-made ones, for languages that they all know: `langid`,
    `py3langid`, `lingua`, `fasttext:PATH` (a model file such as GlotLID's, of which the run keeps a copy)."""
    weights: Literal["language", "centres", "learned"] = "language"
    """`language`: experts are weighed by the language of the text; `centres`: by its distance to the centre of each
    expert's text, as in c-BTM, for which `[clusters] method = "tfidf"` makes the clusters; `learned`: by the language,
    corrected by what the models' losses on held-out documents teach of the text, if that surely saves something."""
    centre_power: float = 2.0
    """For `centres`: weights are proportional to exp(-d^power / temperature), d the squared distance to a centre."""
    centre_temperature: float = 0.1
    """For `centres`: the temperature. Small: the nearest expert only; large: all alike."""

    def __post_init__(self) -> None:
        check(bool(self.identifier), "[router] identifier is empty: name one, or leave the key out.")
        for name in ("centre_power", "centre_temperature"):
            value = getattr(self, name)
            check(0 < value < math.inf, f"[router] {name}={value} must be a finite number greater than 0.")


@fields_in_help
@dataclass(frozen=True, kw_only=True)
class Recipe:
    """A complete run: base, data, clusters, budget, kind of expert, router."""

    base: Base
    """The table `[base]`: the model that experts branch from."""
    data: Data
    """`[data]`: where the text is."""
    clusters: Clusters
    """`[clusters]`: which languages share an expert."""
    train: Train
    """`[train]`: the budget, and how it is spent."""
    expert: ExpertKind = field(default_factory=ExpertKind.of)
    """`[expert]`: what of an expert is trained and stored."""
    router: Router = field(default_factory=Router)
    """`[router]`: how the language of a text is identified, and experts are weighed."""

    def __post_init__(self) -> None:
        kernel, halves = self.base.attn_implementation or "", (self.train.precision, self.base.dtype)
        check(
            not kernel.startswith("flash") or halves != ("fp32", "float32"),
            f'[base] attn_implementation = "{kernel}" computes in half precision only: set [train] precision = "bf16".',
        )
        name = self.objective.name
        check(
            self.objective.fits_new_base or self.base.new is None,
            f'[train] objective = "{name}" needs a {name} model as [base] model; [base.new] makes causal ones.',
        )
        check(
            self.data.kind == "text" or self.objective.follows_text,
            f'[data] kind = "{self.data.kind}" needs a causal objective; "{name}" does not continue a prompt.',
        )
        check(
            self.objective.reads_pairs == (self.data.pairs is not None),
            f'[train] objective = "{name}" '
            + (
                "needs [data] pairs, a folder of translations."
                if self.objective.reads_pairs
                else 'does not read [data] pairs: choose "tlm", or leave pairs out.'
            ),
        )

    @property
    def objective(self) -> Objective:
        """The objective of its models."""
        return OBJECTIVES.find(self.train.objective)

    @classmethod
    def load(cls, path: str | Path, overrides: tuple[str, ...] = ()) -> Recipe:
        """Read a TOML recipe; relative paths in it start at its own folder.

        See `read`.
        """
        return cls.read(path, overrides).anchored(expanded(path).resolve().parent)

    @classmethod
    def read(cls, path: str | Path, overrides: tuple[str, ...] = ()) -> Recipe:
        """Read a TOML recipe with its paths as they are written.

        Args:
            path: The recipe.
            overrides: `section.key=value` strings, the value in TOML syntax (a bare word is a string).

        Raises:
            BadInput: If the file is missing or not TOML, a key is unknown (near keys are named), or a value
                has the wrong type or range.
        """
        file = expanded(path)
        table = read_toml(file)
        for text in overrides:
            override(table, text)
        try:
            recipe = cls.from_dict(table)
        except BadInput as error:
            raise BadInput(f"{file}: {error}") from None
        if unread := recipe.expert.without_effect():
            logger.warning('[expert] kind = "%s" does not read %s.', recipe.expert.kind, ", ".join(unread))
        return recipe

    @classmethod
    def from_dict(cls, table: dict[str, Any]) -> Recipe:
        """Build from nested dictionaries (the shape of `to_dict`)."""
        recipe: Recipe = build(cls, table)
        return recipe

    def to_dict(self) -> dict[str, Any]:
        """Nested dictionaries of every field, defaults included."""
        return {**dataclasses.asdict(self), "expert": self.expert.to_dict()}

    def anchored(self, folder: Path) -> Recipe:
        """The same with relative paths starting at a folder."""
        data = dataclasses.replace(self.data, path=_anchor(self.data.path, folder))
        if data.pairs:
            data = dataclasses.replace(data, pairs=_anchor(data.pairs, folder))
        base, clusters = self.base, self.clusters
        if base.model:
            base = dataclasses.replace(base, model=_anchor(base.model, folder))
        if clusters.plan:
            clusters = dataclasses.replace(clusters, plan=_anchor(clusters.plan, folder))
        if clusters.effects:
            clusters = dataclasses.replace(clusters, effects=_anchor(clusters.effects, folder))
        name, colon, file = self.router.identifier.partition(":")
        router = dataclasses.replace(self.router, identifier=name + colon + (_anchor(file, folder) if file else ""))
        return dataclasses.replace(self, data=data, base=base, clusters=clusters, router=router)


def _anchor(name: str, folder: Path) -> str:
    # A hub id looks like a relative path: it is a path where that exists or where it is spelt as one.
    candidate = (folder / name).resolve()
    if candidate.exists() or name.startswith((".", "/", "~")) or name.endswith("/"):
        return str(candidate if not name.startswith("~") else expanded(name))
    return name
