"""Chunks: the same bytes wherever they end and whatever was there already; what decides a number decides the name."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch

from cherimoya_assets.analysis import attribution_chunks
from cherimoya_assets.analysis.attribution_chunks import AttributionChunk, Resumed, computed_on
from cherimoya_assets.analysis.methods import METHODS
from cherimoya_assets.analysis.models import load_model
from cherimoya_assets_tests.analysis.test_attributions import (
    HEADS,
    assert_same_block,
    attributed,
    block_of,
    rows_of,
)
from cherimoya_assets_tests.small_models import bpnet_file, cherimoya_file

N = 7
WAYS = {
    "windowed": {"algorithm": "saturation_mutagenesis", "attr_window": 20},
    "dense": {"algorithm": "saturation_mutagenesis", "tolerance": 0.0},
    "fast deep_lift_shap": {"algorithm": "deep_lift_shap"},
    "deep_lift_shap": {"algorithm": "deep_lift_shap", "fast": False},
}

# bpnet-lite has an elementwise rule for its profile head, and tangermeme says at each call that it does not add up.
pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore:Convergence deltas are:RuntimeWarning")]


class Remembered(dict[str, AttributionChunk]):
    """What somebody without a store keeps chunks in."""

    def put(self, chunk: AttributionChunk) -> None:
        assert chunk.fingerprint not in self
        self[chunk.fingerprint] = chunk


class StopError(Exception):
    pass


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models")
    return {"a": load_model(cherimoya_file(folder)), "b": load_model(cherimoya_file(folder, seed=1))}


@pytest.fixture(autouse=True)
def chunks_of_three(monkeypatch):
    monkeypatch.setattr(attribution_chunks, "CHUNK", 3)


def timeless(reports):
    folds = reports["counts"]["folds"]
    return {f: {k: v for k, v in said.items() if k not in ("seconds", "loci_per_second")} for f, said in folds.items()}


def stop_after(loci: int) -> Callable[[int, int], None]:
    def progress(done: int, total: int) -> None:
        if done == loci:
            raise StopError

    return progress


@pytest.mark.parametrize(
    ("way", "size"),
    [
        *((way, size) for way in ("windowed", "dense", "fast deep_lift_shap") for size in (1, 3, 100)),
        ("deep_lift_shap", 3),
    ],
)
def test_the_bytes_do_not_depend_on_where_chunks_end_or_on_what_was_there(models, way, size, monkeypatch):
    monkeypatch.setattr(attribution_chunks, "CHUNK", size)
    block, chunks, told = block_of(N), Remembered(), []
    expected, report = attributed(models, block, **WAYS[way])
    whole, _ = attributed(models, block, **WAYS[way], chunks=Remembered())
    # Into the second fold.
    with pytest.raises(StopError):
        attributed(models, block, **WAYS[way], chunks=chunks, progress=stop_after(N + 5))
    at_once = -(-N // size)
    there = list(chunks.values())
    assert at_once <= len(there)
    assert len(there) < 2 * at_once
    found, resumed_report = attributed(models, block, **WAYS[way], chunks=chunks, resumed=told.append)
    loci = sum(len(chunk.scores["counts"]) for chunk in there)
    assert told == [Resumed(len(there), 2 * at_once, loci, 2 * N)]
    for head in HEADS:
        assert_same_block(whole[head], expected[head])
        assert_same_block(found[head], expected[head])
        assert np.abs(found[head].scores).max() > 0
    assert timeless(resumed_report) == timeless(report)
    assert len(chunks) == 2 * at_once


def change_work(monkeypatch, change) -> None:
    """Have every engine's work on loci done by `change(work, ...)`."""
    for method in METHODS.values():

        def changed(self, *arguments, engine=method.engine, **keywords):
            made = engine(self, *arguments, **keywords)
            made.each_locus = partial(change, made.each_locus)
            return made

        monkeypatch.setattr(method, "engine", changed)


@pytest.mark.parametrize("way", ["windowed", "dense"])
def test_what_is_there_is_not_computed_again(models, way, monkeypatch):
    block, chunks, computed = block_of(N), Remembered(), []
    attributed(models, block, **WAYS[way], chunks=chunks)
    gone = list(chunks)[1]
    del chunks[gone]

    def listening(work, X, *arguments, **keywords):
        computed.append(X)
        return work(X, *arguments, **keywords)

    change_work(monkeypatch, listening)
    attributed(models, block, **WAYS[way], chunks=chunks)
    assert gone in chunks
    (rows,) = [X for X in computed if len(X)]
    assert any(np.array_equal(rows, block.one_hot[first : first + 3]) for first in (0, 3))


def test_progress_counts_what_was_there_as_done(models):
    block, chunks, told = block_of(N), Remembered(), []
    with pytest.raises(StopError):
        attributed(models, block, **WAYS["dense"], chunks=chunks, progress=stop_after(4))
    attributed(models, block, **WAYS["dense"], chunks=chunks, progress=lambda *now: told.append(now))
    assert told == [(done, 2 * N) for done in range(4, 2 * N + 1)]


def test_nothing_is_said_of_resuming_where_nothing_was_there(models):
    attributed(models, block_of(2), **WAYS["dense"], chunks=Remembered(), resumed=lambda _: pytest.fail("resumed"))


def test_a_chromosome_without_a_locus_has_no_chunks(models):
    block = block_of(2)
    block = replace(block, one_hot=block.one_hot[:0], loci=block.loci.assign(status="edge"))
    for way in WAYS.values():
        chunks = Remembered()
        assert len(attributed(models, block, **way, chunks=chunks)[0]["counts"].scores) == 0
        assert not chunks


# What decides.


def other_version(monkeypatch):
    look = attribution_chunks.version
    monkeypatch.setattr(attribution_chunks, "version", lambda name: look(name) + ("+x" if name == "numba" else ""))


def other_machine(monkeypatch):
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: "AVX1024")


def nothing(monkeypatch):
    pass


BOTH = ("windowed", "fast deep_lift_shap")
DECISIVE = {
    "a base": (BOTH, {"base": True}, nothing),
    "heads": (("windowed",), {"outputs": ("counts",)}, nothing),
    "group": (("windowed",), {"group": None}, nothing),
    "attr_window": (("windowed",), {"attr_window": 18}, nothing),
    "tolerance": (("windowed",), {"tolerance": 1e-3}, nothing),
    "dense or windowed": (("windowed",), {"tolerance": 0.0}, nothing),
    "dtype": (BOTH, {"dtype": "bfloat16"}, nothing),
    "n_shuffles": (("fast deep_lift_shap",), {"n_shuffles": 2}, nothing),
    "random_state": (("fast deep_lift_shap",), {"random_state": 6}, nothing),
    "fast": (("fast deep_lift_shap",), {"fast": False}, nothing),
    "algorithm": (("windowed",), {"algorithm": "deep_lift_shap"}, nothing),
    "model": (BOTH, {"seed": 2}, nothing),
    "a library": (("windowed",), {}, other_version),
    "the machine": (("windowed",), {}, other_machine),
}
IRRELEVANT = {
    "nothing": (BOTH, {}),
    "batch_size": (BOTH, {"batch_size": 7}),
    "warning_threshold": (BOTH, {"warning_threshold": 1e9}),
    "the name of the fold": (BOTH, {"fold": "z"}),
    "what only DeepLIFT reads": (("windowed",), {"n_shuffles": 9, "random_state": 9, "fast": False}),
    "what only mutagenesis reads": (("fast deep_lift_shap",), {"tolerance": 1e-3}),
    "the names of the loci": (BOTH, {"renamed": True}),
}


def reused(
    tmp_path, monkeypatch, way, *, base=False, renamed=False, seed=0, fold="a", change=nothing, **changes
) -> int:
    """How many of three chunks, kept before something changed, are used after it."""
    block, chunks, told = block_of(N), Remembered(), []
    arguments = {"group": 0, **WAYS[way]}
    attributed({"a": load_model(cherimoya_file(tmp_path))}, block, **arguments, chunks=chunks)
    assert len(chunks) == 3
    if base:
        one_hot = block.one_hot.copy()
        # The last base of every window, far from what is attributed.
        one_hot[:, :, -1] = one_hot[:, ::-1, -1]
        block = replace(block, one_hot=one_hot)
    if renamed:
        block = replace(block, loci=block.loci.assign(locus_id=[f"x{k}" for k in range(N)]))
    change(monkeypatch)
    model = load_model(cherimoya_file(tmp_path, seed=seed))
    attributed({fold: model}, block, **{**arguments, **changes}, chunks=chunks, resumed=told.append)
    return told[0].chunks if told else 0


@pytest.mark.parametrize(("way", "name"), [(way, name) for name, (ways, *_) in DECISIVE.items() for way in ways])
def test_what_decides_a_number_keeps_a_chunk_from_being_used(tmp_path, monkeypatch, way, name):
    _, changes, change = DECISIVE[name]
    assert reused(tmp_path, monkeypatch, way, change=change, **changes) == 0


@pytest.mark.parametrize(("way", "name"), [(way, name) for name, (ways, _) in IRRELEVANT.items() for way in ways])
def test_what_decides_no_number_does_not(tmp_path, monkeypatch, way, name):
    assert reused(tmp_path, monkeypatch, way, **IRRELEVANT[name][1]) == 3


def test_a_chunk_hangs_on_its_own_loci_only(models):
    """A locus that comes, goes or changes costs the chunks from there on, or its own."""
    block, chunks, told = block_of(N), Remembered(), []
    model = {"a": models["a"]}
    attributed(model, block, **WAYS["windowed"], chunks=chunks)
    changed = rows_of(block, [0, 1, 2, 4, 3, 5, 6])
    attributed(model, changed, **WAYS["windowed"], chunks=chunks, resumed=told.append)
    attributed(model, rows_of(block, [1, *range(N)]), **WAYS["windowed"], chunks=chunks, resumed=told.append)
    assert [resumed.chunks for resumed in told] == [2]


def test_the_kind_of_gpu_and_what_shares_a_sum_are_part_of_where_something_is_computed(models, monkeypatch):
    monkeypatch.setattr(
        torch.cuda, "get_device_name", lambda device: {"cuda:0": "H", "cuda:1": "H", "cuda:2": "B"}[device]
    )
    on = {
        device: computed_on(models["a"], device, shared_sums=True) for device in ("cpu", "cuda:0", "cuda:1", "cuda:2")
    }
    assert on["cuda:0"] == on["cuda:1"]
    assert len(set(on.values())) == 3
    assert computed_on(models["a"], "cpu", shared_sums=False) != on["cpu"]
    monkeypatch.setattr(torch, "get_num_threads", lambda: 17)
    assert "17 threads" in computed_on(models["a"], "cpu", shared_sums=True)
    assert "17" not in computed_on(models["a"], "cpu", shared_sums=False)


# What is kept.


def test_a_chunk_that_does_not_fit_is_not_used(models):
    block, chunks = block_of(N), Remembered()
    expected, _ = attributed({"a": models["a"]}, block, **WAYS["windowed"], chunks=chunks)
    one, two, three = chunks
    foreign = Remembered(
        {
            one: chunks[two],
            two: replace(chunks[two], scores={head: a[:, :, 1:] for head, a in chunks[two].scores.items()}),
            three: replace(chunks[three], scores={"counts": chunks[three].scores["counts"]}),
        }
    )
    foreign.put = lambda chunk: None  # type: ignore[method-assign]
    found, _ = attributed(
        {"a": models["a"]}, block, **WAYS["windowed"], chunks=foreign, resumed=lambda _: pytest.fail("used")
    )
    assert_same_block(found["counts"], expected["counts"])


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_chunk_with_a_number_that_is_none_is_not_kept(models, value, monkeypatch):
    def spoiled(work, *arguments, **keywords):
        under_way = work(*arguments, **keywords)

        def loci():
            for locus in under_way.loci:
                if locus.row == 4:
                    locus.scores["profile"][2, 3] = value
                yield locus

        return replace(under_way, loci=loci())

    change_work(monkeypatch, spoiled)
    chunks = Remembered()
    blocks, _ = attributed({"a": models["a"]}, block_of(N), **WAYS["dense"], chunks=chunks)
    assert not np.isfinite(blocks["profile"].scores).all()
    assert sorted(len(chunk.scores["counts"]) for chunk in chunks.values()) == [1, 3]


@pytest.mark.parametrize("way", WAYS)
def test_a_chunk_is_read_as_it_was_written(models, way, tmp_path):
    chunks = Remembered()
    attributed({"a": models["a"]}, block_of(2), **WAYS[way], chunks=chunks)
    (chunk,) = chunks.values()
    chunk.write(tmp_path)
    found = AttributionChunk.read(tmp_path)
    assert json.dumps([found.facts, found.checks]) == json.dumps([chunk.facts, chunk.checks])
    assert found.fits(chunk.fingerprint, HEADS, chunk.scores["counts"].shape)
    for head in HEADS:
        assert found.scores[head].dtype == np.float32
        np.testing.assert_array_equal(found.scores[head], chunk.scores[head])


def test_a_pickled_chunk_is_not_opened(models, tmp_path):
    chunks = Remembered()
    attributed({"a": models["a"]}, block_of(2), **WAYS["dense"], chunks=chunks)
    next(iter(chunks.values())).write(tmp_path)
    np.save(tmp_path / "counts.npy", np.array([{"any": "object"}], dtype=object))
    with pytest.raises(ValueError, match="allow_pickle=False"):
        AttributionChunk.read(tmp_path)


def test_a_bpnet_is_kept_and_resumed_too(tmp_path):
    model, chunks, told = {"one": load_model(bpnet_file(tmp_path))}, Remembered(), []
    expected, _ = attributed(model, block_of(N), **WAYS["deep_lift_shap"], chunks=chunks)
    found, _ = attributed(model, block_of(N), **WAYS["deep_lift_shap"], chunks=chunks, resumed=told.append)
    assert told == [Resumed(3, 3, N, N)]
    assert_same_block(found["profile"], expected["profile"])
