"""docs/reliability.md promises what tests hold, and counts the kills that they do."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from cherimoya_assets_tests.faults import test_killed_daemon, test_killed_steps

TESTS = Path(__file__).parent.parent
DOCUMENT = (TESTS.parent / "docs" / "reliability.md").read_text(encoding="utf-8")
HELD = re.findall(r"\| `([\w/]+\.py)::(\w+)` \|$", DOCUMENT, re.MULTILINE)

ENOUGH = 50


def functions(file: Path) -> set[str]:
    return {node.name for node in ast.parse(file.read_text()).body if isinstance(node, ast.FunctionDef)}


@pytest.mark.parametrize(("file", "test"), HELD)
def test_each_promise_has_a_test_that_is_there(file, test):
    assert test in functions(TESTS / file)


def test_each_line_of_the_table_names_one():
    section = DOCUMENT.partition("## Promises")[2].partition("\n## ")[0]
    rows = [line for line in section.splitlines() if line.startswith("|")][2:]
    assert len(rows) == len(HELD) > 20


def test_each_fault_test_stands_in_the_table():
    for file in Path(__file__).parent.glob("test_*.py"):
        if file != Path(__file__):
            written = {name for name in functions(file) if name.startswith("test_")}
            assert written <= {test for path, test in HELD if path == f"faults/{file.name}"}


def test_the_kills_are_as_many_as_it_says():
    done = test_killed_steps.KILLS + test_killed_daemon.KILLS
    assert done >= ENOUGH
    assert re.findall(r"\*\*(\d+) kills\*\*", DOCUMENT) == [str(done)]
    lines = " ".join(row for row in DOCUMENT.splitlines() if "faults/test_killed_" in row)
    numbers = [int(number) for number in re.findall(r"(\d+) (?:points|kills|of everything)", lines)]
    assert sum(numbers) == done
