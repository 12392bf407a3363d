"""A partition of attributions that is killed, damaged or refused in the middle, and what the next run makes of it."""

from __future__ import annotations

import random
import shutil
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import dagster as dg
import numpy as np
import pytest
import torch

from cherimoya_assets.analysis import attribution_chunks, attributions
from cherimoya_assets.analysis.one_hot import one_hot_sequences
from cherimoya_assets.assets.lineage import ExperimentLineage
from cherimoya_assets.assets.one_hot_sequences import placed_loci
from cherimoya_assets.code_location import build_defs
from cherimoya_assets.experiment import read_experiment
from cherimoya_assets.home import Home
from cherimoya_assets.resources.chunks import FOLDER, StoredChunks
from cherimoya_assets.resources.storage import AssetStore
from cherimoya_assets_tests.assets.stored_experiment import attributions as some_attributions
from cherimoya_assets_tests.assets.stored_experiment import put
from cherimoya_assets_tests.changed_step import change_step
from cherimoya_assets_tests.killed import Ended, die, in_child
from cherimoya_assets_tests.small_models import cherimoya_file
from cherimoya_assets_tests.tiny_experiment import IN_WINDOW, tiny_experiment

pytestmark = pytest.mark.slow

CHROM, HEADS, LOCI, FOLDS = "chrA", ("counts", "profile"), 3, 2
CHUNKS = LOCI * FOLDS
"""A chunk is one locus here."""

KILLS = 5
"""At as many points, drawn anew in every run of the tests; a failure names its point."""


@pytest.fixture(autouse=True)
def a_locus_is_a_chunk(monkeypatch):
    monkeypatch.setattr(attribution_chunks, "CHUNK", 1)


def lineage_in(folder: Path, **changes: object) -> ExperimentLineage:
    """Two folds and both heads; the sequences of one chromosome are stored."""
    folder.mkdir(exist_ok=True)
    other = cherimoya_file(folder, seed=3).path.name
    model = {"a": "model.torch", "b": other}
    file = tiny_experiment(folder, {"model": model, "output": list(HEADS), **changes})
    lineage = ExperimentLineage(read_experiment(file), Home(folder / "home"))
    loci = placed_loci(lineage)
    put(
        lineage,
        ("one_hot_sequences",),
        one_hot_sequences(lineage.genome, loci[loci["chrom"] == CHROM], CHROM, IN_WINDOW),
        CHROM,
    )
    return lineage


@pytest.fixture
def lineage(tmp_path) -> ExperimentLineage:
    return lineage_in(tmp_path)


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory) -> dict[str, str]:
    """Head to the version of what a run without chunks, without Dagster and without a break gives."""
    lineage = lineage_in(tmp_path_factory.mktemp("uninterrupted"))
    from cherimoya_assets.analysis.models import load_model

    experiment = lineage.experiment
    blocks, _ = attributions.attribute(
        {fold: load_model(file) for fold, file in experiment.model.items()},
        lineage.store.load(("tiny", "one_hot_sequences"), CHROM),
        outputs=HEADS,
        method=experiment.method,
        attr_window=experiment.attr_window,
        group=experiment.group,
    )
    return {head: lineage.store.stage(block).manifest.version for head, block in blocks.items()}


class Made:
    """One run of the attributions, and what its log says."""

    def __init__(self, lineage: ExperimentLineage, *heads: str, also: tuple[dg.AssetKey, ...] = ()) -> None:
        defs = build_defs([lineage.experiment], lineage.home.root)
        with dg.DagsterInstance.ephemeral() as instance:
            self.result = dg.materialize(
                list(defs.assets),
                selection=[*(lineage.key(head, "attributions") for head in heads or HEADS), *also],
                resources=dict(defs.resources),
                partition_key=CHROM,
                instance=instance,
                raise_on_error=False,
            )
            self.log = [entry.user_message for entry in instance.all_logs(self.result.run_id)]

    @property
    def resumed(self) -> int:
        found = [int(line.split()[1]) for line in self.log if line.startswith("resumed: ")]
        return found[0] if found else 0

    @property
    def failure(self) -> str:
        """What the failed step says."""
        (failed,) = [event for event in self.result.all_events if event.is_step_failure]
        return str(failed.step_failure_data.error.message)


def versions(lineage: ExperimentLineage) -> dict[str, str]:
    """What is stored, by head."""
    found = {head: lineage.store.manifest(("tiny", head, "attributions"), CHROM) for head in HEADS}
    return {head: manifest.version for head, manifest in found.items() if manifest is not None}


def kept(lineage: ExperimentLineage, heads: str = "counts+profile") -> list[str]:
    """The names of the chunks that are there and whole."""
    store, key = AssetStore(lineage.store.root / FOLDER), ("tiny", heads, CHROM)
    return [name for name in store.partitions(key) if store.manifest(key, name) is not None]


def killed_run(lineage: ExperimentLineage, kill_at: int | None = None) -> Ended:
    """A run in a child, which tells of every chunk before it is kept."""

    def work(tell) -> None:
        put_chunk = StoredChunks.put

        def telling(self, chunk):
            tell(chunk.fingerprint)
            put_chunk(self, chunk)

        StoredChunks.put = telling
        assert Made(lineage).result.success

    return in_child(work, lineage.home.store, kill_at)


def killed_after(lineage: ExperimentLineage, chunks: int) -> None:
    """A run that was killed when it had kept so many chunks."""

    def work(tell) -> None:
        put_chunk, done = StoredChunks.put, []

        def counting(self, chunk):
            put_chunk(self, chunk)
            done.append(chunk)
            if len(done) == chunks:
                die()

        StoredChunks.put = counting
        Made(lineage)

    assert in_child(work, lineage.home.store).killed
    assert len(kept(lineage)) == chunks


def test_killed_at_any_point_it_loses_one_chunk_at_most_and_ends_in_the_same_bytes(tmp_path, uninterrupted):
    """Every point at which something durable happens may be drawn: chunks, both commits, the removal of chunks."""
    first = lineage_in(tmp_path / "counted")
    touches = killed_run(first).touches
    assert versions(first) == uninterrupted and kept(first) == []
    assert touches > 10 * CHUNKS
    for point in random.sample(range(1, touches + 1), KILLS):
        shutil.copytree(tmp_path / "counted", tmp_path / str(point), ignore=shutil.ignore_patterns("home"))
        lineage = lineage_in(tmp_path / str(point))
        begun = killed_run(lineage, point)
        assert begun.killed, point
        there, landed = len(kept(lineage)), versions(lineage)
        # A reader sees all of a partition or nothing.
        assert landed.items() <= uninterrupted.items(), point
        if not landed:
            assert len(begun.told) - 1 <= there <= len(begun.told), point
        again = Made(lineage)
        assert again.result.success, point
        assert again.resumed == there, point
        assert versions(lineage) == uninterrupted, point
        assert kept(lineage) == [], point
        # What died halfway through its removal, or before it was whole, is swept like everything of that kind.
        lineage.store.sweep(timedelta(0))
        assert not [path for path in lineage.store.root.joinpath(FOLDER).rglob("*") if path.is_file()], point


def test_killed_again_and_again_it_comes_to_its_end(lineage, uninterrupted):
    for chunks in range(1, CHUNKS):

        def work(tell) -> None:
            put_chunk = StoredChunks.put

            def once(self, chunk):
                put_chunk(self, chunk)
                die()

            StoredChunks.put = once
            Made(lineage)

        assert in_child(work, lineage.home.store).killed
        assert len(kept(lineage)) == chunks
    assert Made(lineage).resumed == CHUNKS - 1
    assert versions(lineage) == uninterrupted


def test_the_log_says_what_was_there_and_the_speed_counts_what_was_computed(lineage):
    killed_after(lineage, 4)
    made = Made(lineage)
    assert f"resumed: 4 of {CHUNKS} chunks were there, 4 of {CHUNKS} loci" in made.log
    (counts, profile) = made.result.asset_materializations_for_node("tiny__attributions")
    for event in (counts, profile):
        seconds = event.metadata["seconds"].value
        # A third of the work was this run's; its clock runs on a little between the two numbers.
        assert 0 < event.metadata["loci_per_second"].value * seconds <= 1.5 * LOCI / 3
    assert counts.metadata["dagster/partition_row_count"].value == LOCI


def test_the_report_of_a_resumed_run_is_that_of_an_uninterrupted_one(tmp_path):
    def reports(lineage) -> list[dict]:
        stamps = [lineage.store.manifest(("tiny", head, "attributions"), CHROM).stamp for head in HEADS]
        folds = [fold for stamp in stamps for fold in stamp.parameters["report"]["folds"].values()]
        # What is said of time is of this run.
        return [{k: v for k, v in fold.items() if k not in ("seconds", "loci_per_second")} for fold in folds]

    whole, resumed = lineage_in(tmp_path / "whole"), lineage_in(tmp_path / "resumed")
    Made(whole)
    killed_after(resumed, 2)
    assert Made(resumed).resumed == 2
    assert reports(resumed) == reports(whole)
    assert all(fold["dense_edits"] for fold in reports(whole))


def test_chunks_go_after_both_commits_and_what_a_kill_in_between_leaves_is_not_used_for_anything_else(
    lineage, uninterrupted
):
    def work(tell) -> None:
        StoredChunks.forget = lambda self: die()
        Made(lineage)

    assert in_child(work, lineage.home.store).killed
    assert versions(lineage) == uninterrupted
    assert len(kept(lineage)) == CHUNKS
    shutil.copy(cherimoya_file(lineage.experiment.source.parent, seed=9).path, lineage.experiment.model["a"].path)
    made = Made(lineage)
    # The other fold's model is what it was.
    assert made.resumed == LOCI
    assert versions(lineage) != uninterrupted
    assert kept(lineage) == []


@pytest.mark.parametrize("damage", ["flip", "exchanged", "manifest"])
def test_a_damaged_chunk_is_computed_again_and_the_log_says_so(lineage, uninterrupted, damage):
    killed_after(lineage, 3)
    homes = sorted((lineage.store.root / FOLDER / "tiny" / "counts+profile" / CHROM).iterdir())
    manifest = homes[0] / "manifest.json"
    scores = next(homes[0].rglob("counts.npy"))
    content = scores.read_bytes()
    if damage == "flip":
        scores.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    elif damage == "exchanged":
        # Whole and ours, but of other loci.
        shutil.rmtree(homes[0])
        shutil.copytree(homes[1], homes[0], symlinks=True)
    else:
        manifest.write_text("{}")
    made = Made(lineage)
    name = homes[0].name[:12]
    assert [line for line in made.log if line.startswith(f"chunk {name} is damaged and is computed again: ")]
    assert made.resumed == 2
    assert versions(lineage) == uninterrupted
    assert kept(lineage) == []


def test_heads_that_are_computed_together_and_alone_do_not_meet(lineage, uninterrupted):
    killed_after(lineage, 2)
    counts = Made(lineage, "counts")
    assert counts.resumed == 0
    assert versions(lineage) == {"counts": uninterrupted["counts"]}
    # A chunk of both heads is of no use any more when one of them has landed.
    assert kept(lineage) == []
    assert Made(lineage, "profile").resumed == 0
    assert versions(lineage) == uninterrupted


def test_another_heads_chunks_stay_when_one_lands(lineage):
    def work(tell) -> None:
        StoredChunks.forget = lambda self: die()
        Made(lineage, "profile")

    assert in_child(work, lineage.home.store).killed
    assert Made(lineage, "counts").result.success
    assert len(kept(lineage, "profile")) == CHUNKS


def test_another_code_version_uses_no_chunk(lineage, uninterrupted, monkeypatch):
    killed_after(lineage, CHUNKS - 1)
    change_step(monkeypatch, "attributions", version=99)
    assert Made(replace(lineage)).resumed == 0
    assert versions(lineage) == uninterrupted
    assert kept(lineage) == []


# A model that gives NaN.


def spoil(path: Path) -> None:
    """Every weight is finite, and what the model says is not."""
    payload = torch.load(path, weights_only=True)
    payload["state_dict"]["iconv.weight"] = payload["state_dict"]["iconv.weight"].sign() * 3e38
    torch.save(payload, path)


def test_nan_is_refused_nothing_stands_on_it_and_no_chunk_of_it_is_kept(lineage, uninterrupted):
    file = lineage.experiment.model["b"].path
    good = file.read_bytes()
    block = some_attributions(lineage.store.load(("tiny", "one_hot_sequences"), CHROM), "counts", seed=0)
    put(lineage, ("counts", "attributions"), block, CHROM)
    before = versions(lineage)
    spoil(file)
    downstream = lineage.key("counts", "seqlets")
    for _ in range(2):
        # Also when it is tried once more: nothing that was kept hides it.
        refused = Made(lineage, "counts", also=(downstream,))
        assert not refused.result.success
        assert "counts/attributions was computed but not stored, because a check did not pass. finite: " in (
            refused.failure
        )
        assert versions(lineage) == before
        assert kept(lineage, "counts") == []
        started = {event.step_key for event in refused.result.all_events if event.is_step_start}
        assert started == {"tiny__attributions"}
    file.write_bytes(good)
    assert Made(lineage, "counts").resumed == 0
    assert versions(lineage)["counts"] == uninterrupted["counts"]


def test_a_chunk_with_nan_is_not_kept_even_for_a_moment(lineage, monkeypatch):
    spoil(lineage.experiment.model["a"].path)
    put_chunks, put_chunk = [], StoredChunks.put
    monkeypatch.setattr(StoredChunks, "put", lambda self, chunk: put_chunks.append(chunk) or put_chunk(self, chunk))
    assert not Made(lineage).result.success
    assert len(put_chunks) == LOCI
    assert all(np.isfinite(scores).all() for chunk in put_chunks for scores in chunk.scores.values())


def test_memory_that_ends_on_the_device_stands_in_the_log_of_the_step(lineage, monkeypatch):
    """A GPU's kernels, which run anywhere, have a batch; those of a CPU hold what fits its cache."""
    from cherimoya_assets.analysis.mutagenesis import cherimoya_engine
    from cherimoya_assets.analysis.mutagenesis.windowed.general import kernels

    sweep = kernels.sweep

    def limited(network, reference, outside, edits, **keywords):
        if len(edits.change) > 8:
            raise torch.OutOfMemoryError("no more")
        return sweep(network, reference, outside, edits, **keywords)

    def kernels_for(module, device, batch):
        return kernels.GeneralKernels(module, torch.float32, device, batch)

    monkeypatch.setattr(kernels, "sweep", limited)
    monkeypatch.setattr(cherimoya_engine, "kernels_for", kernels_for)
    made = Made(lineage, "counts")
    assert made.result.success
    assert [line for line in made.log if line.startswith("cpu ran out of memory with ")]
