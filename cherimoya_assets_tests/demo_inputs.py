"""The demo's real genome, trained model and attributions, for tests that need no experiment."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import pandas as pd

from cherimoya_assets.analysis.attributions import AttributionBlock, attribute
from cherimoya_assets.analysis.deep_lift import DeepLiftShap
from cherimoya_assets.analysis.genome import Genome, open_genome
from cherimoya_assets.analysis.loci import interleave, place_windows, read_loci
from cherimoya_assets.analysis.models import load_model
from cherimoya_assets.analysis.one_hot import one_hot_sequences
from cherimoya_assets.analysis.sequence_model import SequenceModel
from cherimoya_assets.experiment.model import ModelFile
from cherimoya_assets_tests.narrow_demo import DEMO

IN_WINDOW = 718
ATTR_WINDOW = 400
ATTRIBUTED = ("chrIX", "chrIII", "chrVI", "chrI")


@dataclass(frozen=True)
class DemoAttributions:
    """DeepLIFT/SHAP of the counts at the demo's peaks on four chromosomes. Not to be written to.

    Attributes:
        bed: the peaks, the text of two files. loci: both interleaved, with their windows.
        blocks: the attributions of each chromosome.
    """

    bed: tuple[str, str]
    loci: pd.DataFrame
    blocks: dict[str, AttributionBlock]


def demo_genome(folder: Path) -> Genome:
    """The yeast genome, decompressed into `folder`."""
    return open_genome(DEMO / "sacCer3.fa.gz", folder)


@cache
def demo_model() -> SequenceModel:
    """The Cherimoya that was trained on the demo's ATAC-seq."""
    return load_model(ModelFile(path=DEMO / "model.torch"))


@cache
def demo_attributions() -> DemoAttributions:
    """Made once, in a few seconds: two references a locus."""
    lines = [line for line in (DEMO / "peaks.narrowPeak").read_text().splitlines() if line.split()[0] in ATTRIBUTED]
    bed = ("\n".join(lines[::3]) + "\n", "\n".join(lines[1::3] + lines[2::3]) + "\n")
    with TemporaryDirectory() as temporary:
        folder = Path(temporary)
        files = [folder / "first.narrowPeak", folder / "second.narrowPeak"]
        for file, text in zip(files, bed, strict=True):
            file.write_text(text)
        genome = demo_genome(folder)
        loci = interleave(read_loci(files), ATTRIBUTED)
        loci = place_windows(loci, genome.chrom_sizes, IN_WINDOW, None, ATTRIBUTED)
        blocks = {}
        for chrom in ATTRIBUTED:
            made, _ = attribute(
                {"model": demo_model()},
                one_hot_sequences(genome, loci[loci["chrom"] == chrom], chrom, IN_WINDOW),
                outputs=("counts",),
                method=DeepLiftShap(n_shuffles=2, warning_threshold=None),
                attr_window=ATTR_WINDOW,
            )
            blocks[chrom] = made["counts"]
    return DemoAttributions(bed, loci, blocks)
