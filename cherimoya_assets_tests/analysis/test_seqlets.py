"""Seqlets of real attributions by chromosome, against tangermeme and `cherimoya seqlets` run once on everything."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from cherimoya_assets.analysis.attributions import AttributionBlock
from cherimoya_assets.analysis.modisco import pool_blocks
from cherimoya_assets.analysis.seqlets import (
    COLUMNS,
    SeqletNull,
    SeqletTable,
    call_seqlets,
    cherimoya_seqlets_bed,
    in_cherimoya_order,
    seqlet_null,
)
from cherimoya_assets.errors import InputError
from cherimoya_assets_tests.demo_inputs import ATTR_WINDOW, ATTRIBUTED, demo_attributions

pytestmark = pytest.mark.slow

TIED = 8
"""Loci of chrI that are given the contributions of as many of chrIX: their seqlets have equal p-values and attributions
at other places, so that the order of rows decides."""


@dataclass(frozen=True)
class Real:
    """Attributions of the demo's peaks on four chromosomes, from two interleaved files, with some ties."""

    files: list[Path]
    loci: pd.DataFrame
    blocks: dict[str, AttributionBlock]

    @property
    def order(self) -> list[str]:
        return list(self.loci["locus_id"])

    @property
    def pooled(self):
        return pool_blocks(list(self.blocks.values()), self.order)

    @property
    def projected(self) -> list[np.ndarray]:
        return [block.projected for block in self.blocks.values()]


@pytest.fixture(scope="module")
def real(tmp_path_factory) -> Real:
    made = demo_attributions()
    files = [tmp_path_factory.mktemp("real") / name for name in ("first.narrowPeak", "second.narrowPeak")]
    for file, text in zip(files, made.bed, strict=True):
        file.write_text(text)
    tied = {}
    for field in ("scores", "one_hot"):
        tied[field] = getattr(made.blocks["chrI"], field).copy()
        tied[field][:TIED] = getattr(made.blocks["chrIX"], field)[:TIED]
    return Real(files, made.loci, {**made.blocks, "chrI": replace(made.blocks["chrI"], **tied)})


def called(real: Real, null: SeqletNull | None = None, **parameters) -> list[SeqletTable]:
    """The seqlets of each chromosome; without a null, each against its own."""
    return [
        call_seqlets(block, seqlet_null([block.projected]) if null is None else null, **parameters)
        for block in real.blocks.values()
    ]


def block(projected, window_start=None, chrom="chrI") -> AttributionBlock:
    """A block whose every base is an A, with these contributions."""
    n, width = np.shape(projected)
    scores, one_hot = np.zeros((n, 4, width), np.float32), np.zeros((n, 4, width), np.int8)
    scores[:, 0], one_hot[:, 0] = projected, 1
    starts = np.arange(n) * 1000 if window_start is None else np.asarray(window_start)
    return AttributionBlock(chrom, "counts", scores, one_hot, np.array([f"locus {i}" for i in range(n)]), starts)


def test_chromosomes_give_the_rows_of_tangermeme_run_once_on_everything(real):
    from tangermeme.seqlet import recursive_seqlets

    pooled = real.pooled
    theirs = recursive_seqlets((pooled.scores * pooled.one_hot).sum(axis=1), additional_flanks=3)
    theirs["start"] += pooled.window_start[theirs["example_idx"]]
    theirs["end"] += pooled.window_start[theirs["example_idx"]]
    theirs.insert(0, "locus_id", pooled.locus_id[theirs["example_idx"]])
    theirs.insert(1, "chrom", pooled.chrom[theirs["example_idx"]])
    ours = pd.concat([table.table for table in called(real, seqlet_null(real.projected))])
    assert len(theirs) > 400
    # Loci are unique by id, and the longest span of a locus is called first: this order is one of rows, not of values.
    keys = ["locus_id", "start", "end"]
    columns = [*keys, "chrom", "attribution", "p-value"]
    pd.testing.assert_frame_equal(
        ours[columns].sort_values(keys, ignore_index=True),
        theirs[columns].sort_values(keys, ignore_index=True),
        check_exact=True,
        check_dtype=False,
    )


def test_chromosomes_give_the_rows_of_one_call_in_their_order(real):
    null = seqlet_null(real.projected)
    blocks = list(real.blocks.values())
    at_once = call_seqlets(
        replace(
            blocks[0],
            scores=np.concatenate([one.scores for one in blocks]),
            one_hot=np.concatenate([one.one_hot for one in blocks]),
            locus_id=np.concatenate([one.locus_id for one in blocks]),
            window_start=np.concatenate([one.window_start for one in blocks]),
        ),
        null,
    ).table.drop(columns=["chrom", "example_idx"])
    parts = pd.concat([table.table for table in called(real, null)], ignore_index=True)
    pd.testing.assert_frame_equal(parts.drop(columns=["chrom", "example_idx"]), at_once, check_exact=True)


def test_a_null_for_each_chromosome_would_give_other_seqlets(real):
    def spans(tables):
        return {row for table in tables for row in table.table[["locus_id", "start", "end"]].itertuples(index=False)}

    pooled, own = spans(called(real, seqlet_null(real.projected))), spans(called(real))
    assert len(pooled & own) / len(pooled | own) < 0.95


@pytest.mark.parametrize("parameters", [{}, {"threshold": 0.002, "max_seqlet_len": 12, "additional_flanks": 0}])
def test_bed_is_the_text_that_cherimoya_seqlets_writes(real, tmp_path, parameters):
    from cherimoya_cli.commands.seqlets import run

    pooled = real.pooled
    np.savez_compressed(tmp_path / "ohe.npz", pooled.one_hot)
    np.savez_compressed(tmp_path / "attr.npz", pooled.scores)
    np.save(tmp_path / "idxs.npy", real.loci["status"].to_numpy() == "kept")
    content = {
        **parameters,
        "chroms": list(ATTRIBUTED),
        "loci": [str(file) for file in real.files],
        "ohe_filename": str(tmp_path / "ohe.npz"),
        "attr_filename": str(tmp_path / "attr.npz"),
        "idx_filename": str(tmp_path / "idxs.npy"),
        "output_filename": str(tmp_path / "seqlets.bed"),
    }
    (tmp_path / "parameters.json").write_text(json.dumps(content))
    run(SimpleNamespace(parameters=str(tmp_path / "parameters.json")))
    theirs = (tmp_path / "seqlets.bed").read_text()

    longest = {name: value for name, value in parameters.items() if name == "max_seqlet_len"}
    tables = called(real, seqlet_null(real.projected, **longest), **parameters)
    assert theirs.count("\n") > 100
    assert cherimoya_seqlets_bed(tables, real.order) == theirs
    # In whatever order the chromosomes come.
    assert cherimoya_seqlets_bed(tables[::-1], real.order) == theirs


def test_seqlets_tie_in_the_ranking(real):
    """Or else the order of equal rows would not be tested."""
    rows = in_cherimoya_order([one.table for one in called(real, seqlet_null(real.projected))], real.order)
    assert (rows.groupby(["attribution", "p-value"])["chrom"].nunique() > 1).sum() >= TIED


def test_null_is_the_distribution_of_sums_of_binned_values(real):
    null = seqlet_null(real.projected, max_seqlet_len=6, n_bins=50)
    values = np.concatenate([one.ravel() for one in real.projected])
    assert (null.n_values, null.xmin) == (len(values), values.min())
    assert null.bin_width == float(values.max() - values.min()) / 49
    binned = np.floor((values - values.min()) / null.bin_width).astype(int)
    share = np.bincount(binned, minlength=50) / len(values)
    density = share
    for length in range(1, 7):
        tail = density[::-1].cumsum()[::-1]
        np.testing.assert_allclose(null.rcdfs[length, : len(tail)], tail, rtol=1e-9, atol=1e-15)
        density = np.convolve(density, share)


def test_null_does_not_depend_on_how_values_are_cut_or_ordered(real):
    whole = seqlet_null([np.concatenate(real.projected)])
    for parts in (real.projected[::-1], [real.projected[0][::-1], *real.projected[1:], np.zeros((0, ATTR_WINDOW))]):
        null = seqlet_null(parts)
        assert (null.xmin, null.bin_width, null.n_values) == (whole.xmin, whole.bin_width, whole.n_values)
        np.testing.assert_array_equal(null.rcdfs, whole.rcdfs)


def test_attribution_is_the_sum_over_the_span_of_the_locus_in_genome_coordinates(real):
    null = seqlet_null(real.projected)
    for one, table in zip(real.blocks.values(), called(real, null), strict=True):
        assert set(table.table["chrom"]) == {one.chrom}
        for row in table.table.itertuples():
            assert one.locus_id[row.example_idx] == row.locus_id
            offset = one.window_start[row.example_idx]
            span = one.projected[row.example_idx, row.start - offset : row.end - offset]
            assert len(span) == row.end - row.start
            np.testing.assert_allclose(row.attribution, span.sum(dtype=np.float64), rtol=1e-9, atol=1e-9)


def test_flanks_widen_the_same_calls_and_stop_at_the_window(real):
    null = seqlet_null(real.projected)
    stopped = 0
    for one, bare, wide in zip(
        real.blocks.values(),
        called(real, null, additional_flanks=0),
        called(real, null, additional_flanks=9),
        strict=True,
    ):
        first = one.window_start[bare.table["example_idx"]]
        starts, ends = bare.table["start"] - 9, bare.table["end"] + 9
        stopped += int((starts < first).sum() + (ends > first + ATTR_WINDOW).sum())
        np.testing.assert_array_equal(wide.table["start"], np.maximum(starts, first))
        np.testing.assert_array_equal(wide.table["end"], np.minimum(ends, first + ATTR_WINDOW))
        np.testing.assert_array_equal(wide.table["p-value"], bare.table["p-value"])
    assert stopped


def test_a_chromosome_without_loci_has_no_seqlets_and_changes_no_other(real):
    empty = block(np.zeros((0, ATTR_WINDOW)), chrom="chrM")
    null = seqlet_null([*real.projected, empty.projected])
    table = call_seqlets(empty, null)
    assert table.chrom == "chrM"
    assert {name: str(kind) for name, kind in table.table.dtypes.items()} == COLUMNS
    assert table.table.empty
    tables = called(real, null)
    assert cherimoya_seqlets_bed([table, *tables], real.order) == cherimoya_seqlets_bed(tables, real.order)


@pytest.mark.parametrize("projected", [np.zeros((0, 30)), np.full((3, 30), 0.25)], ids=["no values", "all equal"])
def test_nothing_stands_out_of_no_values_or_equal_ones(projected, tmp_path):
    one = block(projected)
    null = seqlet_null([one.projected])
    assert (null.rcdfs, null.n_values) == (None, projected.size)
    null.write(tmp_path)
    for same in (null, SeqletNull.read(tmp_path)):
        table = call_seqlets(one, same)
        assert table.table.empty
        assert cherimoya_seqlets_bed([table], []) == ""


def test_windows_narrower_than_a_seqlet_have_none():
    one = block(np.random.default_rng(0).normal(size=(50, 3)))
    assert call_seqlets(one, seqlet_null([one.projected])).table.empty


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_values_that_are_no_numbers_are_one_sentence(value):
    projected = np.zeros((2, 30))
    projected[1, 4] = value
    with pytest.raises(InputError, match=r"^1 of 60 attribution values are not finite.*compute the attributions again"):
        seqlet_null([projected])


def test_a_null_of_shorter_spans_is_refused():
    one = block(np.random.default_rng(0).normal(size=(5, 40)))
    with pytest.raises(ValueError, match="at most 10 bp, asked for 25"):
        call_seqlets(one, seqlet_null([one.projected], max_seqlet_len=10))


@pytest.mark.parametrize("threshold", [1.5, np.nan])
def test_a_threshold_that_is_no_p_value_is_refused(threshold):
    one = block(np.random.default_rng(0).normal(size=(5, 40)))
    with pytest.raises(ValueError, match="threshold"):
        call_seqlets(one, seqlet_null([one.projected]), threshold=threshold)


def test_a_longer_null_gives_the_same_calls(real):
    shorter, longer = (seqlet_null(real.projected, max_seqlet_len=length) for length in (12, 25))
    for one, other in zip(
        called(real, shorter, max_seqlet_len=12), called(real, longer, max_seqlet_len=12), strict=True
    ):
        spans = ["locus_id", "start", "end", "attribution"]
        pd.testing.assert_frame_equal(one.table[spans], other.table[spans], check_exact=True)
        np.testing.assert_allclose(one.table["p-value"], other.table["p-value"], rtol=1e-9)


def test_a_locus_without_a_place_is_an_error(real):
    tables = [one.table for one in called(real, seqlet_null(real.projected))]
    lost = tables[0]["locus_id"].iloc[0]
    with pytest.raises(ValueError, match=f"^locus {lost} is not in the given order of loci"):
        in_cherimoya_order(tables, [locus for locus in real.order if locus != lost])


def test_what_is_written_reads_back_and_calls_the_same(real, tmp_path):
    null = seqlet_null(real.projected)
    one = real.blocks["chrI"]
    table = call_seqlets(one, null)
    for copy in ("a", "b"):
        for name, value in (("null", null), ("table", table)):
            (tmp_path / copy / name).mkdir(parents=True)
            value.write(tmp_path / copy / name)
    for file in (tmp_path / "a").rglob("*.*"):
        assert file.read_bytes() == (tmp_path / "b" / file.relative_to(tmp_path / "a")).read_bytes()
    read = SeqletTable.read(tmp_path / "a" / "table")
    assert read.chrom == "chrI"
    pd.testing.assert_frame_equal(read.table, table.table, check_exact=True)
    again = SeqletNull.read(tmp_path / "a" / "null")
    assert (again.xmin.dtype, again.n_bins, again.max_seqlet_len) == (np.float32, 1000, 25)
    pd.testing.assert_frame_equal(call_seqlets(one, again).table, table.table, check_exact=True)
