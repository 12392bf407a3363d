"""TF-MoDISco patterns of the pooled attributions, with every seqlet of every pattern mapped back to the genome.

What belongs here: pooling chromosomes, running modisco-lite's own command, coordinates. What does not: drawing the
patterns (modisco_report.py) and the seqlets of `cherimoya seqlets` (seqlets.py), which are another set.

Follows `modisco motifs` of modisco-lite 3 (Shrikumar et al., TF-MoDISco; Schreiber), which is run as it is, in a
process of its own. Its h5 file is kept as it is, except that rows of permuted loci are mapped back (see
`discover_patterns`).
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, Protocol, Self

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from cherimoya_assets.analysis.child_process import ChildError, available_cpus, run_child
from cherimoya_assets.analysis.tables import typed_table
from cherimoya_assets.errors import CherimoyaAssetsError, ExperimentError, InputError

if TYPE_CHECKING:
    from cherimoya_assets.analysis.attributions import AttributionBlock
    from cherimoya_assets.analysis.genome import Genome

METACLUSTERS = ("pos_patterns", "neg_patterns")
BASES = "ACGT"
COMMAND = "from modiscolite.cli import cli; cli(prog_name='modisco')"

# modisco-lite looks for patterns among the seqlets of one sign when there are more than this many.
MIN_METACLUSTER_SIZE = 100

COLUMNS = {
    "metacluster": "str",
    "pattern": "str",
    "seqlet": "int64",
    "chrom": "str",
    "start": "int64",
    "end": "int64",
    "strand": "str",
    "locus_id": "str",
    "example_idx": "int64",
}


class Parameters(Protocol):
    """What `discover_patterns` reads of a ModiscoParameters; names and defaults are those of `modisco motifs`."""

    @property
    def n_seqlets(self) -> int: ...
    @property
    def n_leiden(self) -> int: ...
    @property
    def window(self) -> int: ...
    @property
    def size(self) -> int: ...
    @property
    def trim_size(self) -> int: ...
    @property
    def seqlet_flank_size(self) -> int: ...
    @property
    def initial_flank_to_add(self) -> int: ...
    @property
    def final_flank_to_add(self) -> int: ...
    @property
    def random_state(self) -> int: ...


@dataclass(frozen=True, eq=False)
class PooledAttributions:
    """The attributions of all chromosomes, one row a kept locus, in the order of the loci files.

    scores: float32 (n, 4, width), hypothetical. one_hot: int8 (n, 4, width). Axis 1 is A, C, G, T.
    locus_id, chrom: str (n,). window_start: int64 (n,), genome start of the attributed window, 0-based.
    """

    scores: NDArray[np.float32]
    one_hot: NDArray[np.int8]
    locus_id: NDArray[Any]
    chrom: NDArray[Any]
    window_start: NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class ModiscoPatterns:
    """The patterns, and where each of their seqlets lies.

    h5: the bytes of modisco-lite's own file. `example_idx` in it is a row of the attributions as they were pooled,
        `start` and `end` are offsets in the centred crop of `window` bp. A metacluster without patterns is an empty
        group or absent.
    seqlets: one row a seqlet of a pattern, in the file's order: metacluster ("pos_patterns" or "neg_patterns"),
        pattern, seqlet (number in its pattern), chrom, start, end (genome, 0-based, half-open), strand ("-": the
        pattern is the reverse complement of the genome here), locus_id, example_idx.
    n_positive, n_negative: seqlets that modisco-lite extracts from the loci in file order, before the cap.
    cap: the most of each sign that it uses. cap_hit: whether there were more. permutation_seed: the seed with which the
        loci were then permuted, else None.
    """

    h5: bytes
    seqlets: pd.DataFrame
    n_positive: int
    n_negative: int
    cap: int
    cap_hit: bool
    permutation_seed: int | None

    def naming_rows_of(self, locus_id: Sequence[str]) -> Self:
        """The same patterns, `example_idx` naming rows of attributions that have these loci, in this order.

        Raises:
            KeyError: a pattern has a seqlet on a locus that is not among them.
        """
        place = {locus: row for row, locus in enumerate(locus_id)}
        rows = np.array([place[locus] for locus in self.seqlets["locus_id"]], dtype=np.int64)
        before = self.seqlets["example_idx"].to_numpy()
        if np.array_equal(rows, before):
            return self
        mapped = np.zeros(int(before.max()) + 1, dtype=np.int64)
        mapped[before] = rows
        return replace(self, h5=_map_rows(self.h5, mapped), seqlets=self.seqlets.assign(example_idx=rows))

    def write(self, folder: Path) -> None:
        """Write into an existing, empty folder; equal patterns give equal bytes."""
        (folder / "modisco_results.h5").write_bytes(self.h5)
        self.seqlets.to_parquet(folder / "seqlets.parquet", index=False)
        counts = ("n_positive", "n_negative", "cap", "cap_hit", "permutation_seed")
        (folder / "counts.json").write_text(json.dumps({name: getattr(self, name) for name in counts}) + "\n")

    @classmethod
    def read(cls, folder: Path) -> Self:
        """The patterns that `write` wrote into `folder`."""
        return cls(
            h5=(folder / "modisco_results.h5").read_bytes(),
            seqlets=pd.read_parquet(folder / "seqlets.parquet"),
            **json.loads((folder / "counts.json").read_text()),
        )


def pool_blocks(blocks: Sequence[AttributionBlock], order: Sequence[str]) -> PooledAttributions:
    """The rows of all chromosomes in one array, in the order in which `cherimoya attribute` would have written them.

    Args:
        blocks: one a chromosome, of one width.
        order: ids of all loci in cherimoya's order (`interleave`); it may name loci that were not kept.

    Raises:
        ValueError: widths differ, or a block has a locus that `order` lacks.
    """
    if len({block.scores.shape[2] for block in blocks}) > 1:
        raise ValueError(f"blocks differ in width: {sorted({block.scores.shape[2] for block in blocks})}")
    if not blocks:
        empty, text = np.zeros((0, 4, 0)), np.zeros(0, dtype=str)
        return PooledAttributions(
            empty.astype(np.float32), empty.astype(np.int8), text, text, np.zeros(0, dtype=np.int64)
        )
    locus_id = np.concatenate([np.asarray(block.locus_id, dtype=str) for block in blocks])
    place = pd.Series(locus_id).map({locus: i for i, locus in enumerate(order)})
    if place.isna().any():
        raise ValueError(f"locus {locus_id[int(place.isna().argmax())]} is not in the given order of loci")
    rows = np.argsort(place.to_numpy(), kind="stable")
    return PooledAttributions(
        scores=np.concatenate([block.scores for block in blocks])[rows],
        one_hot=np.concatenate([block.one_hot for block in blocks])[rows],
        locus_id=locus_id[rows],
        chrom=np.concatenate([np.full(len(block.scores), block.chrom) for block in blocks])[rows],
        window_start=np.concatenate([np.asarray(block.window_start, dtype=np.int64) for block in blocks])[rows],
    )


def discover_patterns(
    pooled: PooledAttributions, parameters: Parameters, *, log: Callable[[str], None] | None = None
) -> ModiscoPatterns:
    """Run `modisco motifs` on all loci and map what it finds back to the genome.

    modisco-lite uses the first `n_seqlets` seqlets of each sign in the order of the loci, so that a cap which bites
    leaves out the last chromosomes. Seqlets are counted first, by modisco-lite's own extraction; only when there are
    more than the cap, the loci are permuted with `random_state`. Otherwise the result is the one of the field's command
    on the same arrays, byte for byte.

    No loci, attributions that are all zero, and too few seqlets for a pattern are valid and give no patterns.

    Args:
        pooled: the attributions of all chromosomes.
        parameters: as in `modisco motifs`.
        log: receives each line that modisco-lite prints.

    Raises:
        ExperimentError: a parameter does not fit the attributions, or modisco-lite cannot work with it.
        InputError: a score is not finite, or all windows have attributions of one sign.
        CherimoyaAssetsError: modisco-lite failed; the message has its last lines.
    """
    n, width = len(pooled.scores), pooled.scores.shape[2]
    if n:
        check_parameters(parameters, width)
    if not np.isfinite(pooled.scores).all():
        raise InputError("Some attributions are not finite; TF-MoDISco needs numbers. Compute them again.")
    counts = _count_seqlets(pooled, parameters) if n else (0, 0)
    if max(counts) <= MIN_METACLUSTER_SIZE:
        return _patterns(_empty_h5(parameters.window), pooled, parameters, counts)
    cap_hit = max(counts) > parameters.n_seqlets
    rows = np.random.default_rng(parameters.random_state).permutation(n) if cap_hit else None
    return _patterns(_run_modisco(pooled, parameters, rows, log), pooled, parameters, counts)


def pattern_seqlet_mismatches(patterns: ModiscoPatterns, genome: Genome) -> int:
    """How many seqlets of patterns hold another sequence in the h5 file than the genome has at our coordinates.

    On the - strand the genome is reverse-complemented first.
    """
    stored, wrong = _stored_sequences(patterns.h5), 0
    for chrom, table in patterns.seqlets.groupby("chrom", sort=False):
        first, last = int(table["start"].min()), int(table["end"].max())
        text = genome.fetch(str(chrom), first, last)
        wanted = ("metacluster", "pattern", "seqlet", "start", "end", "strand")
        for metacluster, pattern, seqlet, start, end, strand in zip(*(table[name] for name in wanted), strict=True):
            bases = text[start - first : end - first]
            wrong += stored[metacluster, pattern][seqlet] != (bases if strand == "+" else _reverse_complement(bases))
    return wrong


def check_parameters(parameters: Parameters, width: int) -> None:
    """Refuse what modisco-lite answers with an IndexError or, worse, with nothing.

    Args:
        parameters: as in `modisco motifs`.
        width: bp that are attributed.

    Raises:
        ExperimentError: a parameter does not fit the attributions, or modisco-lite cannot work with it.
    """
    window, size = parameters.window, parameters.size
    if window > width:
        raise ExperimentError(
            f"modisco.window is {window} but the attributions are {width} bp wide; "
            f"set modisco.window to {width - width % 2} or less, or raise attr_window."
        )
    if window % 2:
        raise ExperimentError(
            f"modisco.window is {window}, and modisco-lite takes even windows only; use {window - 1}."
        )
    if size > window:
        raise ExperimentError(f"modisco.size is {size}, longer than modisco.window ({window}); lower it.")
    narrowest = size + 2 * parameters.seqlet_flank_size
    if window < narrowest:
        # modisco-lite calls no window whose flanks would leave the crop (extract_seqlets), and then finds nothing.
        raise ExperimentError(
            f"modisco.window is {window}, and a seqlet of TF-MoDISco is {narrowest} bp wide (modisco.size {size} and "
            f"modisco.seqlet_flank_size {parameters.seqlet_flank_size} on each side), so that it finds nothing; raise "
            f"modisco.window, and attr_window with it, to {narrowest + narrowest % 2} or more, or lower modisco.size."
        )
    if parameters.seqlet_flank_size < 1:
        raise ExperimentError("modisco.seqlet_flank_size must be 1 or more; modisco-lite finds no seqlet with 0.")
    if parameters.n_seqlets < 1:
        raise ExperimentError("modisco.n_seqlets must be 1 or more.")


def _crop(width: int, window: int) -> int:
    """Start of modisco-lite's centred crop of `window` in `width` (modiscolite.util.calculate_window_offsets)."""
    return width // 2 - window // 2


def _count_seqlets(pooled: PooledAttributions, parameters: Parameters) -> tuple[int, int]:
    """Positive and negative seqlets before the cap, by the statements of modiscolite.tfmodisco.TFMoDISco (3.0.0)."""
    from modiscolite.core import TrackSet
    from modiscolite.extract_seqlets import extract_seqlets

    window, size, flank = parameters.window, parameters.size, parameters.seqlet_flank_size
    start = _crop(pooled.scores.shape[2], window)
    one_hot = pooled.one_hot[:, :, start : start + window].transpose(0, 2, 1).astype("float32")
    scores = pooled.scores[:, :, start : start + window].transpose(0, 2, 1).astype("float32")
    contributions = np.multiply(one_hot, scores)
    sums = contributions.sum(axis=2)
    if not _has_both_signs(sums, size, flank):
        return 0, 0
    try:
        coordinates, threshold = extract_seqlets(
            attribution_scores=sums,
            window_size=size,
            flank=flank,
            suppress=int(0.5 * size) + flank,
            target_fdr=0.05,
            min_passing_windows_frac=0.03,
            max_passing_windows_frac=0.2,
            weak_threshold_for_counting_sign=0.8,
        )
    except (IndexError, ZeroDivisionError) as error:
        # Its null is fitted to the windows on either side of their mode, where a handful of windows may have none.
        if _most_seqlets(sums, size, flank) > MIN_METACLUSTER_SIZE:
            raise InputError(
                f"TF-MoDISco finds no spread in the sums of attributions over {size} bp of {len(sums)} loci: nearly "
                "all windows are equal. Give it more loci, or look at the attributions."
            ) from error
        return 0, 0
    tracks = TrackSet(one_hot=one_hot, contrib_scores=contributions, hypothetical_contribs=scores)
    positive = negative = 0
    for seqlet in tracks.create_seqlets(coordinates):
        around = int(0.5 * (len(seqlet) - size))
        attribution = np.sum(seqlet.contrib_scores[around:-around])
        positive += bool(attribution > threshold)
        negative += bool(attribution < -threshold)
    return positive, negative


def _has_both_signs(sums: NDArray[np.float32], size: int, flank: int) -> bool:
    """Whether windows sum to both signs: modisco-lite fits a null to each, and divides by zero where one is missing.

    A missing sign is an error only where there could have been a pattern.
    """
    totals = np.cumsum(np.pad(sums, ((0, 0), (1, 0))), axis=1, dtype=np.float64)
    totals = totals[:, size:] - totals[:, :-size]
    missing = [sign for sign, there in (("negative", totals < 0), ("positive", totals > 0)) if not there.any()]
    if len(missing) == 1 and _most_seqlets(sums, size, flank) > MIN_METACLUSTER_SIZE:
        raise InputError(
            f"None of the {totals.size} windows of {size} bp has a {missing[0]} sum of attributions, and TF-MoDISco "
            "needs both signs to tell signal from noise. Give it more loci, and signed attributions."
        )
    return not missing


def _most_seqlets(sums: NDArray[np.float32], size: int, flank: int) -> int:
    """How many seqlets there can be at the most."""
    # A called window rules out the next size // 2 + flank, and the outer `flank` windows are not called.
    windows = sums.shape[1] - size + 1 - 2 * flank
    return len(sums) * -int(-windows // (int(0.5 * size) + flank + 1))


def _run_modisco(
    pooled: PooledAttributions,
    parameters: Parameters,
    rows: NDArray[np.int64] | None,
    log: Callable[[str], None] | None,
) -> bytes:
    """The h5 file of `modisco motifs` on these rows, in its own process, `example_idx` in rows of `pooled`."""
    with TemporaryDirectory(prefix="modisco_") as scratch:
        folder = Path(scratch)
        np.savez(folder / "ohe.npz", pooled.one_hot if rows is None else pooled.one_hot[rows])
        np.savez(folder / "attr.npz", pooled.scores if rows is None else pooled.scores[rows])
        flags = {
            "-s": "ohe.npz",
            "-a": "attr.npz",
            "-n": parameters.n_seqlets,
            "-l": parameters.n_leiden,
            "-w": parameters.window,
            "-z": parameters.size,
            "-t": parameters.trim_size,
            "-f": parameters.seqlet_flank_size,
            "-g": parameters.initial_flank_to_add,
            "-j": parameters.final_flank_to_add,
            "-o": "modisco_results.h5",
        }
        command = [sys.executable, "-c", COMMAND, "motifs", "-v"]
        command += [text for flag, value in flags.items() for text in (flag, str(value))]
        try:
            run_child(command, folder=folder, environment={"NUMBA_NUM_THREADS": str(available_cpus())}, log=log)
        except ChildError as failure:
            raise CherimoyaAssetsError(
                f"TF-MoDISco (modisco-lite) failed on {len(pooled.scores)} loci: it {failure.describe()}"
            ) from failure
        found = (folder / "modisco_results.h5").read_bytes()
    return found if rows is None else _map_rows(found, rows)


def _map_rows(h5: bytes, rows: NDArray[np.int64]) -> bytes:
    """The file with another row for every `example_idx`, those of subpatterns too."""
    import io

    import h5py

    def name_pooled_row(name: str, stored: Any) -> None:
        if name.endswith("/example_idx"):
            stored[...] = rows[stored[:]]

    changed = io.BytesIO(h5)
    with h5py.File(changed, "r+") as file:
        file.visititems(name_pooled_row)
    return changed.getvalue()


def _patterns(
    h5: bytes, pooled: PooledAttributions, parameters: Parameters, counts: tuple[int, int]
) -> ModiscoPatterns:
    """The patterns in `h5`, their seqlets placed on the genome."""
    start = _crop(pooled.scores.shape[2], parameters.window) if len(pooled.scores) else 0
    frames = []
    for metacluster, pattern, seqlets in _pattern_groups(h5):
        row = seqlets["example_idx"]
        offset = pooled.window_start[row] + start
        columns = (
            np.full(len(row), metacluster),
            np.full(len(row), pattern),
            np.arange(len(row)),
            pooled.chrom[row],
            offset + seqlets["start"],
            offset + seqlets["end"],
            np.where(seqlets["is_revcomp"], "-", "+"),
            pooled.locus_id[row],
            row,
        )
        frames.append(typed_table(COLUMNS, dict(zip(COLUMNS, columns, strict=True))))
    cap_hit = max(counts) > parameters.n_seqlets
    return ModiscoPatterns(
        h5=h5,
        seqlets=pd.concat(frames, ignore_index=True) if frames else typed_table(COLUMNS),
        n_positive=counts[0],
        n_negative=counts[1],
        cap=parameters.n_seqlets,
        cap_hit=cap_hit,
        permutation_seed=parameters.random_state if cap_hit else None,
    )


def _pattern_groups(h5: bytes) -> list[tuple[str, str, dict[str, NDArray[Any]]]]:
    """Metacluster, pattern and the coordinates of its seqlets, in the file's order of patterns (by number)."""
    import io

    import h5py

    wanted = ("example_idx", "start", "end", "is_revcomp")
    groups = []
    with h5py.File(io.BytesIO(h5), "r") as file:
        for metacluster in METACLUSTERS:
            for pattern in sorted(file.get(metacluster, ()), key=lambda name: int(name.rsplit("_", 1)[1])):
                seqlets = file[metacluster][pattern]["seqlets"]
                groups.append((metacluster, pattern, {name: seqlets[name][:] for name in wanted}))
    return groups


def _stored_sequences(h5: bytes) -> dict[tuple[str, str], list[str]]:
    """The sequences of each pattern's seqlets as text, from the one-hot encodings that modisco-lite stored."""
    import io

    import h5py

    letters = np.array(list(BASES + "N"))
    sequences = {}
    with h5py.File(io.BytesIO(h5), "r") as file:
        for metacluster in METACLUSTERS:
            for pattern in file.get(metacluster, ()):
                encoded = file[metacluster][pattern]["seqlets"]["sequence"][:]
                codes = np.where(encoded.sum(axis=2) == 1, encoded.argmax(axis=2), len(BASES))
                sequences[metacluster, pattern] = ["".join(letters[row]) for row in codes]
    return sequences


def _reverse_complement(bases: str) -> str:
    return bases[::-1].translate(str.maketrans("ACGT", "TGCA"))


def _empty_h5(window: int) -> bytes:
    """The file that modisco-lite writes when it finds nothing."""
    import io

    import h5py

    file = io.BytesIO()
    with h5py.File(file, "w") as handle:
        handle.attrs["window_size"] = window
    return file.getvalue()
