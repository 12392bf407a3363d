"""The command `cherimoya-assets`: the lineage for people who do not live in Dagster.

What belongs here: the command line itself, and what errors look like on it. Each command is a module of its own with
`add_arguments(parser)` and `run(arguments)`, which imports what it needs when it runs: `--help` answers at once.

Exit codes: 0 it worked, 1 work failed, 2 bad input or usage, 130 interrupted.
"""

from __future__ import annotations

import argparse
import os
import re
import sys
from collections.abc import Sequence

from cherimoya_assets.cli import check, diff, drift, export, init, lineage, reap, rename, run, ui
from cherimoya_assets.errors import CherimoyaAssetsError, Problems, StorageError
from cherimoya_assets.version import version

COMMANDS = {
    "init": init,
    "check": check,
    "run": run,
    "drift": drift,
    "rename": rename,
    "diff": diff,
    "lineage": lineage,
    "export": export,
    "ui": ui,
    "reap": reap,
}

FAILED, BAD_INPUT, INTERRUPTED = 1, 2, 130


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; returns its exit code."""
    try:
        arguments = make_parser().parse_args(argv)
        return int(COMMANDS[arguments.command].run(arguments))
    except SystemExit as stop:
        # argparse has said what is wrong, or has shown the help.
        return stop.code if isinstance(stop.code, int) else BAD_INPUT
    except CherimoyaAssetsError as error:
        print(sentences(error), file=sys.stderr)
        return FAILED if isinstance(error, StorageError) else BAD_INPUT
    except KeyboardInterrupt:
        print("Interrupted. Finished work is kept; run the same command to continue.", file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:
        # Whoever reads our output has gone (`| head`); Python would complain once more when it flushes at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return FAILED


def make_parser() -> argparse.ArgumentParser:
    """The parser of the whole command line."""
    parser = argparse.ArgumentParser(
        prog="cherimoya-assets",
        description="From a trained model and peaks to attributions, motifs and reports, chromosome by chromosome.",
    )
    parser.add_argument("--version", action=_Version, nargs=0, help="show the version of the code and exit")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name, module in COMMANDS.items():
        summary = (module.__doc__ or "").partition("\n")[0].partition(": ")[2]
        sub = commands.add_parser(
            name, help=summary, description=summary, formatter_class=argparse.RawDescriptionHelpFormatter
        )
        module.add_arguments(sub)
    return parser


SHOWN = 3
"""Problems of one kind that are listed before the others are counted."""

_VALUES = re.compile(r"'[^']*'|\"[^\"]*\"|[0-9][0-9.,e+-]*")
"""What differs between sentences of one kind."""


class _Version(argparse.Action):
    """Asks git only when the version is asked for."""

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> None:
        print(f"cherimoya-assets {version()}")
        parser.exit()


def sentences(error: CherimoyaAssetsError) -> str:
    """What an error says: every problem on a line of its own, of many of one kind the first few and how many more."""
    if not isinstance(error, Problems) or len(error.problems) == 1:
        return str(error)
    kinds: dict[str, list[str]] = {}
    for text in error.problems:
        kinds.setdefault(_VALUES.sub("", text), []).append(text)
    lines = []
    for texts in kinds.values():
        lines += texts[:SHOWN]
        if len(texts) > SHOWN:
            lines[-1] += f" And {len(texts) - SHOWN:,} more like these."
    listed = "\n".join(f"  {number}. {text}" for number, text in enumerate(lines, start=1))
    return f"{len(error.problems):,} problems:\n{listed}"
