"""Patterns against modisco-lite's own commands run on the same arrays, and seqlets against the FASTA."""

from __future__ import annotations

import io
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pandas as pd
import pytest

from cherimoya_assets.analysis import modisco
from cherimoya_assets.analysis.modisco import (
    ModiscoPatterns,
    PooledAttributions,
    discover_patterns,
    pattern_seqlet_mismatches,
    pool_blocks,
)
from cherimoya_assets.errors import CherimoyaAssetsError, ExperimentError, InputError
from cherimoya_assets.experiment.model import ModiscoParameters
from cherimoya_assets_tests.analysis.planted_motifs import MOTIFS, PARAMETERS, WIDTH, planted_blocks

pytestmark = pytest.mark.slow

MODISCO = Path(sys.executable).with_name("modisco")
CAP = 110
SEED = 3


def command(*arguments):
    """Run modisco-lite's console command; returns what it printed."""
    run = subprocess.run([MODISCO, *map(str, arguments)], capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    return run.stdout


def command_motifs(pooled, folder, rows=slice(None), n_seqlets=100_000):
    """The file of `modisco motifs` on these rows."""
    np.savez_compressed(folder / "ohe.npz", pooled.one_hot[rows])
    np.savez_compressed(folder / "attr.npz", pooled.scores[rows])
    out = folder / "own.h5"
    window = ("-w", PARAMETERS.window)
    command("motifs", "-s", folder / "ohe.npz", "-a", folder / "attr.npz", "-n", n_seqlets, *window, "-o", out)
    return out.read_bytes()


def content(h5):
    """Everything that the file holds: path to (dtype, shape, bytes) of datasets, to attributes of groups."""
    found = {}

    def note(name, stored):
        if isinstance(stored, h5py.Dataset):
            values = stored[()]
            found[name] = (values.dtype, values.shape, values.tobytes())
        found[f"{name} attributes"] = {key: np.asarray(value).tolist() for key, value in stored.attrs.items()}

    with h5py.File(io.BytesIO(h5), "r") as file:
        note("", file)
        file.visititems(note)
    return found


def pool(blocks):
    return pool_blocks(blocks, [locus for block in blocks for locus in block.locus_id])


def test_patterns_are_those_of_the_command_byte_for_byte(planted, tmp_path):
    own = command_motifs(planted.pooled, tmp_path)
    assert {"pos_patterns/pattern_1/contrib_scores", "neg_patterns/pattern_1/contrib_scores"} <= content(own).keys()
    assert content(planted.patterns.h5) == content(own)
    assert not planted.patterns.cap_hit
    assert planted.patterns.permutation_seed is None


def test_the_planted_motifs_are_the_patterns(planted):
    found = {"pos_patterns": [], "neg_patterns": []}
    with h5py.File(io.BytesIO(planted.patterns.h5), "r") as file:
        for metacluster, patterns in found.items():
            for pattern in file[metacluster].values():
                text = "".join("ACGT"[base] for base in pattern["sequence"][:].argmax(axis=1))
                patterns.append(text + "|" + text[::-1].translate(str.maketrans("ACGT", "TGCA")))
    for motif, sign in MOTIFS.items():
        patterns = found["pos_patterns" if sign > 0 else "neg_patterns"]
        assert sum(motif in text for text in patterns) == 1
    assert [len(patterns) for patterns in found.values()] == [2, 2]


def test_seqlets_are_counted_as_modisco_lite_counts_them(planted):
    said = "\n".join(planted.said)
    assert planted.patterns.n_positive == int(re.search(r"(\d+) positive seqlets", said)[1])
    assert planted.patterns.n_negative == int(re.search(r"(\d+) negative seqlets", said)[1])


def test_a_cap_that_bites_permutes_the_loci_and_maps_every_row_back(planted, tmp_path):
    rows = np.random.default_rng(SEED).permutation(len(planted.pooled.scores))
    own = content(command_motifs(planted.pooled, tmp_path, rows, CAP))
    said = []
    parameters = PARAMETERS.model_copy(update={"n_seqlets": CAP, "random_state": SEED})
    patterns = discover_patterns(planted.pooled, parameters, log=said.append)
    assert (patterns.cap, patterns.cap_hit, patterns.permutation_seed) == (CAP, True, SEED)
    assert (patterns.n_positive, patterns.n_negative) == (planted.patterns.n_positive, planted.patterns.n_negative)
    found = content(patterns.h5)
    mapped = [name for name in own if name.endswith("/example_idx")]
    assert mapped
    for name in mapped:
        dtype, shape, raw = own[name]
        own[name] = (dtype, shape, rows[np.frombuffer(raw, dtype)].astype(dtype).tobytes())
    assert found == own
    assert pattern_seqlet_mismatches(patterns, planted.genome) == 0


def test_seqlets_hold_the_sequence_of_the_fasta_on_their_strand(planted):
    """Read back without pyfaidx and without our reading of the one-hot encoding."""
    lines = planted.genome.fasta.read_text().splitlines()
    genome = dict(zip((line[1:] for line in lines[::2]), lines[1::2], strict=True))
    table = planted.patterns.seqlets
    assert set(table["strand"]) == {"+", "-"}
    assert set(table["chrom"]) == set(genome)
    assert set(table["metacluster"]) == {"pos_patterns", "neg_patterns"}
    turned = str.maketrans("ACGT", "TGCA")
    with h5py.File(io.BytesIO(planted.patterns.h5), "r") as file:
        for row in table.itertuples():
            stored = file[row.metacluster][row.pattern]["seqlets"]["sequence"][row.seqlet]
            text = "".join("ACGT"[int(np.flatnonzero(base).item())] for base in stored)
            there = genome[row.chrom][row.start : row.end]
            assert text == (there if row.strand == "+" else there[::-1].translate(turned))
            assert row.locus_id == planted.pooled.locus_id[row.example_idx]


def test_seqlets_lie_where_modisco_seqlet_bed_puts_them(planted, tmp_path):
    pooled = planted.pooled
    peaks = "".join(
        f"{chrom}\t{start}\t{start + WIDTH}\t.\t0\t.\n"
        for chrom, start in zip(pooled.chrom, pooled.window_start, strict=True)
    )
    (tmp_path / "peaks.bed").write_text(peaks)
    (tmp_path / "patterns.h5").write_bytes(planted.patterns.h5)
    said = command("seqlet-bed", "-i", tmp_path / "patterns.h5", "-p", tmp_path / "peaks.bed", "-c", "*")
    rows = [line.split("\t") for line in said.splitlines() if line.startswith("chr")]
    # It writes starts that count from one.
    own = [(chrom, int(start) - 1, int(end), name, strand) for chrom, start, end, name, _, strand in rows]
    table = planted.patterns.seqlets
    names = table["pattern"] + "." + table["seqlet"].astype(str)
    assert own == list(zip(table["chrom"], table["start"], table["end"], names, table["strand"], strict=True))


def test_rows_can_be_named_in_another_order_of_the_loci(planted):
    """By the bases: what a seqlet of a pattern or of a subpattern holds is what the row that it names has there."""
    rows = np.random.default_rng(1).permutation(len(planted.pooled.scores))
    moved = planted.patterns.naming_rows_of(list(planted.pooled.locus_id[rows]))
    assert wrong_seqlets(planted.patterns.h5, planted.pooled.one_hot) == 0
    assert wrong_seqlets(planted.patterns.h5, planted.pooled.one_hot[rows]) > 0
    assert wrong_seqlets(moved.h5, planted.pooled.one_hot[rows]) == 0
    assert list(planted.pooled.locus_id[rows][moved.seqlets["example_idx"]]) == list(moved.seqlets["locus_id"])
    assert planted.patterns.naming_rows_of(list(planted.pooled.locus_id)) is planted.patterns


def wrong_seqlets(h5, one_hot):
    wrong = seen = 0
    with h5py.File(io.BytesIO(h5)) as file:
        start = one_hot.shape[2] // 2 - int(file.attrs["window_size"]) // 2
        groups = []
        file.visititems(lambda name, group: groups.append(group) if name.endswith("/seqlets") else None)
        for group in groups:
            columns = (group[name][:] for name in ("example_idx", "start", "end", "is_revcomp", "sequence"))
            for row, begin, end, reverse, bases in zip(*columns, strict=True):
                here = one_hot[row, :, start + begin : start + end].T
                wrong += not np.array_equal(here[::-1, ::-1] if reverse else here, bases)
                seen += 1
    assert seen
    return wrong


@pytest.mark.parametrize("row", [0, -1])
@pytest.mark.parametrize("damage", ["one base on", "one base back", "other strand", "other seqlet"])
def test_a_wrong_coordinate_is_detected(planted, damage, row):
    assert pattern_seqlet_mismatches(planted.patterns, planted.genome) == 0
    table = planted.patterns.seqlets.copy()
    at = table.index[row]
    if damage.startswith("one base"):
        table.loc[at, ["start", "end"]] += 1 if damage == "one base on" else -1
    elif damage == "other strand":
        table.loc[at, "strand"] = {"+": "-", "-": "+"}[table.loc[at, "strand"]]
    else:
        table.loc[at, ["chrom", "start", "end"]] = table.loc[table.index[row - 3], ["chrom", "start", "end"]]
    assert pattern_seqlet_mismatches(replace(planted.patterns, seqlets=table), planted.genome) == 1


def test_pooling_gives_the_rows_in_the_order_of_the_loci(planted):
    blocks = planted_blocks(planted.genome)
    order = ["chrII:0", "not kept", *planted.pooled.locus_id[::-1]]
    order = list(dict.fromkeys(order))
    pooled = pool_blocks(blocks, order)
    assert list(pooled.locus_id) == [locus for locus in order if locus != "not kept"]
    place = {locus: (block, row) for block in blocks for row, locus in enumerate(block.locus_id)}
    for row, locus in enumerate(pooled.locus_id):
        block, own = place[locus]
        np.testing.assert_array_equal(pooled.scores[row], block.scores[own])
        np.testing.assert_array_equal(pooled.one_hot[row], block.one_hot[own])
        assert (pooled.chrom[row], pooled.window_start[row]) == (block.chrom, block.window_start[own])
    assert (pooled.scores.dtype, pooled.one_hot.dtype) == (np.float32, np.int8)


def test_pooling_refuses_a_locus_without_a_place_and_blocks_of_two_widths(planted):
    first, second = planted_blocks(planted.genome)
    with pytest.raises(ValueError, match="locus chrII:0 is not in the given order"):
        pool_blocks([first, second], list(first.locus_id))
    narrow = replace(second, scores=second.scores[:, :, 1:], one_hot=second.one_hot[:, :, 1:])
    with pytest.raises(ValueError, match=r"differ in width: \[99, 100\]"):
        pool([first, narrow])


def silenced(pooled: PooledAttributions, scores) -> PooledAttributions:
    return replace(pooled, scores=np.asarray(scores, dtype=np.float32))


def without_loci(pooled):
    return pool([])


def first_chromosome_without_loci(pooled):
    keep = np.zeros(len(pooled.scores), dtype=bool)
    return PooledAttributions(*(getattr(pooled, name)[keep] for name in PooledAttributions.__dataclass_fields__))


def all_zero(pooled):
    return silenced(pooled, np.zeros_like(pooled.scores))


def few_loci(pooled):
    return PooledAttributions(*(getattr(pooled, name)[:20] for name in PooledAttributions.__dataclass_fields__))


def few_loci_of_one_sign(pooled):
    few = few_loci(pooled)
    return silenced(few, np.abs(few.scores))


def few_loci_of_which_most_is_at_one_end(pooled):
    """The commonest sum of a window is the largest: modisco-lite's null has nothing on that side."""
    few = few_loci(pooled)
    scores = np.full_like(few.scores, 0.001)
    scores[0, :, 40:60] = -1
    return silenced(few, scores)


@pytest.mark.parametrize(
    "change",
    [
        without_loci,
        first_chromosome_without_loci,
        all_zero,
        few_loci,
        few_loci_of_one_sign,
        few_loci_of_which_most_is_at_one_end,
    ],
)
def test_too_little_for_a_pattern_is_a_valid_result(planted, tmp_path, change):
    from modiscolite.io import save_hdf5

    patterns = discover_patterns(change(planted.pooled), PARAMETERS)
    assert patterns.seqlets.empty
    assert list(patterns.seqlets.columns) == list(planted.patterns.seqlets.columns)
    assert not patterns.cap_hit
    assert pattern_seqlet_mismatches(patterns, planted.genome) == 0
    save_hdf5(tmp_path / "own.h5", None, None, PARAMETERS.window)
    assert content(patterns.h5) == content((tmp_path / "own.h5").read_bytes())


@pytest.mark.parametrize(("sign", "missing"), [(1, "negative"), (-1, "positive")])
def test_attributions_of_one_sign_are_refused_in_one_sentence(planted, sign, missing):
    pooled = silenced(planted.pooled, sign * np.abs(planted.pooled.scores))
    with pytest.raises(InputError, match=f"windows of 20 bp has a {missing} sum of attributions"):
        discover_patterns(pooled, PARAMETERS)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_scores_that_are_not_finite_are_refused(planted, value):
    scores = planted.pooled.scores.copy()
    scores[7, 2, 50] = value
    with pytest.raises(InputError, match="not finite"):
        discover_patterns(silenced(planted.pooled, scores), PARAMETERS)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"window": 102}, r"modisco\.window is 102 but the attributions are 100 bp wide; set modisco\.window to 100"),
        ({"window": 99}, r"modisco\.window is 99, and modisco-lite takes even windows only; use 98"),
        ({"window": 10}, r"modisco\.size is 20, longer than modisco\.window \(10\)"),
        ({"seqlet_flank_size": 0}, r"modisco\.seqlet_flank_size must be 1 or more"),
    ],
)
def test_a_parameter_that_does_not_fit_is_refused_before_anything_runs(planted, monkeypatch, changes, sentence):
    monkeypatch.setattr(modisco, "run_child", lambda *_, **__: pytest.fail("modisco-lite ran"))
    with pytest.raises(ExperimentError, match=sentence):
        discover_patterns(planted.pooled, PARAMETERS.model_copy(update=changes))


@pytest.mark.parametrize(("size", "flank"), [(20, 5), (20, 1), (10, 5), (21, 10), (8, 12)])
def test_the_narrowest_window_is_the_one_from_which_modisco_lite_calls_seqlets(size, flank):
    from modiscolite.extract_seqlets import extract_seqlets

    def called(window):
        sums = np.random.default_rng(0).normal(size=(300, window))
        return len(extract_seqlets(sums, size, flank, int(0.5 * size) + flank, 0.05, 0.03, 0.2, 0.8)[0])

    parameters = ModiscoParameters(size=size, seqlet_flank_size=flank)
    narrowest = size + 2 * flank + size % 2
    assert called(narrowest) > 0
    modisco.check_parameters(parameters.model_copy(update={"window": narrowest}), narrowest)
    assert called(size + 2 * flank - 1) == 0
    with pytest.raises(ExperimentError, match=rf"to {narrowest} or more, or lower modisco\.size\.$"):
        modisco.check_parameters(parameters.model_copy(update={"window": narrowest - 2}), narrowest)


def test_the_widest_even_window_of_an_odd_width_is_the_one_that_is_named():
    pooled = PooledAttributions(
        np.zeros((1, 4, 61), np.float32),
        np.zeros((1, 4, 61), np.int8),
        *(np.array(["x"]) for _ in range(2)),
        np.zeros(1),
    )
    with pytest.raises(ExperimentError, match=r"set modisco\.window to 60 or less"):
        discover_patterns(pooled, ModiscoParameters(window=62))


def test_a_failure_of_modisco_lite_is_told_with_its_last_lines(planted, monkeypatch):
    monkeypatch.setattr(modisco, "COMMAND", "print('some words'); raise SystemExit('out of luck')")
    sentence = (
        r"TF-MoDISco \(modisco-lite\) failed on 400 loci: it stopped with exit code 1[^$]*some words\n  out of luck"
    )
    with pytest.raises(CherimoyaAssetsError, match=sentence):
        discover_patterns(planted.pooled, PARAMETERS)


def test_patterns_written_and_read_back_are_the_same(planted, tmp_path):
    folders = [tmp_path / "a", tmp_path / "b"]
    for folder in folders:
        folder.mkdir()
        planted.patterns.write(folder)
    found = ModiscoPatterns.read(folders[0])
    pd.testing.assert_frame_equal(found.seqlets, planted.patterns.seqlets)
    assert replace(found, seqlets=None).__dict__ == replace(planted.patterns, seqlets=None).__dict__
    for path in folders[0].iterdir():
        assert path.read_bytes() == (folders[1] / path.name).read_bytes()
