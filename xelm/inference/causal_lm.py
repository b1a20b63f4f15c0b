"""The routed mixture as a transformers model that knows its run: saved, it is a small run that routes as before."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from transformers import AutoConfig, AutoModelForCausalLM, GenerationConfig, PreTrainedConfig, PreTrainedModel

from clustering.errors import BadInput
from router.mixture.config import MixtureConfig
from router.mixture.model import MixtureForCausalLM
from router.scoring.growing import GrowingWeights
from xelm.run.experts import ExpertSet
from xelm.run.folder import RunFolder, model_path
from xelm.run.names import BASE, is_base
from xelm.run.snapshot import RunChangedError

if TYPE_CHECKING:
    from xelm.inference.routed import RoutedLM

_HANDED_ON = ("device_map", "dtype", "device", "check_files", "rule", "languages")
# Options that AutoModelForCausalLM and pipelines pass to every model; they have no meaning for a run.
_WITHOUT_MEANING = {
    "config",
    "local_files_only",
    "trust_remote_code",
    "adapter_kwargs",
    "use_safetensors",
    "_from_auto",
    "_commit_hash",
}


class RoutedConfig(MixtureConfig):
    """The configuration of a mixture, with the policy that routes its texts."""

    model_type = "xelm-routed"

    def __init__(
        self,
        expert_configs: Sequence[PreTrainedConfig | dict[str, Any]] | None = None,
        weights: Sequence[float] | None = None,
        dynamic: float = False,
        policy: str = "ensemble",
        **kwargs: Any,
    ):
        super().__init__(expert_configs, weights, dynamic, **kwargs)
        self.policy = policy


class RoutedForCausalLM(MixtureForCausalLM):
    """All experts of a run as one causal language model; each row of a batch is routed by its own text.

    A token is predicted by the experts that the text before it calls for, so that logits never depend on later tokens:
    a forward pass reads each row again as it grows (`RoutedLM.growing_weights`), and the weights of a prompt hold for
    all that follows it. A prompt is what `generate` continues, the first call with a cache, or the first `num_prompt`
    tokens of each row. `save_pretrained` writes a folder that is
    both a run (`RoutedLM.from_pretrained`, `xelm route`, `xelm verify`) and a model
    (`AutoModelForCausalLM.from_pretrained`, once `xelm.inference.causal_lm` is imported): experts with the weights in
    memory, or the shared base and its adapters; tokenizer, plan, router, measured losses; not the dense baseline,
    training curves, reports and held-out text.

    Example:
        >>> model = RoutedLM.from_pretrained("runs/a").as_causal_lm("ensemble")
        >>> model.save_pretrained("mixture")
        >>> RoutedForCausalLM.from_pretrained("mixture").generate(ids, max_new_tokens=20)
    """

    config_class = RoutedConfig
    routed: Any
    """The `RoutedLM` that it came from; transformers resolves annotations here, so no name that is not loaded."""
    made_from: Any
    """The `ExpertSet` whose experts it holds."""
    member_names: Any
    """Their names: experts that read the same pieces."""

    @classmethod
    def from_routed(cls, lm: RoutedLM, policy: str = "ensemble", *, m: int | None = None) -> RoutedForCausalLM:
        """Compose the experts of a run, sharing their parameters.

        Raises:
            BadInput: If the policy is unknown, or the experts do not all fit under `max_loaded`.
        """
        parsed = lm.policy(policy, m)
        chosen = str(parsed)
        names = lm.vocabularies.sharing(chosen if chosen in lm.names else BASE)
        members = lm.models.get_many(names)
        config = RoutedConfig(
            [member.config for member in members],
            dynamic=parsed.dynamic,
            policy=chosen,
            vocab_size=members[0].config.get_text_config().vocab_size,
        )
        model = cls(config, members)
        model.routed, model.made_from, model.member_names = lm, lm.experts, names
        model.generation_config = GenerationConfig.from_dict(members[0].generation_config.to_dict())
        model.eval()  # type: ignore[no-untyped-call]
        return model

    def _weigh(self, input_ids: torch.Tensor, mask_BS: torch.Tensor, num_prompt: torch.Tensor | None) -> torch.Tensor:
        """Weights of each row's predictions from the text before them, shape (B, T, M)."""
        lm = _unchanged(self.routed, self.made_from)
        rows = _real_tokens(input_ids, mask_BS)
        prompts = None if num_prompt is None else [int(number) for number in num_prompt]
        growing = lm.growing_weights(rows, self.config.policy, num_prompt=prompts, names=self.member_names)
        weights_BTM = torch.zeros((*input_ids.shape, len(self.experts)))
        for row, (tokens, its_weights) in enumerate(zip(rows, growing, strict=True)):
            weights_BTM[row] = torch.from_numpy(its_weights.weights[0])  # for padding, which is never read
            weights_BTM[row, mask_BS[row].bool().cpu()] = torch.from_numpy(its_weights.at_each(len(tokens))).float()
        return weights_BTM

    def generate(self, *args: Any, **kwargs: Any) -> Any:
        """As transformers' `generate`; a prompt's weights hold for its whole answer, with or without a cache."""
        ids = args[0] if args else kwargs.get("input_ids", kwargs.get("inputs"))
        if kwargs.get("expert_weights") is None and ids is not None:
            lm = _unchanged(self.routed, self.made_from)
            mask = kwargs.get("attention_mask")
            rows = _real_tokens(ids, torch.ones_like(ids) if mask is None else mask)
            tokenizer = lm.vocabularies.tokenizer(self.member_names[0])
            texts = tokenizer.batch_decode(rows, skip_special_tokens=True)
            weights_BM = lm.weights(texts, self.config.policy)
            if lm.vocabularies.differ:
                whole = [GrowingWeights.constant(weights_K) for weights_K in weights_BM]
                among = lm.vocabularies.among(whole, self.member_names)
                weights_BM = np.array([weights.weights[0] for weights in among])
            kwargs["expert_weights"] = torch.tensor(weights_BM, dtype=torch.float32, device=ids.device)
        return super().generate(*args, **kwargs)

    @classmethod
    def from_pretrained(cls, pretrained_model_name_or_path: Any, *args: Any, **kwargs: Any) -> RoutedForCausalLM:
        """Open what `save_pretrained` wrote, or any run.

        Args:
            pretrained_model_name_or_path: Folder, or hub id.
            args: Not accepted.
            kwargs: `policy` (default: the saved one), `device_map`, `dtype`, `device`, `check_files`, `rule`,
                `languages`.

        Raises:
            BadInput: If it is no run, a file of it is missing or changed, or an option is unknown.
        """
        from xelm.inference.routed import RoutedLM

        config = kwargs.get("config")
        policy = kwargs.pop("policy", getattr(config, "policy", None)) or _saved_policy(pretrained_model_name_or_path)
        if "torch_dtype" in kwargs:
            kwargs["dtype"] = kwargs.pop("torch_dtype")
        if kwargs.get("revision") == "main":  # evaluation harnesses ask for it by default, and a run has no other
            del kwargs["revision"]
        options = {name: kwargs.pop(name) for name in _HANDED_ON if kwargs.get(name) is not None}
        unknown = sorted(name for name, value in kwargs.items() if value and name not in _WITHOUT_MEANING)
        if args or unknown:
            raise BadInput(
                f"{', '.join(unknown) or 'positional arguments'}: not for a routed model, which takes policy, "
                f"{', '.join(_HANDED_ON)}."
            )
        return RoutedLM.from_pretrained(pretrained_model_name_or_path, **options).as_causal_lm(policy)

    def save_pretrained(self, save_directory: str | os.PathLike[str], *args: Any, **kwargs: Any) -> None:
        """Write a run that routes and answers as this model does.

        Args:
            save_directory: Folder, new or empty.
            args: Not accepted.
            kwargs: `max_shard_size`, as in transformers.

        Raises:
            BadInput: If the folder holds files, or another option is given.
        """
        folder, shards = Path(save_directory), {"max_shard_size": kwargs.pop("max_shard_size", "50GB")}
        ignored = {"is_main_process", "safe_serialization", "save_original_format"}
        unknown = sorted(name for name in kwargs if name not in ignored)
        if args or unknown:
            raise BadInput(f"{', '.join(unknown) or 'positional arguments'}: only max_shard_size is accepted here.")
        if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
            raise BadInput(f"{folder}: not empty. Give a new folder.")
        if left_out := [name for name in self.routed.names if name not in self.member_names]:
            raise BadInput(
                f"{', '.join(left_out)} read other pieces than the rest, so they are not in this model and it is not "
                "the whole run. Copy the run's folder instead."
            )
        folder.mkdir(parents=True, exist_ok=True)
        experts = _unchanged(self.routed, self.made_from).experts
        for name, member in zip(self.member_names, self.experts, strict=True):
            _save_member(experts, name, member, folder, shards)
        here, there = experts.files, RunFolder(folder)
        for source, target in (
            (here.plan, there.plan),
            (here.router, there.router),
            (here.evaluation("valid"), there.evaluation("valid")),
        ):
            _copy(source, target)
        self.routed.tokenizer.save_pretrained(folder)
        self.config.save_pretrained(folder)
        if self.generation_config is not None:
            self.generation_config.save_pretrained(folder)
        _write_manifest(experts, folder)


def _unchanged(lm: RoutedLM, experts: ExpertSet) -> RoutedLM:
    """The run's router, provided that the run has not changed since the model was made from it."""
    lm.refresh()
    if lm.experts is not experts:
        raise RunChangedError(
            f"{experts.path}: another process changed this run since the model was made from it. Make it again: "
            "as_causal_lm, or from_pretrained."
        )
    return lm


def _real_tokens(input_ids: torch.Tensor, mask: torch.Tensor) -> list[list[int]]:
    """The tokens of each row without padding."""
    return [ids[real.bool()].tolist() for ids, real in zip(input_ids, mask, strict=True)]


def _saved_policy(name: Any) -> str:
    from clustering.files import read_json
    from xelm.run.experts import local_run

    file = local_run(name) / "config.json"
    return read_json(file).get("policy", "ensemble") if file.is_file() else "ensemble"


def _save_member(experts: ExpertSet, name: str, member: Any, folder: Path, shards: dict[str, Any]) -> None:
    place = folder / model_path(name)
    if isinstance(member, PreTrainedModel):
        member.save_pretrained(place, **shards)
    elif is_base(name):
        member.get_base_model().save_pretrained(place, **shards)
    else:
        _copy(experts.folder(name), place)
        return
    if is_base(name):
        experts.tokenizer().save_pretrained(place)


def _copy(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    if source.is_dir():
        shutil.copytree(source, target)
    elif source.is_file():
        shutil.copyfile(source, target)


def _write_manifest(experts: ExpertSet, folder: Path) -> None:
    import copy

    manifest = copy.deepcopy(experts.manifest)
    manifest.dense, manifest.metrics = None, {}
    manifest.refresh_files(folder)
    manifest.write(folder)


AutoConfig.register(RoutedConfig.model_type, RoutedConfig)
AutoModelForCausalLM.register(RoutedConfig, RoutedForCausalLM)
