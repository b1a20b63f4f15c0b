"""Files that other libraries read: any error of these libraries becomes one sentence."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from clustering.errors import BadInput


@contextmanager
def unusable_reported(what: str) -> Iterator[None]:
    """Turn every exception of a library that reads a file of a run (or of the hub) into bad input.

    transformers, tokenizers, peft and huggingface_hub raise dozens of types, `Exception` itself among them, for a
    configuration that does not fit.

    Args:
        what: Beginning of the sentence.

    Raises:
        BadInput: The message holds the first line of the reason.
    """
    try:
        yield
    except BadInput:
        raise
    except Exception as error:  # see above
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        raise BadInput(f"{what}: {lines[0] if lines else type(error).__name__}") from None
