"""The main chromosomes of real assemblies, and of names and lengths that are hard to judge."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from cherimoya_assets.analysis.genome import open_genome
from cherimoya_assets.analysis.main_chromosomes import (
    ALTERNATE,
    DECOY,
    MOST,
    ORGANELLE,
    UNNAMED,
    UNPLACED,
    main_chromosomes,
)
from cherimoya_assets.demo import DEMO_EXPERIMENT

ASSEMBLIES = pd.read_csv(Path(__file__).with_name("assemblies.tsv"), sep="\t", dtype={"sequence": str})


@pytest.mark.parametrize("assembly", ASSEMBLIES["assembly"].unique())
def test_of_real_assemblies(assembly):
    rows = ASSEMBLIES[ASSEMBLIES["assembly"] == assembly]
    sizes = dict(zip(rows["sequence"], rows["length"], strict=True))
    main = main_chromosomes(sizes)
    assert set(main.chosen) == set(rows.loc[rows["main"] == "yes", "sequence"])
    assert [sizes[chrom] for chrom in main.chosen] == sorted((sizes[chrom] for chrom in main.chosen), reverse=True)
    left_out = [chrom for chroms in main.left_out.values() for chrom in chroms]
    assert sorted([*main.chosen, *left_out]) == sorted(sizes)


@pytest.mark.parametrize(
    ("sizes", "expected"),
    [
        ({"chrI": 230, "chrII": 813, "chrM": 85, "chrIII": 316}, ("chrII", "chrIII", "chrI")),
        ({"1": 5, "2": 7, "X": 6, "MT": 9, "GL000194.1": 8, "KI270706.1": 4}, ("2", "X", "1")),
        (
            {"chr1": 5, "chr1_KI270706v1_random": 9, "chrUn_GL000220v1": 8, "chrEBV": 7, "chr6_GL000250v2_alt": 6},
            ("chr1",),
        ),
        ({"chrB": 5, "chrA": 5, "chrC": 5}, ("chrA", "chrB", "chrC")),
        ({"2L": 23, "2R": 25, "mitochondrion_genome": 19, "Mt": 3, "Mito": 3}, ("2R", "2L")),
        ({"chr9_10L": 5, "chr1L": 9, "chr1S": 8}, ("chr1L", "chr1S", "chr9_10L")),
        ({"A01": 5, "C09": 9}, ("C09", "A01")),
        ({"1A": 5, "1B": 7, "1D": 6, "Un": 9}, ("1B", "1D", "1A")),
        ({"GRCh38#0#chr1": 9, "GRCh38#0#chrM": 1}, ("GRCh38#0#chr1",)),
        ({"NC_000001.11": 9, "NC_012920.1": 9, "NT_187361.1": 1}, ("NC_000001.11",)),
        ({"ref|NC_001133|": 9, "ref|NC_001224|": 9}, ("ref|NC_001133|",)),
        ({"chr1": 9, "chr2": 9, "ChrC": 9}, ("chr1", "chr2")),
        ({"chr1": 9, "chrR": 9}, ("chr1", "chrR")),
        ({"one": 5, "two": 6}, ("two", "one")),
        ({"chrM": 5}, ()),
        ({"chr1": 0}, ()),
        ({}, ()),
    ],
)
def test_names_decide(sizes, expected):
    assert main_chromosomes(sizes).chosen == expected


def test_reasons_are_those_of_the_names():
    left_out = {
        ORGANELLE: ("chrM",),
        ALTERNATE: ("HLA-A*01:01:01:01", "chr6_GL000250v2_alt", "CHR_HSCHR6_MHC_APD", "chr1_KN196472v1_fix"),
        DECOY: ("chrEBV", "chrUn_KN707606v1_decoy", "hs37d5"),
        UNPLACED: ("chr1_KI270706v1_random", "chrUn_GL000220v1"),
        UNNAMED: ("rDNA", "211000022278279"),
    }
    sizes = {"chr1": 9, **{chrom: 9 for chroms in left_out.values() for chrom in chroms}}
    assert main_chromosomes(sizes).left_out == left_out


def test_without_names_length_decides():
    main = main_chromosomes({"scaffold_1": 100_000, "scaffold_2": 90_000, "scaffold_3": 5_000, "scaffold_4": 4_000})
    assert (main.chosen, main.by_name) == (("scaffold_1", "scaffold_2", "scaffold_3"), False)
    assert main.left_out == {"short: less than a twentieth of the N50": ("scaffold_4",)}


@pytest.mark.parametrize("name", ["scaffold_{}", "{}", "chr{}"])
def test_thousands_of_contigs_do_not_become_partitions(name):
    main = main_chromosomes({name.format(k): 50_000 + k for k in range(1, 2001)})
    assert main.chosen == ()
    assert main.why_none.startswith(
        "none of its 2,000 sequences is named as a chromosome, and 2,000 are as long as one."
    )


def test_numbered_contigs_beside_numbered_chromosomes():
    """As Neurospora's: 1 to 7 are chromosomes, and so on to 251."""
    sizes = {str(k): 5_000_000 for k in range(1, 8)} | {str(k): 20_000 for k in range(8, MOST + 20)}
    assert main_chromosomes(sizes).chosen == tuple(map(str, range(1, 8)))


def test_the_demos_are_all_main_and_largest_first(tmp_path):
    sizes = open_genome(DEMO_EXPERIMENT.parent / "sacCer3.fa.gz", tmp_path).chrom_sizes
    chosen = main_chromosomes(sizes).chosen
    assert set(chosen) == set(sizes)
    assert (chosen[0], chosen[-1]) == ("chrIV", "chrI")
