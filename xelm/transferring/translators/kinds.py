"""The translators: a shell command, a function of Python, a translation model of transformers."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Sequence
from typing import Any

from clustering.errors import BadInput
from clustering.languages.codes import UnknownLanguageError, to_code
from xelm.transferring.translators.translator import Translator

Function = Callable[[Sequence[str], str, str], Sequence[str]]
"""From lines, source and target (ISO 639-3) to as many lines."""
_MODEL_BATCH = 16


class Command(Translator):
    """A shell command that reads lines and writes as many: `apertium -u eng-spa`.

    `{source}` and `{target}` in it are replaced by the ISO 639-3 codes of the languages.
    """

    def __init__(self, command: str) -> None:
        self.command = command

    def identity(self, source: str, target: str) -> str:
        return self._filled(source, target)

    def lines(self, lines: Sequence[str], source: str, target: str) -> list[str]:
        command = self._filled(source, target)
        done = subprocess.run(
            command, shell=True, input="".join(f"{line}\n" for line in lines).encode(), capture_output=True, check=False
        )
        if done.returncode:
            said = done.stderr.decode("utf-8", "replace").strip().splitlines()
            reason = f": {said[-1]}" if said else ""
            raise BadInput(f"{command}: ended with exit code {done.returncode}{reason}")
        text = done.stdout.decode("utf-8", "replace")
        return text.removesuffix("\n").split("\n") if text else []

    def pair(self) -> tuple[str, str] | None:
        """The languages of its last word (`eng-spa`), if that names two; None for a command of any pair."""
        if self.is_general:
            return None
        parts = self.command.replace("_", "-").split()[-1].split("-") if self.command.split() else []
        try:
            return (to_code(parts[0]), to_code(parts[1])) if len(parts) == 2 else None
        except UnknownLanguageError:
            return None

    @property
    def is_general(self) -> bool:
        """Whether it serves any two languages."""
        return "{source}" in self.command or "{target}" in self.command

    def _filled(self, source: str, target: str) -> str:
        return self.command.replace("{source}", source).replace("{target}", target)


class FunctionTranslator(Translator):
    """A function of Python."""

    def __init__(self, function: Function) -> None:
        self._function = function

    def identity(self, source: str, target: str) -> str:
        return f"{getattr(self._function, '__module__', '')}.{getattr(self._function, '__qualname__', 'function')}"

    def lines(self, lines: Sequence[str], source: str, target: str) -> list[str]:
        found = list(self._function(list(lines), source, target))
        if not all(isinstance(line, str) for line in found):
            raise BadInput(f"{self.identity(source, target)}: gave something that is no text.")
        return found


class ModelTranslator(Translator):
    """A sequence-to-sequence model (Marian, NLLB, M2M100 …), greedy. Codes are set where its tokenizer knows them."""

    def __init__(self, model: str) -> None:
        self.model = model
        self._loaded: tuple[Any, Any] | None = None

    def identity(self, source: str, target: str) -> str:
        return self.model

    def lines(self, lines: Sequence[str], source: str, target: str) -> list[str]:
        import torch

        model, tokenizer = self._open()
        options = self._languages(tokenizer, source, target)
        found: list[str] = []
        for start in range(0, len(lines), _MODEL_BATCH):
            batch = tokenizer(
                list(lines[start : start + _MODEL_BATCH]), return_tensors="pt", padding=True, truncation=True
            )
            with torch.inference_mode():
                ids = model.generate(
                    **batch.to(model.device), do_sample=False, num_beams=1, max_new_tokens=256, **options
                )
            found += tokenizer.batch_decode(ids, skip_special_tokens=True)
        return found

    def _open(self) -> tuple[Any, Any]:
        if self._loaded is None:
            from transformers import AutoModelForSeq2SeqLM, AutoTokenizer

            from xelm.models.base import quiet_transformers
            from xelm.models.foreign import unusable_reported

            with unusable_reported(f"'{self.model}' is no translation model that can be loaded"), quiet_transformers():
                model = AutoModelForSeq2SeqLM.from_pretrained(self.model, use_safetensors=True)
                self._loaded = model.eval(), AutoTokenizer.from_pretrained(self.model)
        return self._loaded

    def _languages(self, tokenizer: Any, source: str, target: str) -> dict[str, Any]:
        """Set the source language, and the token that the answer begins with, for models of many languages."""
        vocabulary = tokenizer.get_vocab()
        names = [name for name in vocabulary if name.startswith(f"{target}_") or name == f"__{target}__"]
        ours = [name for name in vocabulary if name.startswith(f"{source}_") or name == f"__{source}__"]
        if ours and hasattr(tokenizer, "src_lang"):
            tokenizer.src_lang = ours[0].strip("_")
        return {"forced_bos_token_id": vocabulary[names[0]]} if names else {}
