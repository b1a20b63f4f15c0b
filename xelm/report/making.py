"""How the run was made: recipe, versions, and the commands that make it again."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping
from typing import Any

from xelm.run.manifest import Manifest

USAGE = """import xelm
lm = xelm.RoutedLM.from_pretrained("RUN")
print(lm.generate(["Once upon a time"], max_new_tokens=48))"""


def making(manifest: Manifest) -> dict[str, Any]:
    """What the last section shows.

    Returns:
        `recipe` (TOML), `packages`, `commands` (shell lines), `usage` (Python lines).
    """
    commands = ["xelm train recipe.toml --out RUN", *(_add_command(line) for line in manifest.ledger)]
    commands += ["xelm verify RUN", "xelm eval RUN", "xelm report RUN"]
    return {
        "recipe": to_toml(manifest.recipe),
        "packages": manifest.packages,
        "commands": commands,
        "usage": USAGE,
    }


def to_toml(table: Mapping[str, Any], path: str = "") -> str:
    """Nested dictionaries as TOML; keys without a value are left out, as TOML has none.

    Args:
        table: Of strings, numbers, truth values, lists of these, and such tables; keys are plain words.
        path: Dotted name of the table.
    """
    lines = [f"{key} = {_value(value)}" for key, value in table.items() if not isinstance(value, Mapping | None)]
    blocks = ["\n".join([f"[{path}]", *lines] if path else lines)] if lines else []
    for key, value in table.items():
        if isinstance(value, Mapping):
            blocks.append(to_toml(value, f"{path}.{key}" if path else key))
    return "\n\n".join(block for block in blocks if block)


def _value(value: Any) -> str:
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(_value, value))}]"
    if isinstance(value, str):
        # JSON's escapes are TOML's; only DEL, which JSON lets stand, is not.
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007F")
    return str(value).lower() if isinstance(value, bool) else repr(value)


def _add_command(line: dict[str, Any]) -> str:
    code = line["language"]
    words = ["xelm", "add", code, "--data", f"{code}.jsonl", "--run", "RUN", "--donor", line["donor"]]
    words += ["--replay", str(line["replay"])] if line["replay"] else []
    words += ["--as", "join"] if line["as"] == "join" else []
    return shlex.join([*words, "--tokens", str(line["tokens"])])
