"""`xelm info`."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from xelm.cli._options import Command, print_json

if TYPE_CHECKING:
    from xelm.run.records.manifest import ModelEntry


@click.command("info", cls=Command, epilog="\b\nExample:\n  xelm info runs/a\n  xelm info runs/a --tokenizer")
@click.argument("run", type=click.Path(path_type=Path))
@click.option("--tokenizer", is_flag=True, help="Show what the same text costs in each language: tokens, bytes, bits.")
@click.option("--json", "as_json", is_flag=True, help="Print the whole manifest, and what experts forgot, as JSON.")
def command(run: Path, tokenizer: bool, as_json: bool) -> None:
    """Show what is in RUN: its models, their languages and training tokens, and what each started from."""
    from tabulate import tabulate

    from xelm.evaluation.tables import forgetting_line, own_and_elsewhere
    from xelm.run.experts import ExpertSet
    from xelm.run.records.lineage import entries, origin

    experts = ExpertSet.load(run)
    if tokenizer:
        from xelm.vocabulary.fairness import costs, costs_json, costs_text

        found = costs(experts)
        if as_json:
            print_json(costs_json(found))
        else:
            click.echo(costs_text(found))
        return
    manifest, result = experts.manifest, experts.result("test")
    forgotten = result.forgetting if result else {}
    if as_json:
        print_json(
            manifest.to_dict() | {"forgetting": {name: asdict(measurement) for name, measurement in forgotten.items()}}
        )
        return
    rows = [
        [
            name,
            entry.state,
            ", ".join([entry.kind, *_moved(entry)]),
            origin(experts.path, manifest, name),
            f"{entry.tokens:,}",
            *own_and_elsewhere(forgotten.get(name)),
            " ".join(entry.languages),
        ]
        for name, entry in entries(manifest).items()
    ]
    headers = ["model", "state", "kind", "from", "tokens", "own gain %", "cost elsewhere %", "languages"]
    click.echo(tabulate(rows, headers=headers, disable_numparse=True))
    if result and forgotten:
        click.echo(forgetting_line(result.summary))
    total_bytes = sum(counts["bytes"] for counts in manifest.data.values())
    click.echo(
        f"{len(experts.languages)} languages, {total_bytes:,} bytes of training text, {len(manifest.files)} files"
    )
    for line in manifest.ledger:
        click.echo(f"added: {line.language} to {line.expert}, from {line.donor}")


def _moved(entry: ModelEntry) -> list[str]:
    """How its weights were moved back to the base."""
    parts = [] if entry.keep is None else [f"λ {entry.keep:.2f}"]
    if entry.aligned is not None:
        parts.append("trained on pairs")
    return [*parts, f"layers put back: {' '.join(entry.put_back)}"] if entry.put_back else parts
