"""The tracks of a stored experiment, opened as a genome browser would."""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree

import numpy as np
import pyBigWig
import pytest

from cherimoya_assets.assets.attribution_tracks import CONTRIBUTIONS, PATTERNS, SEQLETS, SESSION
from cherimoya_assets_tests.assets.stored_experiment import materialize, stored_experiment

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def lineage(tmp_path_factory):
    lineage = stored_experiment(tmp_path_factory.mktemp("tracks"))
    materialize(lineage, lineage.key("counts", "attribution_tracks"))
    return lineage


def folder(lineage):
    return lineage.store.folder(tuple(lineage.key("counts", "attribution_tracks").path), None) / "latest"


def test_bigwig_holds_the_stored_contributions_of_every_chromosome(lineage):
    with pyBigWig.open(str(folder(lineage) / CONTRIBUTIONS)) as track:
        assert list(track.chroms()) == list(lineage.genome.chrom_sizes) == ["chrC", "chrB", "chrA"]
        seen = 0
        for chrom in lineage.chroms:
            block = lineage.store.load(tuple(lineage.key("counts", "attributions").path), chrom)
            for row, start in enumerate(block.window_start.tolist()):
                wanted = (block.scores[row].astype(float) * block.one_hot[row]).sum(axis=0)
                found = track.values(chrom, start, start + block.scores.shape[2], numpy=True)
                np.testing.assert_allclose(found, wanted, rtol=1e-6)
                seen += 1
        assert seen == 5


def test_bed_has_every_annotated_seqlet_and_every_pattern_seqlet(lineage):
    rows = [line.split("\t") for line in (folder(lineage) / SEQLETS).read_text().splitlines()]
    key = tuple(lineage.key("counts", "annotated_seqlets").path)
    wanted = [
        [row.chrom, str(row.start), str(row.end), row.motif, row.strand]
        for chrom in lineage.chroms
        for row in lineage.store.load(key, chrom).table.itertuples()
    ]
    assert sorted([*row[:4], row[5]] for row in rows) == sorted(wanted)
    names = [line.split("\t")[3] for line in (folder(lineage) / PATTERNS).read_text().splitlines()]
    assert names == ["pos_patterns.pattern_0"] * 2


def test_igv_session_leads_to_the_genome_and_to_every_track(lineage):
    root = ElementTree.parse(folder(lineage) / SESSION).getroot()
    assert (folder(lineage) / root.get("genome")).resolve() == lineage.genome.fasta.resolve()
    for place in (folder(lineage), folder(lineage).resolve()):
        assert all((place / resource.get("path")).is_file() for resource in root.iter("Resource"))


def test_an_identical_recomputation_has_the_same_data_version(lineage):
    key = lineage.key("counts", "attribution_tracks")
    before = lineage.store.manifest(tuple(key.path), None).version
    materialize(lineage, key)
    assert lineage.store.manifest(tuple(key.path), None).version == before


def test_without_motif_database_seqlets_have_no_motif_name(tmp_path):
    lineage = stored_experiment(tmp_path, {"motifs": None, "output": "counts"})
    materialize(lineage, lineage.key("counts", "attribution_tracks"))
    names = {line.split("\t")[3] for line in (folder(lineage) / SEQLETS).read_text().splitlines()}
    assert names == {"seqlet"}


def test_an_experiment_without_loci_has_empty_tracks(tmp_path):
    lineage = stored_experiment(tmp_path, {"chroms": ["chrC"]})
    materialize(lineage, lineage.key("counts", "attribution_tracks"))
    assert (folder(lineage) / SEQLETS).read_bytes() == b""
    with pyBigWig.open(str(folder(lineage) / CONTRIBUTIONS)) as track:
        assert track.chroms() == lineage.genome.chrom_sizes
        assert track.intervals("chrC") is None
