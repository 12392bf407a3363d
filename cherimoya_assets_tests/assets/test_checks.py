"""Blocking checks: a wrong value is refused, what was stored before stays, and nothing stands on it.

Each check has its subject broken on purpose here, in the function whose value it looks at. A check without a row in the
table fails a test.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import dagster as dg
import h5py
import numpy as np
import pytest

import cherimoya_assets.assets.one_hot_sequences
from cherimoya_assets.analysis.attributions import AttributionBlock
from cherimoya_assets.analysis.modisco import ModiscoPatterns
from cherimoya_assets.analysis.one_hot import SequenceBlock, encode
from cherimoya_assets.analysis.seqlets import SeqletTable
from cherimoya_assets.assets.lineage import ExperimentLineage
from cherimoya_assets.code_location import build_defs
from cherimoya_assets_tests.assets.stored_experiment import patterns, seqlet_table, stored_experiment

pytestmark = pytest.mark.slow

CHROM = "chrA"


@dataclass(frozen=True)
class Subject:
    """An asset whose value is made by one function of its module.

    `make` stands in for that function where its own value is not enough to break (random sequence has no patterns).
    """

    asset: tuple[str, ...]
    function: str
    make: Callable[[ExperimentLineage, tuple[Any, ...]], Any] | None = None
    pooled: bool = False


def seqlets_by_hand(lineage: ExperimentLineage, arguments: tuple[Any, ...]) -> SeqletTable:
    return seqlet_table(arguments[0])


def patterns_by_hand(lineage: ExperimentLineage, arguments: tuple[Any, ...]) -> ModiscoPatterns:
    """Two seqlets with the sequence that the genome has there, one on each strand."""
    made = patterns(CHROM)
    content = io.BytesIO(made.h5)
    with h5py.File(content, "r+") as file:
        rows = [encode(lineage.genome.fetch(*row)).T for row in made.seqlets[["chrom", "start", "end"]].to_numpy()]
        rows[1] = rows[1][::-1, ::-1]
        file["pos_patterns/pattern_0/seqlets/sequence"] = np.stack(rows)
    return replace(made, h5=content.getvalue())


SEQUENCES = Subject(("one_hot_sequences",), "one_hot_sequences.one_hot_sequences")
ATTRIBUTIONS = Subject(("counts", "attributions"), "attributions.attribute")
SEQLETS = Subject(("counts", "seqlets"), "seqlets.call_seqlets", seqlets_by_hand)
ANNOTATED = Subject(("counts", "annotated_seqlets"), "annotated_seqlets.annotate_seqlets")
PATTERNS = Subject(("counts", "modisco_patterns"), "modisco.discover_patterns", patterns_by_hand, pooled=True)
EFFECTS = Subject(("marginalization_effects",), "marginalization.marginalization_effects")


def of_counts(change: Callable[[AttributionBlock], AttributionBlock]) -> Callable[[Any], Any]:
    def damage(value: Any) -> Any:
        blocks, reports = value
        return {**blocks, "counts": change(blocks["counts"])}, reports

    return damage


def with_score(block: AttributionBlock, score: float) -> AttributionBlock:
    scores = block.scores.copy()
    scores[1, 2, 3] = score
    return replace(block, scores=scores)


def without_fold(value: Any) -> Any:
    blocks, reports = value
    report = {**reports["counts"], "folds": {"a": reports["counts"]["folds"]["a"]}}
    return blocks, {**reports, "counts": report}


def with_cell(value: Any, row: int, column: str, cell: Any) -> Any:
    table = value.table.copy()
    table.loc[row, column] = cell
    return replace(value, table=table)


def without_last_row(value: Any) -> Any:
    return replace(value, table=value.table.iloc[:-1])


def shifted(block: SequenceBlock) -> SequenceBlock:
    one_hot = block.one_hot.copy()
    one_hot[1] = np.roll(one_hot[1], 1, axis=-1)
    return replace(block, one_hot=one_hot)


def another_base(block: SequenceBlock) -> SequenceBlock:
    one_hot = block.one_hot.copy()
    one_hot[0, :, 7] = np.roll(one_hot[0, :, 7], 1)
    return replace(block, one_hot=one_hot)


def no_base(block: SequenceBlock) -> SequenceBlock:
    one_hot = block.one_hot.copy()
    one_hot[0, :, 7] = 0
    return replace(block, one_hot=one_hot)


def moved_patterns(found: ModiscoPatterns, row: int) -> ModiscoPatterns:
    seqlets = found.seqlets.copy()
    seqlets.loc[row, ["start", "end"]] += 1
    return replace(found, seqlets=seqlets)


def other_strand(found: ModiscoPatterns) -> ModiscoPatterns:
    return replace(found, seqlets=found.seqlets.assign(strand="+"))


def pushed_out(found: SeqletTable) -> SeqletTable:
    """The last seqlet begins in its window and ends behind it."""
    return with_cell(found, len(found.table) - 1, "end", int(found.table["end"].iloc[-1]) + 1)


def with_error(value: Any) -> Any:
    """A fold whose checked edits were twice as wrong as is tolerated."""
    blocks, reports = value
    folds = {fold: dict(said) for fold, said in reports["counts"]["folds"].items()}
    folds["b"]["counts_error_max"] = 2 * folds["b"]["tolerance"]
    return blocks, {**reports, "counts": {**reports["counts"], "folds": folds}}


DAMAGES: list[tuple[str, Subject, str, Callable[[Any], Any]]] = [
    ("a row off by one", SEQUENCES, "matches_genome", shifted),
    ("one wrong base", SEQUENCES, "matches_genome", another_base),
    ("a position without a base", SEQUENCES, "matches_genome", no_base),
    ("two rows swapped", SEQUENCES, "matches_genome", lambda b: replace(b, one_hot=b.one_hot[::-1])),
    (
        "a locus vanished with its row",
        SEQUENCES,
        "every_locus_accounted_for",
        lambda b: replace(b, loci=b.loci.iloc[:-1], one_hot=b.one_hot[:-1]),
    ),
    ("a lost locus called kept", SEQUENCES, "every_locus_accounted_for", lambda b: replace(b, one_hot=b.one_hot[:-1])),
    ("NaN", ATTRIBUTIONS, "finite", of_counts(lambda block: with_score(block, np.nan))),
    ("infinity", ATTRIBUTIONS, "finite", of_counts(lambda block: with_score(block, np.inf))),
    (
        "not centred",
        ATTRIBUTIONS,
        "centred",
        of_counts(lambda block: replace(block, scores=block.scores + np.float32(0.01 * np.abs(block.scores).max()))),
    ),
    (
        "the window one base on",
        ATTRIBUTIONS,
        "rows_match_sequences",
        of_counts(lambda block: replace(block, window_start=block.window_start + 1)),
    ),
    (
        "rows in another order",
        ATTRIBUTIONS,
        "rows_match_sequences",
        of_counts(lambda block: replace(block, locus_id=block.locus_id[::-1])),
    ),
    (
        "another sequence",
        ATTRIBUTIONS,
        "rows_match_sequences",
        of_counts(lambda block: replace(block, one_hot=block.one_hot[:, ::-1].copy())),
    ),
    ("a fold missing", ATTRIBUTIONS, "folds_complete", without_fold),
    ("far from the dense recomputation", ATTRIBUTIONS, "matches_dense", with_error),
    ("a seqlet behind its window", SEQLETS, "in_window", pushed_out),
    (
        "a seqlet before its window",
        SEQLETS,
        "in_window",
        lambda found: with_cell(found, 0, "start", int(found.table["start"].iloc[0]) - 1),
    ),
    (
        "a seqlet without bases",
        SEQLETS,
        "in_window",
        lambda found: with_cell(found, 0, "end", int(found.table["start"].iloc[0])),
    ),
    ("another chromosome's coordinates", SEQLETS, "matches_genome", lambda found: replace(found, chrom="chrB")),
    ("a row lost", ANNOTATED, "rows_match_seqlets", without_last_row),
    (
        "rows in another order than the seqlets",
        ANNOTATED,
        "rows_match_seqlets",
        lambda found: replace(found, table=found.table.iloc[::-1]),
    ),
    ("a pattern seqlet off by one", PATTERNS, "seqlets_match_genome", lambda found: moved_patterns(found, 0)),
    ("off by one on the other strand", PATTERNS, "seqlets_match_genome", lambda found: moved_patterns(found, 1)),
    ("the wrong strand", PATTERNS, "seqlets_match_genome", other_strand),
    ("an effect lost", EFFECTS, "rows_complete", without_last_row),
    ("a prediction that is NaN", EFFECTS, "finite", lambda found: with_cell(found, 0, "after", np.nan)),
]


class Bench:
    """A stored experiment whose assets are made one at a time, with their functions' values changed."""

    def __init__(self, lineage: ExperimentLineage) -> None:
        self.lineage = lineage
        self.defs = build_defs([lineage.experiment], lineage.home.root)

    def materialize(self, *keys: dg.AssetKey, pooled: bool = False) -> dg.ExecuteInProcessResult:
        return dg.materialize(
            list(self.defs.assets),
            selection=list(keys),
            partition_key=None if pooled else CHROM,
            resources=dict(self.defs.resources),
            raise_on_error=False,
        )

    def make(
        self, monkeypatch: pytest.MonkeyPatch, subject: Subject, change: Callable[[Any], Any]
    ) -> dg.ExecuteInProcessResult:
        """Materialize a subject with `change` applied to what its function returns."""
        module, name = f"cherimoya_assets.assets.{subject.function}".rsplit(".", 1)
        with monkeypatch.context() as patched:
            real = getattr(__import__(module, fromlist=[name]), name)

            def function(*arguments: Any, **keywords: Any) -> Any:
                if subject.make is not None:
                    return change(subject.make(self.lineage, arguments))
                return change(real(*arguments, **keywords))

            patched.setattr(f"{module}.{name}", function)
            return self.materialize(self.lineage.key(*subject.asset), pooled=subject.pooled)

    def stored(self, subject: Subject) -> tuple[Any, dict[str, bytes]]:
        """The manifest of a subject and every byte that it names."""
        key, partition = tuple(self.lineage.key(*subject.asset).path), None if subject.pooled else CHROM
        manifest = self.lineage.store.manifest(key, partition)
        folder = self.lineage.store.folder(key, partition) / manifest.folder
        return manifest, {file.name: (folder / file.name).read_bytes() for file in manifest.files}


@pytest.fixture(scope="module")
def bench(tmp_path_factory):
    folds = {"a": "model.torch", "b": "model.torch"}
    lineage = stored_experiment(tmp_path_factory.mktemp("checks"), {"model": folds})
    bench = Bench(lineage)
    pooled = (lineage.key("counts", "seqlet_null"), lineage.key("marginalization_backgrounds"))
    assert bench.materialize(*pooled, pooled=True).success
    return bench


def failed_checks(result: dg.ExecuteInProcessResult) -> dict[str, dg.AssetCheckEvaluation]:
    return {check.check_name: check for check in result.get_asset_check_evaluations() if not check.passed}


@pytest.mark.parametrize(("subject", "name", "damage"), [row[1:] for row in DAMAGES], ids=[row[0] for row in DAMAGES])
def test_a_wrong_value_is_refused_and_the_old_one_stays(bench, monkeypatch, subject, name, damage):
    good = bench.make(monkeypatch, subject, lambda value: value)
    assert good.success
    assert failed_checks(good) == {}
    before = bench.stored(subject)
    bad = bench.make(monkeypatch, subject, damage)
    assert not bad.success
    failure = failed_checks(bad)[name]
    assert failure.severity == dg.AssetCheckSeverity.ERROR
    assert failure.blocking
    assert failure.description
    assert not bad.asset_materializations_for_node(bad.all_node_events[0].node_name)
    assert bench.stored(subject) == before
    assert not list((bench.lineage.store.root / ".staging").iterdir())
    # The step's failure says it too, for who reads the run.
    (failed,) = [event for event in bad.all_events if event.is_step_failure]
    said = failed.step_failure_data.user_failure_data.description
    assert "was computed but not stored, because a check did not pass" in said
    assert f"{name}: {failure.description}" in said


def test_every_blocking_check_has_its_subject_broken(bench):
    specs = [spec for asset in bench.defs.assets for spec in asset.check_specs]
    blocking = {(spec.asset_key.path[-1], spec.name) for spec in specs if spec.blocking}
    assert blocking == {(subject.asset[-1], name) for _, subject, name, _ in DAMAGES}


def test_nothing_is_made_from_a_refused_value(bench, monkeypatch):
    """In one run: the sequences are refused, and the attributions that stand on them are not tried."""
    real = cherimoya_assets.assets.one_hot_sequences.one_hot_sequences
    monkeypatch.setattr(
        "cherimoya_assets.assets.one_hot_sequences.one_hot_sequences", lambda *arguments: shifted(real(*arguments))
    )
    before = bench.stored(ATTRIBUTIONS)
    result = bench.materialize(*(bench.lineage.key(*subject.asset) for subject in (SEQUENCES, ATTRIBUTIONS)))
    assert not result.success
    started = {event.step_key for event in result.all_events if event.is_step_start}
    assert started == {"tiny__one_hot_sequences"}
    assert bench.stored(ATTRIBUTIONS) == before


def test_the_cap_of_tf_modisco_warns_and_stores(bench, monkeypatch):
    def capped(found: ModiscoPatterns) -> ModiscoPatterns:
        return replace(found, n_positive=21_000, cap=20_000, cap_hit=True, permutation_seed=5)

    result = bench.make(monkeypatch, PATTERNS, capped)
    assert result.success
    (warning,) = failed_checks(result).values()
    assert (warning.check_name, warning.severity) == ("cap_not_hit", dg.AssetCheckSeverity.WARN)
    assert "21000 positive" in warning.description
    assert "seed 5" in warning.description
    stored = bench.lineage.store.load(tuple(bench.lineage.key(*PATTERNS.asset).path), None)
    assert stored.cap_hit


@pytest.mark.parametrize("subject", [SEQUENCES, ATTRIBUTIONS, SEQLETS, ANNOTATED, EFFECTS], ids=lambda s: s.asset[-1])
def test_a_chromosome_without_loci_passes_every_check(bench, subject):
    """Empty is a valid result."""
    key = bench.lineage.key(*subject.asset)
    result = dg.materialize(
        list(bench.defs.assets), selection=[key], partition_key="chrC", resources=dict(bench.defs.resources)
    )
    evaluated = [check for check in result.get_asset_check_evaluations() if check.asset_key == key]
    assert evaluated
    assert all(check.passed for check in evaluated)
