"""Imports point downwards: the table of CONTRIBUTING is read here, and no two modules need each other."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

import cherimoya_assets

PACKAGE = Path(cherimoya_assets.__file__).parent
CONTRIBUTING = PACKAGE.parent / "CONTRIBUTING.md"


def modules() -> dict[str, Path]:
    """Every module by its name below the package."""
    found = {}
    for path in PACKAGE.rglob("*.py"):
        parts = path.relative_to(PACKAGE).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def layers() -> list[list[str]]:
    """The rows of the table, from the top: modules and folders below the package."""
    text = CONTRIBUTING.read_text().partition("## The layout")[2].partition("`cherimoya_assets_tests/`")[0]
    rows = [line.split("|")[1] for line in text.splitlines() if line.startswith("| `")]
    return [[name.strip("/").removesuffix(".py") for name in re.findall(r"`([^`]+)`", row)] for row in rows]


def layer_of(module: str, table: list[list[str]]) -> int:
    places = [place for place, names in enumerate(table) if module.split(".")[0] in names]
    assert len(places) == 1, f"{module} stands in {len(places)} rows of CONTRIBUTING's table"
    return places[0]


def imports(path: Path, known: dict[str, Path], *, types: bool) -> Iterator[str]:
    """The package's modules that one imports, inside functions too; with `types`, for type checkers as well."""

    def walk(node: ast.AST) -> Iterator[ast.ImportFrom | ast.Import]:
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test) and not types:
                continue
            if isinstance(child, ast.ImportFrom | ast.Import):
                yield child
            yield from walk(child)

    for node in walk(ast.parse(path.read_text())):
        names = [one.name for one in node.names]
        if isinstance(node, ast.ImportFrom):
            assert not node.level, f"{path}:{node.lineno}: name the module from the package on"
            names = [f"{node.module}.{name}" for name in names]
        for name in names:
            below = name.removeprefix("cherimoya_assets").strip(".")
            if name.split(".")[0] == "cherimoya_assets":
                # What is no module is a name in one.
                yield below if below in known else below.rpartition(".")[0]


def test_no_module_imports_what_stands_above_it():
    table, known = layers(), modules()
    assert len(table) > 8
    upwards = [
        f"{module} imports {other}"
        for module, path in known.items()
        if module
        for other in imports(path, known, types=True)
        if other and layer_of(other, table) < layer_of(module, table)
    ]
    assert upwards == []


def test_no_two_modules_need_each_other():
    known = modules()
    graph = {module: {*imports(path, known, types=False)} - {module} for module, path in known.items() if module}
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        pytest.fail(f"imports in a circle: {' <- '.join(error.args[1])}")


def test_the_table_names_nothing_that_is_not_there():
    top = {module.split(".")[0] for module in modules() if module}
    assert {name for row in layers() for name in row} == top
