"""Keep a result beside its recipe: `experiments/record.py RUN experiments/NAME` writes NAME/results.{json,md}."""

from __future__ import annotations

import sys
from pathlib import Path

from xelm import ExpertSet
from xelm.parts import model_table, write_json, write_text


def record(run: Path, folder: Path) -> None:
    """Write the test table, the recipe and the versions that made it."""
    experts = ExpertSet.load(run)
    result = experts.result("test")
    if result is None:
        sys.exit(f"{run}: not evaluated on test text")
    manifest, table = experts.manifest, result.to_dict()
    kept = {
        key: table[key]
        for key in ("models", "routing", "routed", "routed_by_text", "owners", "right_expert", "forgetting", "summary")
    }
    made = {"recipe": manifest.recipe, "packages": manifest.packages, "clusters": experts.plan.clusters}
    write_json(folder / "results.json", {**made, **kept})
    versions = ", ".join(f"{name} {number}" for name, number in manifest.packages.items())
    write_text(
        folder / "results.md",
        f"```\n{model_table(result)}\n```\n\nseed {manifest.recipe['train']['seed']}; {versions}\n",
    )


if __name__ == "__main__":
    record(Path(sys.argv[1]), Path(sys.argv[2]))
