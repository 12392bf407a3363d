"""The lineage, chromosome by chromosome, against the field's own commands run once on everything.

What belongs here: numbers of a whole experiment, made by `cherimoya-assets run`, beside those of `cherimoya attribute`,
`cherimoya seqlets`, `ttl`, `modisco motifs` and `cherimoya marginalize` on the same real loci, motifs and model. What
does not: which files an export writes (`export/`), and each step alone (`analysis/`).

The commands get the parameter files that `cherimoya-assets export` writes. cherimoya's run in this process, through
its own entry point: what numba has compiled already it need not compile again.
"""

from __future__ import annotations

import json
import subprocess
import sys
from contextlib import chdir
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from cherimoya_assets.analysis.effect_summary import effect_summary
from cherimoya_assets.analysis.modisco import discover_patterns, pool_blocks
from cherimoya_assets.assets.marginalization import pooled_effects
from cherimoya_assets.experiment.model import ModiscoParameters
from cherimoya_assets_tests.cli.command import command
from cherimoya_assets_tests.demo_inputs import ATTR_WINDOW, demo_attributions
from cherimoya_assets_tests.narrow_demo import CHROMS, HEADS

pytestmark = pytest.mark.slow

BIN = Path(sys.executable).parent

ROUNDING = 1e-5
"""Of the largest value: float32 sums in another order."""

BED = ["chrom", "start", "end", "attribution", "p-value"]


@dataclass(frozen=True)
class Narrow:
    """The exported experiment, a folder a head, and a folder in which the commands were run on its inputs."""

    exported: Path
    theirs: Path


def cherimoya(step: str, parameters: Path, folder: Path, **changes: object) -> None:
    """`cherimoya STEP -p parameters` in a folder."""
    from cherimoya_cli.__main__ import main

    file = folder / f"{step}.json"
    file.write_text(json.dumps({**json.loads(parameters.read_text()), **changes}))
    with chdir(folder), pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["cherimoya", step, "-p", str(file)])
        main()


def tool(folder: Path, *arguments: object) -> str:
    """Another command of the field in a folder; returns what it printed."""
    done = subprocess.run(
        [str(BIN / str(arguments[0])), *map(str, arguments[1:])], cwd=folder, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def ttl(folder: Path, bed: Path, lineage) -> str:
    """tomtom-lite with cherimoya's parameters."""
    bins = ["-s", 100, "-m", 1000, "-a", 100, "-c", 250]
    return tool(folder, "ttl", "-f", lineage.genome.fasta, "-b", bed, "-t", lineage.motif_file, *bins)


@pytest.fixture(scope="module")
def narrow(narrow_run, tmp_path_factory) -> Narrow:
    exported, theirs = tmp_path_factory.mktemp("exported"), tmp_path_factory.mktemp("theirs")
    said = command("export", narrow_run.file, "--home", narrow_run.home, "--to", exported)
    assert said.code == 0, said
    for step in ("attribute", "seqlets"):
        cherimoya(step, exported / "counts" / f"narrow.{step}.json", theirs)
    return Narrow(exported, theirs)


def assert_attributions_equal(ours: Path, theirs: Path, rows: slice | np.ndarray = slice(None)) -> None:
    for name, tolerance in (("ohe.npz", 0), ("attr.npz", ROUNDING)):
        one = np.load(ours / f"narrow.attributions.{name}")["arr_0"][rows]
        other = np.load(theirs / f"narrow.attributions.{name}")["arr_0"]
        assert (one.dtype, one.shape) == (other.dtype, other.shape)
        assert np.abs(other).max() > 0
        np.testing.assert_allclose(one, other, rtol=0, atol=tolerance * np.abs(other).max())


def test_counts_attributions_equal_cherimoya_attribute(narrow):
    assert_attributions_equal(narrow.exported / "counts", narrow.theirs)
    ours, theirs = (
        np.load(folder / "narrow.attributions.idxs.npy") for folder in (narrow.exported / "counts", narrow.theirs)
    )
    assert ours.dtype == theirs.dtype == bool
    np.testing.assert_array_equal(ours, theirs)


def test_profile_attributions_equal_cherimoya_attribute(narrow, narrow_run, tmp_path):
    """On one chromosome: it costs as much as the rest, and the loci do not know of each other."""
    chrom = CHROMS[-1]
    cherimoya("attribute", narrow.exported / "profile" / "narrow.attribute.json", tmp_path, chroms=[chrom])
    lineage = narrow_run.lineage
    blocks = [lineage.store.load(tuple(lineage.key("profile", "attributions").path), c) for c in lineage.chroms]
    order = [line.split("\t")[:3] for line in (narrow_run.file.parent / "peaks.narrowPeak").read_text().splitlines()]
    pooled = pool_blocks(blocks, [f"{chrom}:{start}-{end}" for chrom, start, end in order])
    assert 0 < (pooled.chrom == chrom).sum() < len(pooled.chrom)
    assert_attributions_equal(narrow.exported / "profile", tmp_path, pooled.chrom == chrom)


def test_seqlets_equal_cherimoya_seqlets_row_for_row(narrow):
    ours, theirs = (
        pd.read_csv(folder / "narrow.seqlets.bed", sep="\t", names=BED)
        for folder in (narrow.exported / "counts", narrow.theirs)
    )
    assert len(theirs) > 5
    pd.testing.assert_frame_equal(ours[BED[:3]], theirs[BED[:3]])
    np.testing.assert_allclose(ours["attribution"], theirs["attribution"], rtol=1e-3)
    # An attribution at the edge of its bin falls into the next one by rounding.
    np.testing.assert_allclose(ours["p-value"], theirs["p-value"], rtol=0.05)


@pytest.mark.parametrize("head", HEADS)
def test_seqlets_equal_cherimoya_seqlets_on_the_same_attributions_to_the_last_digit(narrow, head, tmp_path):
    folder = narrow.exported / head
    files = {f"{name}_filename": str(folder / f"narrow.attributions.{name}.npz") for name in ("ohe", "attr")}
    mask = str(folder / "narrow.attributions.idxs.npy")
    cherimoya("seqlets", folder / "narrow.seqlets.json", tmp_path, **files, idx_filename=mask)
    theirs = (tmp_path / "narrow.seqlets.bed").read_text()
    assert len({line.split("\t")[0] for line in theirs.splitlines()}) > 1
    assert (folder / "narrow.seqlets.bed").read_text() == theirs


@pytest.mark.parametrize("head", HEADS)
def test_annotated_seqlets_equal_ttl(narrow, head, narrow_run):
    folder = narrow.exported / head
    printed = ttl(folder, folder / "narrow.seqlets.bed", narrow_run.lineage)
    assert (folder / "narrow.seqlets_annotated.bed").read_text() == printed
    # As cherimoya's pipeline counts them.
    column = pd.read_csv(folder / "narrow.seqlets_annotated.bed", sep="\t", header=None, usecols=(3,), names=["motifs"])
    counted = column.value_counts().to_csv(sep="\t")
    assert (folder / "narrow.motif_seqlet_count.tsv").read_text() == counted


def test_annotated_seqlets_equal_ttl_on_cherimoyas_own_seqlets(narrow, narrow_run):
    ours = (narrow.exported / "counts" / "narrow.seqlets_annotated.bed").read_text().splitlines()
    theirs = ttl(narrow.theirs, narrow.theirs / "narrow.seqlets.bed", narrow_run.lineage).splitlines()
    assert [line.split("\t")[:4] for line in ours] == [line.split("\t")[:4] for line in theirs]


def modisco_motifs(folder: Path, one_hot: Path, scores: Path, window: int, n_seqlets: int) -> bytes:
    tool(folder, "modisco", "motifs", "-s", one_hot, "-a", scores, "-n", n_seqlets, "-w", window, "-o", "theirs.h5")
    return (folder / "theirs.h5").read_bytes()


@pytest.mark.parametrize("head", HEADS)
def test_patterns_of_the_experiment_equal_modisco_motifs(narrow, head, narrow_run, tmp_path):
    folder, parameters = narrow.exported / head, narrow_run.lineage.experiment.modisco
    files = (folder / f"narrow.attributions.{name}.npz" for name in ("ohe", "attr"))
    theirs = modisco_motifs(tmp_path, *files, parameters.window, parameters.n_seqlets)
    assert (folder / "narrow_modisco_results.h5").read_bytes() == theirs


def test_patterns_of_a_hundred_loci_equal_modisco_motifs(tmp_path):
    """The narrow experiment has too few loci for a pattern."""
    import h5py

    made = demo_attributions()
    pooled = pool_blocks(list(made.blocks.values()), list(made.loci["locus_id"]))
    np.savez(tmp_path / "ohe.npz", pooled.one_hot)
    np.savez(tmp_path / "attr.npz", pooled.scores)
    parameters = ModiscoParameters()
    theirs = modisco_motifs(tmp_path, tmp_path / "ohe.npz", tmp_path / "attr.npz", ATTR_WINDOW, parameters.n_seqlets)
    with h5py.File(tmp_path / "theirs.h5") as file:
        assert len(file["pos_patterns"]) > 1
    assert discover_patterns(pooled, parameters).h5 == theirs


def test_effects_equal_cherimoya_marginalize(narrow, narrow_run, tmp_path, monkeypatch):
    import bpnetlite.marginalize

    plotted = {}
    for name in ("_plot_profiles", "_plot_counts"):
        draw = getattr(bpnetlite.marginalize, name)

        def keep(*values, path, draw=draw, **options):
            plotted[Path(path).name] = values
            draw(*values, path=path, **options)

        monkeypatch.setattr(bpnetlite.marginalize, name, keep)
    cherimoya("marginalize", narrow.exported / "counts" / "narrow.marginalize.json", tmp_path)

    lineage = narrow_run.lineage
    key = tuple(lineage.key("marginalization_effects").path)
    effects = pooled_effects(lineage, {chrom: lineage.store.load(key, chrom) for chrom in lineage.chroms})
    means = effect_summary(effects.table[effects.table["group"] == 0]).set_index("motif")
    difference = effects.mean_profile_after() - effects.mean_profile_before()
    assert effects.n_backgrounds == lineage.experiment.marginalize.n_loci
    for k, motif in enumerate(effects.motifs):
        name = motif.replace(" ", "_").replace("/", "-")
        before, after = plotted[f"{name}.counts.png"][:2]
        np.testing.assert_allclose(means.loc[motif, "mean"], (after - before).mean(), rtol=0, atol=1e-5)
        np.testing.assert_allclose(difference[k].T, plotted[f"{name}.profile.diff.png"][0], rtol=0, atol=1e-7)

    # What an export writes of them: the same files, and the same page in the same order of motifs.
    ours, theirs = narrow.exported / "counts" / "narrow_marginalize", tmp_path / "narrow_marginalize"
    assert {path.name for path in ours.iterdir()} == {path.name for path in theirs.iterdir()}
    assert (ours / "marginalization.html").read_text() == (theirs / "marginalization.html").read_text()
