"""How the run was made: recipe, versions, and the commands that make it again."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from typing import Any

from xelm.run.records.ledger import LedgerEntry
from xelm.run.records.manifest import Manifest

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


def to_toml(table: Mapping[str, Any]) -> str:
    """Nested dictionaries as TOML; keys without a value are left out, as TOML has none.

    Args:
        table: Of strings, numbers, truth values, lists of these, and such tables; any string may be a key.
    """
    import tomli_w

    return tomli_w.dumps(_without_none(table))


def _without_none(table: Mapping[str, Any]) -> dict[str, Any]:
    known = {key: value for key, value in table.items() if value is not None}
    return {key: _without_none(value) if isinstance(value, Mapping) else value for key, value in known.items()}


def _add_command(line: LedgerEntry) -> str:
    code = line.language
    words = ["xelm", "add", code, "--data", f"{code}.jsonl", "--run", "RUN"]
    words += ["--trial", str(line.trial_share)] if line.trials else ["--donor", line.donor]
    joins = line.kind == "join"
    words += ["--replay", str(line.replay)] if line.replay or joins else []
    words += ["--as", "join"] if joins else []
    return shlex.join([*words, "--tokens", str(line.budget_tokens)])
