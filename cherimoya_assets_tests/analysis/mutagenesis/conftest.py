"""Sequences of the demo for every engine: real loci, strong and weak, and what a genome has of low complexity."""

from __future__ import annotations

import numpy as np
import pytest

from cherimoya_assets.analysis.loci import interleave, place_windows, read_loci
from cherimoya_assets.analysis.one_hot import encode, one_hot_sequences
from cherimoya_assets_tests.demo_inputs import IN_WINDOW, demo_genome, demo_model
from cherimoya_assets_tests.narrow_demo import DEMO

CHROM = "chrIII"


@pytest.fixture(scope="session")
def demo_sequences(tmp_path_factory) -> dict[str, np.ndarray]:
    """Name to one-hot int8 (4, 718)."""
    genome = demo_genome(tmp_path_factory.mktemp("genome"))

    def windows(file: str) -> np.ndarray:
        loci = interleave(read_loci([DEMO / file]), (CHROM,))
        loci = place_windows(loci, genome.chrom_sizes, IN_WINDOW, None, (CHROM,))
        return one_hot_sequences(genome, loci, CHROM, IN_WINDOW).one_hot

    peaks, negatives = windows("peaks.narrowPeak")[:40], windows("negatives.bed")[:20]
    strength = demo_model().predict(peaks)[1][:, 0].argsort().numpy()
    tract = peaks[strength[-3]].copy()
    tract[:, 330:390] = encode("A" * 60)
    return {
        "the strongest peak": peaks[strength[-1]],
        "a strong peak": peaks[strength[-2]],
        "a peak in the middle": peaks[strength[20]],
        "the weakest peak": peaks[strength[0]],
        "the weakest negative": negatives[int(demo_model().predict(negatives)[1][:, 0].argmin())],
        "a strong peak around poly-A": tract,
        "poly-A": encode("A" * IN_WINDOW),
        "poly-AT": encode("AT" * (IN_WINDOW // 2)),
        "poly-CG": encode("CG" * (IN_WINDOW // 2)),
        "poly-CAG": encode(("CAG" * IN_WINDOW)[:IN_WINDOW]),
    }
