"""An input that is replaced while something is computed from it: the partition fails, says so, and stores nothing."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

import dagster as dg
import numpy as np
import pytest

from cherimoya_assets.analysis.one_hot import one_hot_sequences
from cherimoya_assets.assets import attributions, made, marginalization
from cherimoya_assets.assets import one_hot_sequences as sequences_asset
from cherimoya_assets.assets.lineage import ExperimentLineage
from cherimoya_assets.assets.one_hot_sequences import placed_loci
from cherimoya_assets.assets.versions import current_inputs
from cherimoya_assets.code_location import build_defs
from cherimoya_assets.experiment import read_experiment
from cherimoya_assets.home import Home
from cherimoya_assets.resources.gpu import GPUResource
from cherimoya_assets_tests.assets.stored_experiment import put, stored_experiment
from cherimoya_assets_tests.small_models import cherimoya_file
from cherimoya_assets_tests.tiny_experiment import IN_WINDOW, tiny_experiment

CHROM = "chrA"

# A FASTA that is replaced is younger than the index of the one before, until it is opened anew.
pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore:Index file .* is older than FASTA file:RuntimeWarning"),
]


def block_of(lineage: ExperimentLineage):
    loci = placed_loci(lineage)
    return one_hot_sequences(lineage.genome, loci[loci["chrom"] == CHROM], CHROM, IN_WINDOW)


def materialize(lineage: ExperimentLineage, *parts: str, chrom: str | None = CHROM) -> dg.ExecuteInProcessResult:
    defs = build_defs([lineage.experiment], lineage.home.root)
    return dg.materialize(
        list(defs.assets), selection=[lineage.key(*parts)], resources=dict(defs.resources), partition_key=chrom
    )


@pytest.fixture
def lineage(tmp_path) -> ExperimentLineage:
    """All inputs are there, and everything up to the pooled pages is stored."""
    (tmp_path / "exclusion.bed").write_text("chrB\t2000\t2100\n")
    return stored_experiment(tmp_path, {"exclusion_lists": ["exclusion.bed"]})


# How each input is replaced.


def other_peaks(lineage: ExperimentLineage) -> None:
    path = lineage.experiment.loci[0]
    path.write_text(path.read_text().replace("chrA\t900\t940", "chrA\t901\t941"))


def other_exclusion(lineage: ExperimentLineage) -> None:
    (lineage.experiment.source.parent / "exclusion.bed").write_text(f"{CHROM}\t0\t10\n")


def other_genome(lineage: ExperimentLineage) -> None:
    """Another base on every chromosome, of the same length, put in place in one step as a careful person does it."""
    path = lineage.experiment.sequences
    records = path.read_text().split(">")[1:]
    changed = [
        re.sub(r"\n[ACGT]", lambda m: "\nA" if m.group() != "\nA" else "\nC", record, count=1) for record in records
    ]
    new = path.with_name("new.fa")
    new.write_text("".join(f">{record}" for record in changed))
    new.replace(path)


def other_model(lineage: ExperimentLineage) -> None:
    folder = lineage.experiment.source.parent
    cherimoya_file(folder, seed=8).path.replace(lineage.experiment.model["model"].path)


def other_motifs(lineage: ExperimentLineage) -> None:
    path = lineage.experiment.motifs
    path.write_text(path.read_text().replace("MOTIF two", "MOTIF three"))


def other_sequences(lineage: ExperimentLineage) -> None:
    block = block_of(lineage)
    put(lineage, ("one_hot_sequences",), type(block)(block.chrom, block.one_hot[:, ::-1], block.loci), CHROM)


@dataclass(frozen=True)
class Replaced:
    """An input that is replaced when `function` of the module of an asset is called, and how the failure names it."""

    asset: tuple[str, ...]
    module: object
    function: str
    replace: Callable[[ExperimentLineage], None]
    named: str
    chrom: str | None = CHROM


ONE_HOT = (("one_hot_sequences",), sequences_asset, "one_hot_sequences")
ATTRIBUTIONS = (("counts", "attributions"), attributions, "attribute")
EFFECTS = (("marginalization_effects",), marginalization, "marginalization_effects")
BACKGROUNDS = (("marginalization_backgrounds",), marginalization, "draw_backgrounds")

CASES = {
    "peaks": Replaced(*ONE_HOT, other_peaks, "peaks {folder}/peaks.bed"),
    "exclusion list": Replaced(*ONE_HOT, other_exclusion, "exclusion_lists {folder}/exclusion.bed"),
    "genome": Replaced(*ONE_HOT, other_genome, "genome {folder}/genome.fa"),
    "model": Replaced(*ATTRIBUTIONS, other_model, "model {folder}/model.torch"),
    "stored sequences": Replaced(*ATTRIBUTIONS, other_sequences, r"one_hot_sequences\[chrA\]"),
    "model of a marginalization": Replaced(*EFFECTS, other_model, "model {folder}/model.torch"),
    "motifs": Replaced(*EFFECTS, other_motifs, "motif_database {folder}/motifs.meme"),
    "genome of what is pooled": Replaced(*BACKGROUNDS, other_genome, "genome {folder}/genome.fa", None),
}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_the_partition_fails_names_the_input_and_stores_nothing(lineage, tmp_path, monkeypatch, case):
    if case.asset == ("marginalization_effects",):
        materialize(lineage, "marginalization_backgrounds", chrom=None)
    manifest = lineage.store.manifest(("tiny", *case.asset), case.chrom)
    compute = getattr(case.module, case.function)

    def replacing(*arguments, **keywords):
        case.replace(lineage)
        return compute(*arguments, **keywords)

    monkeypatch.setattr(case.module, case.function, replacing)
    partition = rf"\[{CHROM}\]" if case.chrom else ""
    sentence = (
        f"^{case.named.format(folder=re.escape(str(tmp_path.resolve())))} changed while "
        f"{'/'.join(case.asset)}{partition} was being computed; nothing was stored. Run it again.$"
    )
    with pytest.raises(dg.Failure, match=sentence):
        materialize(lineage, *case.asset, chrom=case.chrom)
    assert lineage.store.manifest(("tiny", *case.asset), case.chrom) == manifest
    # And what it says helps.
    monkeypatch.setattr(case.module, case.function, compute)
    assert materialize(lineage, *case.asset, chrom=case.chrom).success
    stamp = lineage.store.manifest(("tiny", *case.asset), case.chrom).stamp
    assert stamp.inputs == current_inputs(lineage, lineage.key(*case.asset), case.chrom)


def test_an_input_that_is_written_anew_with_the_same_content_disturbs_nothing(lineage, monkeypatch):
    compute = sequences_asset.one_hot_sequences

    def touching(*arguments):
        for path in (*lineage.experiment.loci, lineage.experiment.sequences):
            path.write_bytes(path.read_bytes())
        return compute(*arguments)

    monkeypatch.setattr(sequences_asset, "one_hot_sequences", touching)
    assert materialize(lineage, "one_hot_sequences").success


def test_an_input_that_is_gone_in_the_end_is_one_sentence(lineage, monkeypatch):
    compute = sequences_asset.one_hot_sequences

    def removing(*arguments):
        lineage.experiment.loci[0].unlink()
        return compute(*arguments)

    monkeypatch.setattr(sequences_asset, "one_hot_sequences", removing)
    with pytest.raises(dg.Failure, match=r"InputError: .*peaks\.bed"):
        materialize(lineage, "one_hot_sequences")


# What was hashed is what was read.


@pytest.mark.parametrize(("asset", "module"), [(ATTRIBUTIONS[0], attributions), (EFFECTS[0], made)])
@pytest.mark.parametrize("back", [False, True])
def test_a_model_replaced_between_its_hash_and_its_loading(lineage, monkeypatch, asset, module, back):
    """What is stored names the model that was loaded; if that one is gone again, nothing is stored."""
    if asset == EFFECTS[0]:
        materialize(lineage, "marginalization_backgrounds", chrom=None)
    path = lineage.experiment.model["model"].path
    good, look, load = path.read_bytes(), module.current_inputs, GPUResource.load
    hashed = []

    def then_replaced(*arguments):
        inputs = look(*arguments)
        hashed.append(inputs["model"])
        other_model(lineage)
        return inputs

    def and_back(self, *arguments):
        model = load(self, *arguments)
        if back:
            path.write_bytes(good)
        return model

    monkeypatch.setattr(module, "current_inputs", then_replaced)
    monkeypatch.setattr(GPUResource, "load", and_back)
    before = lineage.store.manifest(("tiny", *asset), CHROM)
    if back:
        with pytest.raises(dg.Failure, match=r"^model .*model\.torch changed while "):
            materialize(lineage, *asset)
        assert lineage.store.manifest(("tiny", *asset), CHROM) == before
    else:
        assert materialize(lineage, *asset).success
        stamp = lineage.store.manifest(("tiny", *asset), CHROM).stamp
        assert stamp.inputs["model"] != hashed[0]
        assert stamp.inputs == current_inputs(lineage, lineage.key(*asset), CHROM)


def test_a_genome_replaced_in_a_process_that_lives_on_is_read_anew(tmp_path):
    lineage = ExperimentLineage(read_experiment(tiny_experiment(tmp_path)), Home(tmp_path / "home"))
    defs = build_defs([lineage.experiment], lineage.home.root)

    def stored() -> np.ndarray:
        dg.materialize(
            list(defs.assets),
            selection=[lineage.key("one_hot_sequences")],
            resources=dict(defs.resources),
            partition_key=CHROM,
        )
        return lineage.store.load(("tiny", "one_hot_sequences"), CHROM).one_hot

    first = stored()
    # Every base becomes its complement, so that no window stays as it was.
    path = lineage.experiment.sequences
    complement = str.maketrans("ACGT", "TGCA")
    lines = [line if line.startswith(">") else line.translate(complement) for line in path.read_text().splitlines()]
    path.write_text("\n".join(lines) + "\n")
    np.testing.assert_array_equal(stored(), first[:, ::-1])
