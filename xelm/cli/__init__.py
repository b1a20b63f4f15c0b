"""The command line: one program, a command a module, loaded when it is called."""

from __future__ import annotations

import logging
import os
import signal
import sys
from importlib import import_module

import click

from clustering.errors import BadInput
from xelm import __version__
from xelm.run.failures import TrainingFailedError

COMMANDS = {
    "demo": "Run every step once on the small corpus that comes with xelm; a few minutes on a CPU.",
    "cluster": "Group languages and save the plan: which languages share an expert.",
    "sources": "Rank the languages to transfer from, and say why.",
    "fit": "Learn to rank source languages from your own transfer results.",
    "train": "Train base, experts and dense baseline from a recipe; run it again to resume.",
    "transfer": "Teach a task in some languages and answer it in the others.",
    "align": "Measure how well translations find each other, or train on pairs.",
    "compare": "Train experts for several plans from one base and compare them.",
    "measure": "Measure what training on each language does to every other.",
    "add": "Add a language to a finished run; no other expert changes.",
    "remove": "Remove a language that was added.",
    "blend": "Move experts part of the way back to the base: they forget less.",
    "distill": "Let the experts of a run teach one student.",
    "prune": "Keep only the pieces that some languages need: a smaller model.",
    "eval": "Measure every model on every language: perplexity and bits per byte.",
    "route": "Show which experts answer a text, and why.",
    "generate": "Continue prompts with the experts of their language.",
    "score": "Measure how probable texts are: bits per byte.",
    "serve": "Answer over HTTP, as OpenAI's completions do.",
    "gateway": "Send requests to other engines, each to the expert of its text.",
    "status": "Show the progress of every model of a run.",
    "info": "Show what is in a run.",
    "verify": "Compare every file of a run with its checksum.",
    "export": "Write a model of a run as a plain checkpoint.",
    "report": "Write a run's report.html again.",
}


class _LazyGroup(click.Group):
    """A group whose commands are imported when they are called, so that `--help` needs no torch."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        command: click.Command = import_module(f"xelm.cli.{cmd_name}").command
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))


@click.command(
    cls=_LazyGroup,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="\b\nExample:\n  xelm demo --out demo-run\n  xelm cluster deu nld spa ita rus bul -k 3",
)
@click.version_option(__version__, prog_name="xelm")
@click.option("-q", "--quiet", is_flag=True, help="Show only warnings and errors, and no progress.")
def group(quiet: bool) -> None:
    """Expert language models for groups of related languages: cluster, train, route, extend."""
    logging.basicConfig(format="%(message)s", stream=sys.stderr, force=True)
    for package in ("xelm", "clustering", "router"):
        logging.getLogger(package).setLevel(logging.WARNING if quiet else logging.INFO)
    # Their advice is for direct callers of these libraries; xelm reports every error that matters itself.
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")


def main() -> None:
    """Run the program: exit code 0 on success, 2 for bad usage or input, 1 for any other failure."""
    _print_what_the_terminal_can()
    signal.signal(signal.SIGTERM, _terminate)
    try:
        group.main(standalone_mode=False)
        sys.stdout.flush()
    except (click.exceptions.Abort, _Terminated) as stop:
        click.echo("stopped. What was finished is kept: the same command continues.", err=True)
        sys.exit(143 if isinstance(stop, _Terminated) else 130)
    except click.ClickException as error:
        error.show()
        sys.exit(2)
    except BadInput as error:
        click.echo(f"error: {error}", err=True)
        sys.exit(2)
    except BrokenPipeError:
        # The reader of the output has closed it; Python must not report that as an error at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except OSError as error:
        click.echo(f"error: {error.strerror or error}{f': {error.filename}' if error.filename else ''}", err=True)
        sys.exit(1)
    except (TrainingFailedError, FloatingPointError, MemoryError) as error:
        click.echo(f"error: {str(error) or 'out of memory'}", err=True)
        sys.exit(1)


class _Terminated(BaseException):
    """SIGTERM has come: like Ctrl-C, it ends what is being written in order."""


def _terminate(*_signal: object) -> None:
    raise _Terminated


def _print_what_the_terminal_can() -> None:
    """Print `?` for letters that the terminal's encoding lacks, instead of an error."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")
