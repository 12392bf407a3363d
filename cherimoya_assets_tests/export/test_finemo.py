"""Fi-NeMo on exported files, with the README's commands: hits lie in the genome where their motif is."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np
import pandas as pd
import pyfaidx
import pytest

from cherimoya_assets_tests.cli.command import command
from cherimoya_assets_tests.narrow_demo import HEADS

pytestmark = pytest.mark.slow

README = (Path(__file__).parents[2] / "README.md").read_text()

PLANTED = slice(20, 36)
"""Where in a row the motif lies that is looked for."""


@pytest.fixture(scope="module")
def exported(narrow_run, tmp_path_factory):
    folder = tmp_path_factory.mktemp("for_finemo")
    said = command("export", narrow_run.file, "--home", narrow_run.home, "--to", folder)
    assert said.code == 0, said
    return folder


def commands(folder: Path) -> list[list[str]]:
    """Those of the README, for the files and the window of the narrow experiment."""
    text = README.replace("\\\n", " ")
    found = [shlex.split(line) for line in re.findall(r"^finemo .*$", text, re.MULTILINE)]
    assert [words[1] for words in found] == ["extract-regions-modisco-fmt", "call-hits"]
    return [["60" if word == "400" else word.replace("k562", "narrow") for word in words] for words in found]


def pattern_of(contributions: np.ndarray, path: Path) -> None:
    """TF-MoDISco's file with one pattern, as Fi-NeMo reads it."""
    with h5py.File(path, "w") as handle:
        group = handle.create_group("pos_patterns/pattern_0")
        for name in ("contrib_scores", "hypothetical_contribs", "sequence"):
            group[name] = contributions.T if name != "sequence" else (contributions.T != 0).astype(float)
        group["seqlets/n_seqlets"] = np.array([1])


@pytest.mark.parametrize("head", HEADS)
def test_hits_lie_where_their_motif_is(exported, head, narrow_run, tmp_path):
    folder = tmp_path / head
    shutil.copytree(exported / head, folder)
    scores = np.load(folder / "narrow.attributions.attr.npz")["arr_0"]
    one_hot = np.load(folder / "narrow.attributions.ohe.npz")["arr_0"]
    contributions = scores * one_hot
    row = int(np.abs(contributions[:, :, PLANTED]).sum(axis=(1, 2)).argmax())
    planted = contributions[row, :, PLANTED]
    pattern_of(planted if planted.sum() > 0 else -planted, folder / "narrow_modisco_results.h5")
    for words in commands(folder):
        done = subprocess.run(
            [str(Path(sys.executable).parent / words[0]), *words[1:]], cwd=folder, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr[-2000:]
    hits = pd.read_csv(folder / "hits" / "hits.tsv", sep="\t")
    peaks = pd.read_csv(folder / "narrow.peaks.narrowPeak", sep="\t", header=None)
    assert len(peaks) == len(scores)
    bases = np.array(list("ACGT"))[one_hot[row, :, PLANTED].argmax(axis=0)]
    with pyfaidx.Fasta(str(narrow_run.lineage.genome.fasta)) as genome:
        whole = [
            str(genome[hit.chr][hit.start_untrimmed : hit.end_untrimmed]).upper() == "".join(bases)
            for hit in hits.itertuples()
            if hit.strand == "+" and hit.peak_name == peaks.iloc[row, 3]
        ]
    assert any(whole)
    # Each locus with the middle of its window, as Fi-NeMo wants it.
    chrom, start, summit = peaks[0], peaks[1], peaks[9]
    middle = start + summit
    with pyfaidx.Fasta(str(narrow_run.lineage.genome.fasta)) as genome:
        for k in range(len(peaks)):
            window = str(genome[chrom[k]][int(middle[k]) - 30 : int(middle[k]) + 30]).upper()
            assert "".join(np.array(list("ACGT"))[one_hot[k].argmax(axis=0)]) == window
