"""Marginalization: what a motif does to the predictions when it is put into sequence that has nothing.

What lives here: drawing backgrounds, predicting before and after, adding chromosomes up. What must not: drawing pages
(`reports/marginalization.py`). Same loci, same insertions and same numbers as `cherimoya marginalize`, which is
bpnet-lite's `marginalization_report` on tangermeme's `marginalize`; but the background's own prediction is made once
and not once a motif, and the numbers are kept.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Self

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from cherimoya_assets.analysis.genome import Genome
from cherimoya_assets.analysis.loci import KEPT
from cherimoya_assets.analysis.mutagenesis.edits import LocalEdit
from cherimoya_assets.analysis.mutagenesis.engines import TOLERANCE, Engine, engine_for
from cherimoya_assets.analysis.one_hot import encode
from cherimoya_assets.analysis.sequence_model import SequenceModel, check_folds
from cherimoya_assets.analysis.side_by_side import each_alone
from cherimoya_assets.analysis.tables import typed_table
from cherimoya_assets.errors import InputError, ModelError

BACKGROUND_COLUMNS = {
    "locus_id": "object",
    "chrom": "object",
    "start": "int64",
    "end": "int64",
    "window_start": "int64",
    "draw": "int64",
}

EFFECT_COLUMNS = {
    "motif": "object",
    "locus_id": "object",
    "head": "object",
    "group": "int64",
    "before": "float64",
    "after": "float64",
}

PROFILE_UNIT = 2.0**-40
"""Profiles are added as whole numbers of this, so that a sum over chromosomes is exact and has no order. A probability
is rounded by at most 5e-13, and int64 holds the sum over 8 million backgrounds."""


@dataclass(frozen=True)
class Backgrounds:
    """Drawn background loci.

    Attributes:
        table: `locus_id`, `chrom`, `start`, `end`, `window_start` (0-based), `draw` (position in the draw).
        n_available: how many there were to draw from.
        n_unknown: how many of those that were drawn were passed over because their window holds unknown bases.
        random_state: the seed.
    """

    table: pd.DataFrame
    n_available: int
    n_unknown: int
    random_state: int

    def on(self, chrom: str) -> Backgrounds:
        """Those of one chromosome, in the order of the draw."""
        return replace(self, table=self.table[self.table["chrom"] == chrom].reset_index(drop=True))

    def write(self, folder: Path) -> None:
        self.table.to_parquet(folder / "backgrounds.parquet", index=False)
        numbers = {name: getattr(self, name) for name in ("n_available", "n_unknown", "random_state")}
        (folder / "draw.json").write_text(json.dumps(numbers))

    @classmethod
    def read(cls, folder: Path) -> Self:
        return cls(
            pd.read_parquet(folder / "backgrounds.parquet").astype(BACKGROUND_COLUMNS),
            **json.loads((folder / "draw.json").read_text()),
        )


@dataclass(frozen=True)
class EffectTable:
    """Effects of motifs on the backgrounds of one chromosome, or of several.

    Attributes:
        chrom: its name, or "" for several.
        table: a row a motif, background, head and signal group: `motif`, `locus_id`, `head`, `group`, `before`,
            `after`. Head "counts" is log counts, head "profile" the score of ProfileWrapper. Mean over folds.
        motifs: names, in the order of the database. consensus: the inserted sequence of each.
        profile_before: int64, (channels, length), sum over backgrounds of the softmaxed profile, in units of 2**-40.
        profile_after: int64, (motifs, channels, length), likewise after insertion.
        n_backgrounds: how many backgrounds were added up.
    """

    chrom: str
    table: pd.DataFrame
    motifs: tuple[str, ...]
    consensus: tuple[str, ...]
    profile_before: NDArray[np.int64]
    profile_after: NDArray[np.int64]
    n_backgrounds: int

    def mean_profile_before(self) -> NDArray[np.float64]:
        """(channels, length), mean softmaxed profile of the unedited backgrounds."""
        return self.profile_before * np.float64(PROFILE_UNIT / max(self.n_backgrounds, 1))

    def mean_profile_after(self) -> NDArray[np.float64]:
        """(motifs, channels, length), mean softmaxed profile after insertion."""
        return self.profile_after * np.float64(PROFILE_UNIT / max(self.n_backgrounds, 1))

    def write(self, folder: Path) -> None:
        self.table.to_parquet(folder / "effects.parquet", index=False)
        np.savez_compressed(folder / "profiles.npz", before=self.profile_before, after=self.profile_after)
        about = {
            "chrom": self.chrom,
            "motifs": self.motifs,
            "consensus": self.consensus,
            "n_backgrounds": self.n_backgrounds,
        }
        (folder / "motifs.json").write_text(json.dumps(about))

    @classmethod
    def read(cls, folder: Path) -> Self:
        about = json.loads((folder / "motifs.json").read_text())
        with np.load(folder / "profiles.npz", allow_pickle=False) as profiles:
            before, after = profiles["before"], profiles["after"]
        return cls(
            about["chrom"],
            pd.read_parquet(folder / "effects.parquet").astype(EFFECT_COLUMNS),
            tuple(about["motifs"]),
            tuple(about["consensus"]),
            before,
            after,
            about["n_backgrounds"],
        )


def draw_backgrounds(
    genome: Genome,
    loci: pd.DataFrame,
    in_window: int,
    *,
    n_loci: int,
    shuffle: bool,
    random_state: int,
) -> Backgrounds:
    """Draw background loci over all chromosomes at once.

    The same loci in the same order as `cherimoya marginalize`: with `shuffle`, NumPy's legacy shuffle of the usable
    rows with this seed; without, the first ones of the file. cherimoya also takes windows with unknown bases (N); here
    such a locus is passed over and the next of the draw takes its place.

    Args:
        genome: where the sequence comes from.
        loci: placed background loci of all selected chromosomes, in cherimoya's order.
        in_window: width of the model's input in bp.
        n_loci: how many to draw; fewer when there are not so many.
        shuffle, random_state: as in cherimoya.
    """
    usable = loci[loci["status"] == KEPT].reset_index(drop=True)
    order = np.arange(len(usable))
    if shuffle:
        np.random.RandomState(random_state).shuffle(order)
    chosen: list[int] = []
    n_unknown = 0
    for row in order:
        if len(chosen) == n_loci:
            break
        start = int(usable["window_start"].iloc[row])
        if encode(genome.fetch(usable["chrom"].iloc[row], start, start + in_window)).any(axis=0).all():
            chosen.append(int(row))
        else:
            n_unknown += 1
    drawn = usable.iloc[chosen].reset_index(drop=True).assign(draw=np.arange(len(chosen), dtype=np.int64))
    table = typed_table(BACKGROUND_COLUMNS, {name: drawn[name].to_numpy() for name in BACKGROUND_COLUMNS})
    return Backgrounds(table, len(usable), n_unknown, random_state)


def marginalization_effects(
    models: Mapping[str, SequenceModel],
    genome: Genome,
    backgrounds: Backgrounds,
    motifs: Mapping[str, NDArray[np.float64]],
    *,
    chrom: str,
    in_window: int,
    tolerance: float = TOLERANCE,
    batch_size: int | None,
    device: str,
    dtype: str,
    progress: Callable[[int, int], None] | None = None,
) -> EffectTable:
    """Predict every background before and after every motif's consensus is put into its middle.

    The consensus is the most probable base of each column (A before C before G before T on a tie) and stands at
    `[L // 2 - w // 2, ... + w)`, as `tangermeme.ersatz.substitute` puts it. The model sees one background at a time, so
    that its numbers do not depend on which other backgrounds there are, bit for bit.

    Args:
        models: fold to loaded model; predictions are averaged over folds.
        genome, in_window: where the windows come from and how wide they are.
        backgrounds: those of one chromosome, or of several.
        motifs: name to probabilities, (4, width).
        chrom: what the table is called: the chromosome's name, or "" for several.
        tolerance: largest relative error of a background that is accepted of windowed edits; 0 for dense predictions.
        batch_size: sequences computed together; None takes it from the free memory.
        device, dtype: where and how the models compute.
        progress: called with (done, total) after each background.

    Raises:
        InputError: a motif is longer than the window.
        ModelError: no fold, a model whose window or dtype does not fit, or folds that predict different things.
        DeviceError: the device has not the memory for one sequence at a time.
    """
    consensus = {name: consensus_sequence(matrix) for name, matrix in motifs.items()}
    for name, sequence in consensus.items():
        if len(sequence) > in_window:
            raise InputError(
                f"motif {name!r} is {len(sequence)} bp long, but the model's input is {in_window}. Remove the motif."
            )
    if not models:
        raise ModelError("no model was given; effects are the mean over one or more folds.")
    some = next(iter(models.values()))
    for model in models.values():
        model.check_window(in_window)
        model.check_dtype(dtype)
    check_folds(models, in_window)
    length, channels = some.output_length(in_window), sum(some.signal_groups)
    before_sum = np.zeros((channels, length), dtype=np.int64)
    after_sum = np.zeros((len(motifs), channels, length), dtype=np.int64)
    groups = len(some.signal_groups)
    ids = list(backgrounds.table["locus_id"])
    counts = np.zeros((len(ids), len(motifs) + 1, groups))
    scores = np.zeros((len(ids), len(motifs) + 1, groups))
    edits = insertions(in_window, list(consensus.values()))
    places = list(backgrounds.table[["chrom", "window_start"]].itertuples(index=False))
    engines = [
        engine_for(model, length=in_window, tolerance=tolerance, batch_size=batch_size, dtype=dtype, device=device)
        for _, model in sorted(models.items())
    ]

    def predict(k: int) -> list[tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]]:
        where, start = places[k]
        X = encode(genome.fetch(where, int(start), int(start) + in_window))
        return [_predict(engine, X, edits, some.signal_groups) for engine in engines]

    if all(engine.alone for engine in engines):
        made = each_alone(predict, len(places), device)
    else:
        made = ((k, predict(k)) for k in range(len(places)))
    for done, (k, predicted) in enumerate(made, start=1):
        counts[k] = np.mean([log_counts for _, log_counts, _ in predicted], axis=0)
        scores[k] = np.mean([score for _, _, score in predicted], axis=0)
        fixed = np.rint(np.mean([profile for profile, _, _ in predicted], axis=0) / PROFILE_UNIT).astype(np.int64)
        before_sum += fixed[0]
        after_sum += fixed[1:]
        if progress:
            progress(done, len(places))
    return EffectTable(
        chrom,
        _effect_rows(list(motifs), ids, {"counts": counts, "profile": scores}),
        tuple(motifs),
        tuple(consensus.values()),
        before_sum,
        after_sum,
        len(ids),
    )


def pool_effects(tables: Sequence[EffectTable]) -> EffectTable:
    """All chromosomes together; rows in the order of motifs, heads and groups, then of `tables`."""
    if len({(table.motifs, table.consensus) for table in tables}) != 1:
        raise InputError("the chromosomes' effects come from different motif databases. Materialize them all again.")
    first = tables[0]
    pooled = pd.concat([table.table for table in tables], ignore_index=True).astype(EFFECT_COLUMNS)
    rank = {name: k for k, name in enumerate(first.motifs)}
    order = np.lexsort((np.arange(len(pooled)), pooled["group"], pooled["head"], pooled["motif"].map(rank)))
    return EffectTable(
        "",
        pooled.iloc[order].reset_index(drop=True),
        first.motifs,
        first.consensus,
        np.sum([table.profile_before for table in tables], axis=0, dtype=np.int64),
        np.sum([table.profile_after for table in tables], axis=0, dtype=np.int64),
        sum(table.n_backgrounds for table in tables),
    )


def consensus_sequence(matrix: NDArray[np.float64]) -> str:
    """The most probable base of each column of a (4, width) matrix."""
    return "".join("ACGT"[k] for k in matrix.argmax(axis=0))


def insertions(length: int, sequences: Sequence[str]) -> list[LocalEdit]:
    """Each sequence put into the middle of a window of `length` bp."""
    return [LocalEdit(length // 2 - len(sequence) // 2, encode(sequence)) for sequence in sequences]


def _predict(
    engine: Engine, background: NDArray[np.int8], edits: Sequence[LocalEdit], signal_groups: Sequence[int]
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Softmaxed profiles (n, channels, length), log counts and profile scores (n, groups); row 0 is before."""
    predicted = engine.predictions(background, edits)
    scores = []
    for logits in np.split(predicted.logits, np.cumsum(signal_groups)[:-1], axis=1):
        # cherimoya's ProfileWrapper, of a prediction that is already there.
        flat = logits.reshape(len(logits), -1)
        centred = flat - flat.mean(axis=1, keepdims=True)
        scores.append((centred * _softmax(centred)).sum(axis=1))
    return _softmax(predicted.logits), predicted.log_counts, np.stack(scores, axis=1)


def _softmax(logits: NDArray[np.float64]) -> NDArray[np.float64]:
    """Along the last axis."""
    grown = np.exp(logits - logits.max(axis=-1, keepdims=True))
    softmaxed: NDArray[np.float64] = grown / grown.sum(axis=-1, keepdims=True)
    return softmaxed


def _effect_rows(motifs: Sequence[str], ids: Sequence[str], heads: Mapping[str, NDArray[np.float64]]) -> pd.DataFrame:
    """Rows in the order motif, head, group, background. A head is (backgrounds, 1 + motifs, groups)."""
    columns: dict[str, list[object]] = {name: [] for name in EFFECT_COLUMNS}
    for m, motif in enumerate(motifs):
        for head, values in heads.items():
            for group in range(values.shape[2]):
                columns["motif"] += [motif] * len(ids)
                columns["locus_id"] += ids
                columns["head"] += [head] * len(ids)
                columns["group"] += [group] * len(ids)
                columns["before"] += values[:, 0, group].tolist()
                columns["after"] += values[:, m + 1, group].tolist()
    return typed_table(EFFECT_COLUMNS, columns)
