"""Patterns read from TF-MoDISco's h5 layout; trimming and matching against modisco-lite's own report code."""

from __future__ import annotations

from io import BytesIO

import h5py
import numpy as np
import pytest
from modiscolite.report import tomtomlite_dataframe

from cherimoya_assets.analysis.pattern_summary import METACLUSTERS, nearest_motifs, summarize_patterns
from cherimoya_assets.demo import DEMO_EXPERIMENT

MOTIFS = DEMO_EXPERIMENT.parent / "JASPAR2024_CORE_fungi.meme"


def frequencies(consensus, flank=4):
    """(w, 4) base frequencies with uninformative flanks."""
    core = np.full((len(consensus), 4), 0.02)
    core[np.arange(len(consensus)), ["ACGT".index(base) for base in consensus]] = 0.94
    return np.vstack([np.full((flank, 4), 0.25), core, np.full((flank, 4), 0.25)])


def result(groups):
    """The bytes of a TF-MoDISco file: {metacluster: [(consensus, seqlets), ...]}."""
    raw = BytesIO()
    with h5py.File(raw, "w") as file:
        for metacluster, patterns in groups.items():
            group = file.create_group(metacluster)
            for number, (consensus, seqlets) in enumerate(patterns):
                pattern = group.create_group(f"pattern_{number}")
                ppm = frequencies(consensus)
                sign = 1 if metacluster.startswith("pos") else -1
                pattern["sequence"], pattern["contrib_scores"] = ppm, sign * (ppm - 0.25) * ppm
                pattern.create_group("seqlets")["n_seqlets"] = np.array([seqlets])
    return raw.getvalue()


REB1, ABF1 = "TTACCCGG", "CGTATAAAGTGAT"
TWELVE = {"pos_patterns": [(REB1, n) for n in range(100, 88, -1)], "neg_patterns": [(ABF1, 21)]}


def test_patterns_come_positive_first_in_numeric_order():
    found = summarize_patterns(result(TWELVE))
    assert [p.name for p in found] == [f"pos_patterns.pattern_{n}" for n in range(12)] + ["neg_patterns.pattern_0"]
    assert [p.n_seqlets for p in found] == [*range(100, 88, -1), 21]


def test_flanks_without_contribution_are_cut_from_both_matrices():
    one = summarize_patterns(result({"pos_patterns": [(REB1, 30)]}))[0]
    assert one.cwm.shape == one.ppm.shape == (len(REB1), 4)
    assert "".join("ACGT"[i] for i in one.ppm.argmax(axis=1)) == REB1
    assert (one.cwm.argmax(axis=1) == one.ppm.argmax(axis=1)).all()


@pytest.mark.parametrize("groups", [{}, {"pos_patterns": []}, {"neg_patterns": [], "pos_patterns": []}])
def test_a_result_without_patterns_is_valid(groups):
    assert summarize_patterns(result(groups)) == []
    assert nearest_motifs([], {"a": np.full((4, 5), 0.25)}) == []


def test_nearest_motifs_are_those_of_modiscos_report(tmp_path):
    from tangermeme.io import read_meme

    groups = {"pos_patterns": [(REB1, 90), (ABF1, 60)], "neg_patterns": [("CGCGCG", 30)]}
    path = tmp_path / "modisco.h5"
    path.write_bytes(result(groups))
    motifs = {name: np.asarray(matrix, np.float64) for name, matrix in read_meme(str(MOTIFS)).items()}
    found = nearest_motifs(summarize_patterns(path.read_bytes(), trim_threshold=0.3), motifs)
    expected = tomtomlite_dataframe(path, str(MOTIFS), list(METACLUSTERS), top_n_matches=3, trim_threshold=0.3)
    assert [name for name, _ in found] == list(expected["match0"])
    np.testing.assert_allclose([p for _, p in found], expected["pval0"], rtol=1e-9)
    assert found[0][1] < 1e-5
