"""The base model and its tokenizer: from the hub, from a path, or small and new."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from clustering.errors import BadInput
from clustering.files import read_json, sha256_of
from xelm.models.foreign import unusable_reported
from xelm.objectives.objective import OBJECTIVES, Objective
from xelm.recipe.recipe import Base, NewBase

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

_DEFAULT_SEQUENCE_LENGTH = 1024
_LAYERS = (
    "num_hidden_layers",
    "n_layer",
    "n_layers",
    "num_layers",
    "num_decoder_layers",
    "encoder_layers",
    "decoder_layers",
)
logger = logging.getLogger(__name__)


def load_tokenizer(name: str, *, trust_remote_code: bool = False) -> PreTrainedTokenizerBase:
    """The tokenizer of a hub id or path, padding on the left.

    Raises:
        BadInput: If there is no tokenizer.
    """
    from transformers import AutoTokenizer

    with unusable_reported(f"no tokenizer in '{name}' (a hub id or a local path)"):
        tokenizer = AutoTokenizer.from_pretrained(name, trust_remote_code=trust_remote_code)
        tokenizer("a")  # a setting of the wrong type shows first when a text is read
    tokenizer.padding_side = "left"
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    # Long text is always cut into windows here, so transformers' warning of indexing errors would be wrong.
    tokenizer.deprecation_warnings["sequence-length-is-longer-than-the-specified-maximum"] = True
    return tokenizer


def empty_model(config: Any, objective: Objective) -> PreTrainedModel:
    """A model of a configuration, whose weights take no memory.

    Raises:
        BadInput: If the architecture has no head for the objective.
    """
    import torch

    try:
        with torch.device("meta"):
            model: PreTrainedModel = objective.auto_class().from_config(config)
    except ValueError:
        raise BadInput(
            f'[train] objective = "{objective}" does not fit the base model ({type(config).__name__}): transformers '
            f"has no {objective} language model of that kind. Choose another [base] model or objective."
        ) from None
    return model


def load_model(
    name: str, objective: Objective | None = None, *, whole: bool = False, **options: Any
) -> PreTrainedModel:
    """A language model by hub id or path, weights from safetensors.

    Args:
        name: Hub id or path.
        objective: The objective whose head it gets. None: causal.
        whole: Whether weights that lack a tensor of the model are refused. If not, a warning names them:
            transformers fills them with random numbers, which only a model that is trained next may have.
        options: Passed to `from_pretrained` (`dtype`, `device_map`, `trust_remote_code`).

    Raises:
        BadInput: If there is no model, or its weights are damaged.
    """
    objective = objective or OBJECTIVES.find("causal")
    with unusable_reported(f"no usable {objective} language model in '{name}'"), quiet_transformers():
        refuse_endless(Path(name))
        model, found = objective.auto_class().from_pretrained(
            name, use_safetensors=True, output_loading_info=True, **options
        )
    if missing := sorted(found["missing_keys"]):
        lacking = f"{name}: its weights lack {len(missing)} tensor(s) of the model, such as {missing[0]}"
        if whole:
            raise BadInput(f"{lacking}. Restore them from a copy, or train again.")
        logger.warning("%s; these begin as random numbers.", lacking)
    loaded: PreTrainedModel = model
    return loaded


def refuse_endless(folder: Path) -> None:
    """Refuse a configuration with more layers than the weights beside it have tensors: building it might never end.

    Raises:
        BadInput: If it has. A folder that is not here, or whose weights are elsewhere, is not checked.
    """
    from safetensors import safe_open

    files, config = sorted(folder.glob("*.safetensors")), folder / "config.json"
    if not files or not config.is_file():
        return
    num_tensors = 0
    for file in files:
        with safe_open(file, "np") as tensors:
            num_tensors += len(tensors.keys())
    table = read_json(config, finite=False)
    sizes = [table, *(value for value in table.values() if isinstance(value, dict))] if isinstance(table, dict) else []
    for key in _LAYERS:
        for size in sizes:
            if isinstance(size.get(key), int) and size[key] > num_tensors:
                raise BadInput(f"{config}: {key}={size[key]}, but the weights have {num_tensors} tensors.")


def model_config(base: Base) -> Any:
    """The configuration of the base model, without its weights."""
    from transformers import AutoConfig

    if base.model is None:
        return None
    with unusable_reported(f"[base] model = '{base.model}' is neither a model here nor on the hub"):
        return AutoConfig.from_pretrained(base.model, trust_remote_code=base.trust_remote_code)


def context_length(base: Base) -> int | None:
    """Number of positions that the base model can attend over; None if its configuration sets no limit."""
    if base.new:
        return base.new.context_length
    config = model_config(base)
    names = ("max_position_embeddings", "n_positions", "seq_length")
    limit = next((int(value) for name in names if (value := getattr(config, name, None))), None)
    # RoBERTa and related models count positions from the one after the padding's.
    taken = config.pad_token_id + 1 if "roberta" in config.model_type else 0
    return limit and limit - taken


def sequence_length(base: Base, wanted: int | None) -> int:
    """Number of tokens of a training block.

    Raises:
        BadInput: If it is larger than the model's number of positions.
    """
    limit = context_length(base)
    if wanted and limit and wanted > limit:
        raise BadInput(f"[train] sequence_length={wanted} is more than the model's {limit} positions.")
    return wanted or min(limit or _DEFAULT_SEQUENCE_LENGTH, _DEFAULT_SEQUENCE_LENGTH)


def check_vocabulary(tokenizer: PreTrainedTokenizerBase, config: Any) -> None:
    """Refuse a tokenizer that can give tokens without an embedding in the model.

    Special tokens that no text spells (an image's, say) may lie beyond it, as those of Gemma 3 do.

    Raises:
        BadInput: If there are such tokens.
    """
    rows = getattr(config.get_text_config(), "vocab_size", None)
    if rows is None:
        return
    used = {tokenizer.bos_token_id, tokenizer.eos_token_id, tokenizer.pad_token_id, tokenizer.unk_token_id}
    used |= {tokenizer.cls_token_id, tokenizer.sep_token_id, tokenizer.mask_token_id}
    never = {index for index, token in tokenizer.added_tokens_decoder.items() if token.special} - used
    beyond = sorted(i for i in tokenizer.get_vocab().values() if i >= rows and i not in never)
    if beyond:
        first = tokenizer.convert_ids_to_tokens(beyond[0])
        raise BadInput(
            f"the tokenizer has {len(tokenizer):,} tokens, the base model's embedding {rows:,} rows: {len(beyond):,} "
            f"token(s) have none, the first of them {first!r} with number {beyond[0]:,}. Tokenizer and model do not "
            "belong together: take those of one model, or enlarge the embedding first (resize_token_embeddings)."
        )


def new_model(
    settings: NewBase, tokenizer: PreTrainedTokenizerBase, seed: int, *, dtype: str = "float32"
) -> PreTrainedModel:
    """A Llama-type model of the given size, its weights drawn from `seed`.

    Args:
        settings: Its size.
        tokenizer: Its vocabulary.
        seed: Of its weights.
        dtype: Of its weights: `float32` or `bfloat16`; `auto` is float32, as there is no checkpoint to go by.
    """
    import torch

    torch.manual_seed(seed)
    # Not cast afterwards: the frequencies of the rotary positions must stay float32, as they are when it is loaded.
    model: PreTrainedModel = (
        OBJECTIVES.find("causal").auto_class().from_config(new_config(settings, tokenizer), dtype=weights_dtype(dtype))
    )
    return model


def weights_dtype(name: str) -> torch.dtype:
    """What `[base] dtype` means for weights that no checkpoint holds: `auto` is float32."""
    import torch

    dtype: torch.dtype = torch.float32 if name == "auto" else getattr(torch, name)
    return dtype


def new_config(settings: NewBase, tokenizer: PreTrainedTokenizerBase) -> Any:
    """The configuration of `new_model`."""
    from transformers import LlamaConfig

    inner = settings.intermediate_size or -(-settings.hidden_size * 8 // (3 * 16)) * 16
    return LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=settings.hidden_size,
        intermediate_size=inner,
        num_hidden_layers=settings.num_layers,
        num_attention_heads=settings.num_heads,
        num_key_value_heads=settings.num_heads,
        max_position_embeddings=settings.context_length,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        tie_word_embeddings=True,
    )


def weights_identity(name: str, config: Any) -> list[str]:
    """A fingerprint of a base model's weights: SHA-256 of local files, or the hub's commit."""
    folder = Path(name)
    if folder.is_dir():
        return [sha256_of(file) for file in sorted(folder.glob("*.safetensors"))]
    return [str(getattr(config, "_commit_hash", None))]


@contextmanager
def quiet_transformers() -> Iterator[None]:
    """Show no progress bar for each small file; xelm's own bar shows the long work. Downloads keep their bars."""
    from transformers.utils import logging

    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            logging.enable_progress_bar()
