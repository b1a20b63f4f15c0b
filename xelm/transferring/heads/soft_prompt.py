"""A soft prompt: vectors put before each text, which are learnt with the head while the model stays as it is."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

from xelm.transferring.heads.head import Desk, Lesson, head
from xelm.transferring.heads.tuned import Tuned

if TYPE_CHECKING:
    from xelm.transferring.bases.network import TaskNetwork


@head
class SoftPrompt(Tuned):
    """Prompt tuning (Lester et al. 2021) through peft; another expert can carry what was learnt, as it can adapters."""

    name = "prompt"
    default_learning_rate = 1e-2

    def key(self) -> list[Any]:
        return [*super().key(), self.settings.prompt_length]

    def prepare(self, model: Any) -> Any:
        from peft import PromptTuningConfig, get_peft_model

        from xelm.transferring.bases.network import AfterPrompt

        length = self.settings.prompt_length
        config = PromptTuningConfig(task_type="FEATURE_EXTRACTION", num_virtual_tokens=length)
        return AfterPrompt(get_peft_model(model, config), length)

    def _moved(self, network: TaskNetwork, answerer: str, lesson: Lesson, desk: Desk) -> TaskNetwork:
        from peft import get_peft_model_state_dict, set_peft_model_state_dict

        model, tokenizer = desk.load(answerer)
        other, _ = self._network(model, tokenizer, lesson, desk)
        set_peft_model_state_dict(other.model.inner, get_peft_model_state_dict(network.model.inner))
        other.head = copy.deepcopy(network.head)
        return other
