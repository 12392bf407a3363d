"""Compiled code outlives a process, and never its sources."""

from __future__ import annotations

import importlib.util

import pytest

from cherimoya_assets.analysis.mutagenesis.compiled import kept, products
from cherimoya_assets.analysis.mutagenesis.windowed.cpu import sweep

SOURCE = """
from cherimoya_assets.analysis.mutagenesis.compiled.kept import compiled

@compiled()
def twice(x):
    return 2 * x
"""


@pytest.fixture
def loaded(tmp_path):
    """Loads the module above as a new process would, and calls its function."""
    file = tmp_path / "module.py"
    file.write_text(SOURCE)

    def load():
        spec = importlib.util.spec_from_file_location("module", file)
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        assert module.twice(4) == 8
        return module.twice.stats

    return load


def test_what_was_compiled_is_kept(loaded):
    assert sum(loaded().cache_misses.values()) == 1
    again = loaded()
    assert sum(again.cache_hits.values()) == 1 and not again.cache_misses


def test_another_file_that_changed_makes_it_anew(loaded, monkeypatch):
    loaded()
    monkeypatch.setattr(kept, "fingerprint", lambda folder: "changed")
    assert sum(loaded().cache_misses.values()) == 1
    assert sum(loaded().cache_hits.values()) == 1


def test_the_fingerprint_is_of_every_source_below(tmp_path):
    kept.fingerprint.cache_clear()
    (tmp_path / "inner").mkdir()
    (tmp_path / "inner" / "a.py").write_text("A = 1")
    before = kept.fingerprint(tmp_path)
    kept.fingerprint.cache_clear()
    (tmp_path / "inner" / "a.py").write_text("A = 2")
    assert kept.fingerprint(tmp_path) != before
    kept.fingerprint.cache_clear()
    sources = {str(file.relative_to(kept.SOURCES)) for file in kept.SOURCES.rglob("*.py")}
    assert {"compiled/products.py", "windowed/cpu/sweep.py", "convolutional/sweep.py", "edit_table.py"} <= sources


def test_functions_of_the_package_are_kept_with_it():
    for function in (products.multiply, sweep.sweep_groups):
        assert kept.fingerprint(kept.SOURCES) in function._cache._cache_file._source_stamp


def test_where_nothing_can_be_written_each_process_compiles():
    # numba finds no place for the code of a function without a file.
    scope: dict[str, object] = {}
    exec(SOURCE, scope)
    assert scope["twice"](4) == 8
    assert not scope["twice"].stats.cache_hits
