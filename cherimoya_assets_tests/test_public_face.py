"""`import cherimoya_assets as ca`: cheap, complete, and the same for people, editors and type checkers."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

import cherimoya_assets as ca

ROOT = Path(__file__).parent.parent
HEAVY = {"torch", "dagster", "pandas", "numpy", "scipy", "numba", "matplotlib", "pydantic", "yaml"}


def test_importing_it_imports_nothing_heavy():
    code = f"import sys, cherimoya_assets; print(sorted({HEAVY} & sys.modules.keys()), len(sys.modules))"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert ran.stdout.startswith("[] "), ran


@pytest.mark.parametrize("name", ca.PUBLIC)
def test_every_name_is_there_and_explained(name):
    assert name in dir(ca)
    assert getattr(ca, name).__name__ == name
    assert getattr(ca, name).__doc__


def test_what_is_not_there_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no attribute 'atribute'"):
        ca.atribute  # noqa: B018


def test_type_checkers_see_the_same_names_as_python():
    tree = ast.parse(Path(ca.__file__).read_text())
    imports = [node for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) and "cherimoya" in node.module]
    assert {
        alias.asname: node.module.removeprefix("cherimoya_assets.") for node in imports for alias in node.names
    } == ca.PUBLIC


def test_the_document_lists_them():
    listed = (ROOT / "docs" / "notebook.md").read_text().partition("## What there is")[2].partition("\n## ")[0]
    assert set(re.findall(r"`(\w+)`", "".join(re.findall(r"^\| (.*?) \|", listed, re.MULTILINE)))) == ca.PUBLIC.keys()
