"""Marginalization on real loci, motifs and model, against cherimoya, bpnet-lite and tangermeme on the same input."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch

from cherimoya_assets.analysis.genome import Genome, open_genome
from cherimoya_assets.analysis.loci import interleave, place_windows, read_loci
from cherimoya_assets.analysis.marginalization import (
    BACKGROUND_COLUMNS,
    EFFECT_COLUMNS,
    Backgrounds,
    EffectTable,
    consensus_sequence,
    draw_backgrounds,
    insertions,
    marginalization_effects,
    pool_effects,
)
from cherimoya_assets.analysis.models import load_model
from cherimoya_assets.analysis.motifs import read_motifs
from cherimoya_assets.analysis.mutagenesis.edits import edited
from cherimoya_assets.analysis.one_hot import encode
from cherimoya_assets.errors import InputError, ModelError
from cherimoya_assets_tests.demo_inputs import IN_WINDOW, demo_genome, demo_model
from cherimoya_assets_tests.narrow_demo import DEMO
from cherimoya_assets_tests.small_models import IN_WINDOW as SMALL_WINDOW
from cherimoya_assets_tests.small_models import bpnet_file, cherimoya_file, chrombpnet_file

CHROMS = ("chrXII", "chrIII", "chrI")
N_LOCI = 9
MOTIFS = ("MA0363.3 REB1", "MA0265.3 ABF1", "MA0359.3 RAP1")
TIE = """
MOTIF tie
letter-probability matrix: alength= 4 w= 5
0.25 0.25 0.25 0.25
0.1 0.4 0.1 0.4
0.0 0.0 0.5 0.5
0.4 0.1 0.4 0.1
0.3 0.2 0.2 0.3
"""


@dataclass(frozen=True)
class Real:
    """Backgrounds of the demo on three chromosomes, and a few motifs of its database."""

    genome: Genome
    backgrounds: Backgrounds
    meme: str
    motifs: dict[str, np.ndarray]
    effects: dict[str, EffectTable]


@pytest.fixture(scope="module")
def real(tmp_path_factory) -> Real:
    folder = tmp_path_factory.mktemp("real")
    head, *entries = (DEMO / "JASPAR2024_CORE_fungi.meme").read_text().split("MOTIF ")
    chosen = [entry for entry in entries if entry.split("\n")[0].split(".")[0] in {m.split(".")[0] for m in MOTIFS}]
    (folder / "motifs.meme").write_text("MOTIF ".join([head, *chosen]) + TIE)
    motifs = read_motifs(folder / "motifs.meme")
    assert len(motifs) == len(MOTIFS) + 1
    genome = demo_genome(folder)
    loci = placed(genome, [DEMO / "negatives.bed"], CHROMS)
    drawn = draw_backgrounds(genome, loci, IN_WINDOW, n_loci=N_LOCI, shuffle=True, random_state=0)
    effects = {chrom: marginalized(genome, drawn.on(chrom), motifs, chrom) for chrom in CHROMS}
    return Real(genome, drawn, str(folder / "motifs.meme"), motifs, effects)


def placed(genome, files, chroms, in_window=IN_WINDOW, exclusion=None):
    return place_windows(interleave(read_loci(files), chroms), genome.chrom_sizes, in_window, exclusion, chroms)


def windows(genome, backgrounds, in_window):
    """Windows in the order of the draw, float32 (n, 4, in_window)."""
    rows = backgrounds.table[["chrom", "window_start"]].itertuples(index=False)
    return torch.from_numpy(
        np.stack([encode(genome.fetch(chrom, start, start + in_window)) for chrom, start in rows])
    ).float()


def marginalized(genome, backgrounds, motifs, chrom, models=None, in_window=IN_WINDOW, **changes) -> EffectTable:
    return marginalization_effects(
        {"fold": demo_model()} if models is None else models,
        genome,
        backgrounds,
        motifs,
        **{
            "chrom": chrom,
            "in_window": in_window,
            "batch_size": None,
            "device": "cpu",
            "dtype": "float32",
            **changes,
        },
    )


def column(effects: EffectTable, backgrounds: Backgrounds, head: str, name: str, group: int = 0) -> np.ndarray:
    """One column of the table as (motifs, backgrounds), in the order of the database and of the draw."""
    table = effects.table[(effects.table["head"] == head) & (effects.table["group"] == group)]
    wide = table.pivot(index="motif", columns="locus_id", values=name)
    return wide.loc[list(effects.motifs), list(backgrounds.table["locus_id"])].to_numpy()


def assert_same(one: EffectTable, other: EffectTable) -> None:
    pd.testing.assert_frame_equal(one.table, other.table, check_exact=True)
    np.testing.assert_array_equal(one.profile_before, other.profile_before)
    np.testing.assert_array_equal(one.profile_after, other.profile_after)
    assert (one.chrom, one.motifs, one.consensus, one.n_backgrounds) == (
        other.chrom,
        other.motifs,
        other.consensus,
        other.n_backgrounds,
    )


@pytest.fixture
def small(tmp_path):
    """A small genome of random sequence, and eight backgrounds on it."""
    rng = np.random.default_rng(0)
    (tmp_path / "small.fa").write_text(">chrA\n" + "".join(rng.choice(list("ACGT"), 3000)) + "\n")
    (tmp_path / "small.bed").write_text("".join(f"chrA\t{s}\t{s + 20}\n" for s in range(200, 2600, 300)))
    genome = open_genome(tmp_path / "small.fa", tmp_path / "cache")
    loci = placed(genome, [tmp_path / "small.bed"], ["chrA"], SMALL_WINDOW)
    return genome, draw_backgrounds(genome, loci, SMALL_WINDOW, n_loci=8, shuffle=False, random_state=0)


SMALL_MOTIFS = {"even": np.eye(4)[[0, 1, 2, 3]].T, "odd": np.eye(4)[[3, 3, 1, 0, 2]].T}


# --- the draw


@pytest.mark.parametrize(
    ("shuffle", "random_state", "n_loci", "files", "exclusion"),
    [
        (True, 0, 20, 1, True),
        (True, 7, 20, 2, True),
        (False, 0, 20, 2, False),
        (False, 0, 20, 1, True),
        (True, 0, 10_000, 1, True),
    ],
)
def test_draw_is_the_one_of_cherimoya_marginalize(
    real, tmp_path, monkeypatch, shuffle, random_state, n_loci, files, exclusion
):
    import bpnetlite.marginalize
    from cherimoya_cli.commands.marginalize import run

    rows = [line for line in (DEMO / "negatives.bed").read_text().splitlines() if line.split("\t")[0] in CHROMS]
    # Near an end, and beside the region that is excluded.
    rows = ["chrI\t10\t100", "chrXII\t451100\t451300", *rows]
    paths = [tmp_path / f"{k}.bed" for k in range(files)]
    for k, path in enumerate(paths):
        path.write_text("\n".join(rows[k::files]) + "\n")
    given = []
    monkeypatch.setattr(bpnetlite.marginalize, "marginalization_report", lambda *args, **_: given.append(args[2]))
    parameters = {
        "model": str(DEMO / "model.torch"),
        "sequences": str(real.genome.fasta),
        "loci": [str(path) for path in paths],
        "exclusion_lists": [str(DEMO / "exclusion.bed")] if exclusion else None,
        "motifs": real.meme,
        "chroms": list(CHROMS),
        "in_window": IN_WINDOW,
        "n_loci": n_loci,
        "shuffle": shuffle,
        "random_state": random_state,
        "device": "cpu",
        "compile": False,
    }
    (tmp_path / "marginalize.json").write_text(json.dumps(parameters))
    run(SimpleNamespace(parameters=str(tmp_path / "marginalize.json")))

    regions = read_loci([DEMO / "exclusion.bed"]) if exclusion else None
    loci = placed(real.genome, paths, CHROMS, exclusion=regions)
    drawn = draw_backgrounds(real.genome, loci, IN_WINDOW, n_loci=n_loci, shuffle=shuffle, random_state=random_state)
    assert set(loci["status"]) == {"kept", "edge", *(["exclusion"] if exclusion else [])}
    assert len(drawn.table) == min(n_loci, drawn.n_available)
    assert list(drawn.table["draw"]) == list(range(len(drawn.table)))
    assert torch.equal(windows(real.genome, drawn, IN_WINDOW), given[0])


def test_split_draw_is_the_draw(real):
    parts = [real.backgrounds.on(chrom).table for chrom in CHROMS]
    assert all(len(part) for part in parts)
    together = pd.concat(parts).sort_values("draw", ignore_index=True)
    pd.testing.assert_frame_equal(together, real.backgrounds.table)


def test_a_window_with_unknown_bases_is_passed_over_and_the_next_takes_its_place(tmp_path):
    bases = np.random.default_rng(1).choice(list("ACGT"), 2000)
    bases[[310, 1100]] = "N"
    (tmp_path / "n.fa").write_text(">chrA\n" + "".join(bases) + "\n")
    (tmp_path / "n.bed").write_text("".join(f"chrA\t{s}\t{s + 20}\n" for s in range(100, 1900, 100)))
    genome = open_genome(tmp_path / "n.fa", tmp_path / "cache")
    loci = placed(genome, [tmp_path / "n.bed"], ["chrA"], SMALL_WINDOW)
    known = loci[[not any(start <= at < start + SMALL_WINDOW for at in (310, 1100)) for start in loci["window_start"]]]
    for shuffle in (True, False):
        drawn = draw_backgrounds(genome, loci, SMALL_WINDOW, n_loci=99, shuffle=shuffle, random_state=3)
        order = np.arange(len(loci))
        if shuffle:
            np.random.RandomState(3).shuffle(order)
        expected = [loci["locus_id"][row] for row in order if row in known.index]
        assert list(drawn.table["locus_id"]) == expected
        assert (drawn.n_available, drawn.n_unknown) == (len(loci), len(loci) - len(known))
        assert drawn.n_unknown == 2
        few = draw_backgrounds(genome, loci, SMALL_WINDOW, n_loci=5, shuffle=shuffle, random_state=3)
        assert list(few.table["locus_id"]) == expected[:5]


def test_no_usable_locus_gives_no_backgrounds(real):
    loci = placed(real.genome, [DEMO / "negatives.bed"], CHROMS).assign(status="edge")
    drawn = draw_backgrounds(real.genome, loci, IN_WINDOW, n_loci=5, shuffle=True, random_state=0)
    assert {name: str(kind) for name, kind in drawn.table.dtypes.items()} == BACKGROUND_COLUMNS
    assert (len(drawn.table), drawn.n_available) == (0, 0)


# --- the effects


def test_numbers_are_those_of_bpnetlites_report(real, tmp_path, monkeypatch):
    import bpnetlite.marginalize
    from cherimoya import ControlWrapper

    plotted = {}

    def keep(*values, path, **_):
        plotted[path.removeprefix(str(tmp_path / "report") + "/")] = values

    monkeypatch.setattr(bpnetlite.marginalize, "_plot_profiles", keep)
    monkeypatch.setattr(bpnetlite.marginalize, "_plot_counts", keep)
    bpnetlite.marginalize.marginalization_report(
        ControlWrapper(demo_model().module),
        real.meme,
        windows(real.genome, real.backgrounds, IN_WINDOW),
        str(tmp_path / "report") + "/",
        attributions=False,
        minimal=False,
        device="cpu",
    )
    pooled = pool_effects(list(real.effects.values()))
    before, after = (column(pooled, real.backgrounds, "counts", name) for name in ("before", "after"))
    assert np.abs(after - before).max() > 0.1
    for k, motif in enumerate(pooled.motifs):
        name = motif.replace(" ", "_")
        theirs = plotted[f"{name}.counts.png"]
        np.testing.assert_allclose(before[k], theirs[0][:, 0], rtol=1e-5)
        np.testing.assert_allclose(after[k], theirs[1][:, 0], rtol=1e-5)
        np.testing.assert_allclose((after - before)[k].mean(), (theirs[1] - theirs[0]).mean(), atol=1e-5)
        for ours, kind in (
            (pooled.mean_profile_before(), "before"),
            (pooled.mean_profile_after()[k], "after"),
            (pooled.mean_profile_after()[k] - pooled.mean_profile_before(), "diff"),
        ):
            profile = plotted[f"{name}.profile.{kind}.png"][0]
            assert np.abs(profile).max() > 1e-4
            np.testing.assert_allclose(ours.T, profile, rtol=0, atol=1e-7)


@pytest.mark.parametrize("kind", ["two groups", "bpnet", "chrombpnet"])
def test_every_group_of_every_model_as_tangermeme_marginalizes_it(small, tmp_path, kind):
    from tangermeme.marginalize import marginalize

    genome, drawn = small
    make = {
        "two groups": lambda: cherimoya_file(tmp_path, signal_groups=(1, 2), controls=1),
        "bpnet": lambda: bpnet_file(tmp_path),
        "chrombpnet": lambda: chrombpnet_file(tmp_path),
    }
    model = load_model(make[kind]())
    effects = marginalized(genome, drawn, SMALL_MOTIFS, "chrA", {"fold": model}, SMALL_WINDOW)
    X = windows(genome, drawn, SMALL_WINDOW)
    groups = len(model.signal_groups)
    assert set(effects.table["group"]) == set(range(groups))
    for k, (motif, matrix) in enumerate(SMALL_MOTIFS.items()):
        (logits_before, counts_before), (logits_after, counts_after) = marginalize(
            model.with_controls(), X, consensus_sequence(matrix), device="cpu"
        )
        softmax = torch.nn.functional.softmax
        assert effects.mean_profile_before().shape == logits_before.shape[1:]
        np.testing.assert_allclose(
            effects.mean_profile_before(), softmax(logits_before.double(), dim=-1).mean(dim=0), rtol=0, atol=1e-7
        )
        np.testing.assert_allclose(
            effects.mean_profile_after()[k], softmax(logits_after.double(), dim=-1).mean(dim=0), rtol=0, atol=1e-7
        )
        for group in range(groups):
            score_before, score_after = marginalize(
                model.profile_wrapper(group), X, consensus_sequence(matrix), device="cpu"
            )
            for head, name, theirs in (
                ("counts", "before", counts_before[:, group]),
                ("counts", "after", counts_after[:, group]),
                ("profile", "before", score_before[:, 0]),
                ("profile", "after", score_after[:, 0]),
            ):
                ours = column(effects, drawn, head, name, group)[list(SMALL_MOTIFS).index(motif)]
                assert np.ptp(ours) > 0
                np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-6)


def test_chromosomes_pooled_are_one_run_on_everything(real):
    at_once = pool_effects([marginalized(real.genome, real.backgrounds, real.motifs, "")])
    pooled = pool_effects(list(real.effects.values()))
    # The rows of a motif stand in the order of chromosomes there, of the draw here.
    keys = ["motif", "head", "group", "locus_id"]
    assert_same(
        replace(pooled, table=pooled.table.sort_values(keys, ignore_index=True)),
        replace(at_once, table=at_once.table.sort_values(keys, ignore_index=True)),
    )
    assert pooled.n_backgrounds == N_LOCI


@pytest.mark.parametrize("threads", [1, 2])
def test_numbers_do_not_hang_on_threads_that_another_library_set(real, threads):
    """numba sets OpenMP's number of threads, and with it torch's, when tangermeme reads loci or memelite matches."""
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(threads)
        again = {chrom: marginalized(real.genome, real.backgrounds.on(chrom), real.motifs, chrom) for chrom in CHROMS}
        assert torch.get_num_threads() == threads
    finally:
        torch.set_num_threads(before)
    assert_same(pool_effects(list(again.values())), pool_effects(list(real.effects.values())))


def test_pooled_rows_are_grouped_by_motif_head_and_group_in_the_order_of_the_database(real):
    pooled = pool_effects(list(real.effects.values()))
    assert list(pooled.table["motif"].drop_duplicates()) == list(real.motifs)
    ids = [locus for chrom in CHROMS for locus in real.backgrounds.on(chrom).table["locus_id"]]
    for _, rows in pooled.table.groupby(["motif", "head", "group"]):
        assert list(rows["locus_id"]) == ids
        assert list(rows.index) == list(range(rows.index[0], rows.index[0] + N_LOCI))


def test_profiles_add_up_to_the_same_whole_numbers_in_any_order(real):
    tables = list(real.effects.values())
    there, back = pool_effects(tables), pool_effects(tables[::-1])
    np.testing.assert_array_equal(there.profile_after, back.profile_after)
    np.testing.assert_array_equal(there.profile_before, back.profile_before)
    # Each is a probability: the sum over the window is one a background.
    np.testing.assert_allclose(there.mean_profile_after().sum(axis=-1), 1, atol=1e-9)


def test_effects_are_the_mean_over_folds(small, tmp_path):
    genome, drawn = small
    files = {f"fold_{seed}": cherimoya_file(tmp_path, signal_groups=(1, 1), seed=seed) for seed in (1, 2, 3)}
    folds = {fold: load_model(file) for fold, file in files.items()}
    alone = [marginalized(genome, drawn, SMALL_MOTIFS, "chrA", {fold: m}, SMALL_WINDOW) for fold, m in folds.items()]
    both = marginalized(genome, drawn, SMALL_MOTIFS, "chrA", folds, SMALL_WINDOW)
    for name in ("before", "after"):
        values = np.stack([one.table[name] for one in alone])
        assert np.ptp(values, axis=0).min() > 0
        np.testing.assert_allclose(both.table[name], values.mean(axis=0), rtol=1e-12)
    for ours, theirs in (
        (both.mean_profile_before(), [one.mean_profile_before() for one in alone]),
        (both.mean_profile_after(), [one.mean_profile_after() for one in alone]),
    ):
        np.testing.assert_allclose(ours, np.mean(theirs, axis=0), rtol=0, atol=1e-11)


def test_folds_that_predict_different_things_are_one_sentence(small, tmp_path):
    genome, drawn = small
    folds = {"a": load_model(cherimoya_file(tmp_path)), "b": load_model(cherimoya_file(tmp_path, signal_groups=(2,)))}
    with pytest.raises(ModelError, match=r"^The folds a \(cherimoya_1_0_0.torch\) and b .* \[1\] channels .* \[2\]"):
        marginalized(genome, drawn, SMALL_MOTIFS, "chrA", folds, SMALL_WINDOW)
    with pytest.raises(ModelError, match="no model was given"):
        marginalized(genome, drawn, SMALL_MOTIFS, "chrA", {}, SMALL_WINDOW)


def test_a_motif_longer_than_the_window_is_one_sentence(small, tmp_path):
    genome, drawn = small
    models = {"fold": load_model(cherimoya_file(tmp_path))}
    fits = {"fits": np.tile(np.eye(4)[[2]].T, SMALL_WINDOW)}
    effects = marginalized(genome, drawn, fits, "chrA", models, SMALL_WINDOW)
    # It covers every background, so that nothing is left of what differed.
    assert column(effects, drawn, "counts", "after").std() < 1e-6 < column(effects, drawn, "counts", "before").std()
    longer = {"too long": np.tile(np.eye(4)[[2]].T, SMALL_WINDOW + 1)}
    with pytest.raises(InputError, match=r"^motif 'too long' is 151 bp long, but the model's input is 150\. Remove"):
        marginalized(genome, drawn, longer, "chrA", models, SMALL_WINDOW)


def test_a_chromosome_without_backgrounds_is_empty_and_changes_nothing(real):
    empty = marginalized(real.genome, real.backgrounds.on("chrVI"), real.motifs, "chrVI")
    assert {name: str(kind) for name, kind in empty.table.dtypes.items()} == EFFECT_COLUMNS
    assert (len(empty.table), empty.n_backgrounds, empty.motifs) == (0, 0, tuple(real.motifs))
    assert not empty.mean_profile_after().any()
    tables = list(real.effects.values())
    assert_same(pool_effects([empty, *tables]), pool_effects(tables))
    assert pool_effects([empty]).table.empty


def test_progress_counts_backgrounds(small, tmp_path):
    genome, drawn = small
    seen = []
    models = {"fold": load_model(cherimoya_file(tmp_path))}
    marginalized(genome, drawn, SMALL_MOTIFS, "chrA", models, SMALL_WINDOW, progress=lambda *place: seen.append(place))
    assert seen[-1] == (8, 8)
    assert [done for done, _ in seen] == sorted({done for done, _ in seen})


def test_chromosomes_of_different_databases_are_not_pooled(real):
    first, second, _ = real.effects.values()
    with pytest.raises(InputError, match="different motif databases"):
        pool_effects([first, replace(second, consensus=("A", *second.consensus[1:]))])


# --- insertion


def test_consensus_is_bpnetlites_ties_included(real):
    from tangermeme.io import read_meme

    for name, matrix in read_meme(real.meme).items():
        theirs = "".join(np.array(["A", "C", "G", "T"])[matrix.argmax(axis=0)])
        assert consensus_sequence(real.motifs[name]) == theirs
    assert consensus_sequence(real.motifs["tie"]) == "ACGAA"


@pytest.mark.parametrize("length", [40, 41])
def test_insertions_stand_where_tangermeme_puts_them(length):
    from tangermeme.ersatz import substitute

    rng = np.random.default_rng(0)
    background = encode("".join(rng.choice(list("ACGT"), length)))
    sequences = ["".join(rng.choice(list("ACGT"), width)) for width in range(1, length + 1)]
    X = edited(background, insertions(length, sequences))
    np.testing.assert_array_equal(X[0], background)
    for one, sequence in zip(X[1:], sequences, strict=True):
        np.testing.assert_array_equal(one, substitute(torch.from_numpy(background)[None], sequence)[0])


# --- on disk


def test_what_is_written_reads_back(real, tmp_path):
    for name, value in (("backgrounds", real.backgrounds), ("effects", real.effects["chrI"])):
        (tmp_path / name).mkdir()
        value.write(tmp_path / name)
    drawn = Backgrounds.read(tmp_path / "backgrounds")
    pd.testing.assert_frame_equal(drawn.table, real.backgrounds.table)
    assert (drawn.n_available, drawn.n_unknown, drawn.random_state) == (real.backgrounds.n_available, 0, 0)
    assert_same(EffectTable.read(tmp_path / "effects"), real.effects["chrI"])
