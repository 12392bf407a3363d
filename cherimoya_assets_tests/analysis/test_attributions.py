"""Attributions, against `cherimoya attribute` run as a command and against the libraries' functions called directly."""

from __future__ import annotations

import json
import subprocess
import sys
from copy import deepcopy
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from cherimoya_assets.analysis.attributions import AttributionBlock, attribute
from cherimoya_assets.analysis.genome import open_genome
from cherimoya_assets.analysis.loci import EDGE, EXCLUDED, HAS_N, KEPT, interleave, place_windows, read_loci
from cherimoya_assets.analysis.methods import METHODS
from cherimoya_assets.analysis.models import load_model
from cherimoya_assets.analysis.one_hot import SequenceBlock, one_hot_sequences
from cherimoya_assets.demo import DEMO_EXPERIMENT
from cherimoya_assets.errors import ModelError
from cherimoya_assets_tests.small_models import IN_WINDOW, NamedFile, bpnet_file, cherimoya_file, chrombpnet_file

DEMO = DEMO_EXPERIMENT.parent
ALGORITHMS = ("saturation_mutagenesis", "deep_lift_shap")
HEADS = ("counts", "profile")
KINDS = ("cherimoya", "several groups and controls", "bpnet", "chrombpnet")
SHUFFLES, SEED, ATTR_WINDOW = 3, 5, 12

# bpnet-lite has an elementwise rule for its profile head, and tangermeme says at each call that it does not add up.
pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore:Convergence deltas are:RuntimeWarning")]


def attributed(models, block, *, algorithm, **changes):
    """`changes` are parameters of any method, of which the chosen one takes its own, and arguments."""
    method = METHODS[algorithm]
    parameters = {"n_shuffles": SHUFFLES, "random_state": SEED, "warning_threshold": None, **changes}
    chosen = method(**{name: value for name, value in parameters.items() if name in method.model_fields})
    known = {name for one in METHODS.values() for name in one.model_fields}
    arguments = {name: value for name, value in changes.items() if name not in known}
    return attribute(models, block, method=chosen, **{"outputs": HEADS, "attr_window": ATTR_WINDOW, **arguments})


def assert_equal_to_rounding(ours, theirs):
    assert (ours.dtype, ours.shape) == (np.float32, theirs.shape)
    assert np.abs(theirs).max() > 0
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=2e-5 * np.abs(theirs).max())


# The demo's genome, peaks, negatives and model, run once by `cherimoya attribute` and chromosome by chromosome here.

REAL_WINDOW, REAL_ATTR_WINDOW = 718, 20
CHROMS = ("chrVI", "chrI")


@pytest.fixture(scope="module")
def real(tmp_path_factory):
    """A few demo loci in two files: one at an edge, one excluded, one on a stretch that the genome does not know."""
    folder = tmp_path_factory.mktemp("real")
    for name, rows in (("peaks.narrowPeak", 3), ("negatives.bed", 1)):
        lines = (DEMO / name).read_text().splitlines()
        few = [line for chrom in sorted(CHROMS) for line in [x for x in lines if x.startswith(f"{chrom}\t")][:rows]]
        (folder / name).write_text("\n".join(few) + "\n")
    peaks = read_loci([folder / "peaks.narrowPeak"])
    demo = open_genome(DEMO / "sacCer3.fa.gz", folder / "cache")
    unknown = peaks.iloc[2]
    (folder / "genome.fa").write_text("".join(f">{c}\n{_bases(demo, c, unknown)}\n" for c in sorted(CHROMS)))
    (folder / "exclusion.bed").write_text("\t".join(map(str, peaks.iloc[4][["chrom", "start", "end"]])) + "\n")
    return folder


def _bases(genome, chrom, unknown):
    bases = genome.fetch(chrom, 0, genome.chrom_sizes[chrom])
    return bases if chrom != unknown["chrom"] else bases[: unknown["start"]] + "N" + bases[unknown["start"] + 1 :]


@pytest.fixture(scope="module")
def blocks(real):
    """Chromosome to block, and the placed loci of both in cherimoya's order."""
    genome = open_genome(real / "genome.fa", real / "cache")
    loci = interleave(read_loci([real / "peaks.narrowPeak", real / "negatives.bed"], genome.chrom_sizes), CHROMS)
    excluded = read_loci([real / "exclusion.bed"])
    loci = place_windows(loci, genome.chrom_sizes, REAL_WINDOW, excluded, CHROMS)
    return {c: one_hot_sequences(genome, loci[loci["chrom"] == c], c, REAL_WINDOW) for c in CHROMS}, loci


@pytest.fixture(scope="module", params=ALGORITHMS)
def partitioned(request, blocks):
    """The algorithm, and what it gives for each chromosome on its own."""
    model = {"model": load_model(NamedFile(DEMO / "model.torch"))}
    # The dense engine: windowed mutagenesis has a tolerance, and tests of its own.
    changes = {"attr_window": REAL_ATTR_WINDOW, "algorithm": request.param, "tolerance": 0.0}
    return request.param, {chrom: attributed(model, block, **changes)[0] for chrom, block in blocks[0].items()}


@pytest.mark.parametrize("head", HEADS)
def test_chromosome_by_chromosome_equals_one_cherimoya_attribute(real, blocks, partitioned, head, tmp_path):
    algorithm, ours = partitioned
    parameters = {
        "sequences": str(real / "genome.fa"),
        "loci": [str(real / "peaks.narrowPeak"), str(real / "negatives.bed")],
        "exclusion_lists": [str(real / "exclusion.bed")],
        "chroms": list(CHROMS),
        "model": str(DEMO / "model.torch"),
        "in_window": REAL_WINDOW,
        "attr_window": REAL_ATTR_WINDOW,
        "algorithm": algorithm,
        "output": "logcounts" if head == "counts" else head,
        "n_shuffles": SHUFFLES,
        "random_state": SEED,
        "device": "cpu",
    }
    (tmp_path / "attribute.json").write_text(json.dumps(parameters))
    command = [Path(sys.executable).with_name("cherimoya"), "attribute", "-p", "attribute.json"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    theirs = np.load(tmp_path / "attributions.attr.npz")["arr_0"]
    one_hot = np.load(tmp_path / "attributions.ohe.npz")["arr_0"]

    tables, loci = blocks
    status = pd.concat(block.loci for block in tables.values()).set_index("locus_id")["status"]
    kept = [name for name in loci["locus_id"] if status[name] == KEPT]
    place = {name: (chrom, row) for chrom in CHROMS for row, name in enumerate(ours[chrom][head].locus_id)}
    rows = [(ours[place[name][0]][head], place[name][1]) for name in kept]
    assert_equal_to_rounding(np.stack([block.scores[row] for block, row in rows]), theirs)
    np.testing.assert_array_equal(np.stack([block.one_hot[row] for block, row in rows]), one_hot)
    mask = np.load(tmp_path / "attributions.idx.npy")
    np.testing.assert_array_equal([status[name] == KEPT for name in loci["locus_id"]], mask)
    # The loci are such that each way of getting lost was walked, and there is more than one to compare on each.
    assert set(status) == {KEPT, EDGE, EXCLUDED, HAS_N}
    assert all(sum(block.chrom == chrom for block, _ in rows) >= 2 for chrom in CHROMS)


def test_what_is_attributed_is_the_sequence_at_its_coordinates(real, partitioned):
    genome = open_genome(real / "genome.fa", real / "cache")
    for chrom, heads in partitioned[1].items():
        for block in heads.values():
            for start, row in zip(block.window_start, block.one_hot, strict=True):
                letters = "".join("ACGT"[base] for base in row.argmax(axis=0))
                assert letters == genome.fetch(chrom, int(start), int(start) + REAL_ATTR_WINDOW)
                assert (row.sum(axis=0) == 1).all()


# Small models of every kind.


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models")
    files = (
        cherimoya_file(folder),
        cherimoya_file(folder, signal_groups=(1, 2), controls=2),
        bpnet_file(folder),
        chrombpnet_file(folder),
    )
    return {kind: load_model(file) for kind, file in zip(KINDS, files, strict=True)}


def block_of(n: int, seed: int = 0) -> SequenceBlock:
    letters = np.random.default_rng(seed).integers(0, 4, (n, IN_WINDOW))
    loci = pd.DataFrame(
        {
            "locus_id": [f"chrA:{k}-{k + 40}" for k in range(n)],
            "window_start": 1000 * np.arange(n, dtype=np.int64),
            "status": KEPT,
        }
    )
    one_hot = np.ascontiguousarray(np.eye(4, dtype=np.int8)[letters].transpose(0, 2, 1))
    return SequenceBlock("chrA", one_hot, loci)


def rows_of(block: SequenceBlock, rows: list[int]) -> SequenceBlock:
    return replace(block, one_hot=block.one_hot[rows], loci=block.loci.iloc[rows].reset_index(drop=True))


def directly(model, X, algorithm, head, group, start, end):
    """The library's own function, called once on everything, in the library's own wrapper."""
    X = torch.from_numpy(X).float()
    if algorithm == "deep_lift_shap" and (model.kind == "chrombpnet" or (model.kind, head) == ("bpnet", "profile")):
        # As `bpnet attribute` makes both.
        model, X = replace(model, module=deepcopy(model.module).double()), X.double()
    wrapper = model.counts_wrapper(group) if head == "counts" else model.profile_wrapper(group)
    if algorithm == "saturation_mutagenesis":
        from tangermeme.saturation_mutagenesis import saturation_mutagenesis

        return saturation_mutagenesis(wrapper, X, start=start, end=end, hypothetical=True, device="cpu").numpy()
    arguments = {"hypothetical": True, "n_shuffles": SHUFFLES, "device": "cpu", "random_state": SEED}
    if model.kind == "cherimoya":
        from cherimoya.deep_lift_shap import deep_lift_shap

        output = "logcounts" if head == "counts" else "profile"
        whole = deep_lift_shap(model.module, X, output=output, group=group, warning_threshold=None, **arguments)
    else:
        from bpnetlite.attribute import deep_lift_shap

        whole = deep_lift_shap(wrapper, X, warning_threshold=float("inf"), **arguments)
    return whole[:, :, start:end].numpy()


@pytest.mark.parametrize("head", HEADS)
@pytest.mark.parametrize("algorithm", ALGORITHMS)
@pytest.mark.parametrize(("kind", "group"), [*((kind, 0) for kind in KINDS), ("several groups and controls", 1)])
def test_every_kind_equals_its_own_library(models, kind, group, algorithm, head):
    block, start = block_of(3), IN_WINDOW // 2 - ATTR_WINDOW // 2
    ours = attributed({"one": models[kind]}, block, algorithm=algorithm, group=group)[0][head].scores
    theirs = directly(models[kind], block.one_hot, algorithm, head, group, start, start + ATTR_WINDOW)
    assert_equal_to_rounding(ours, theirs)


@pytest.mark.parametrize("attr_window", [1, 7, 12, IN_WINDOW])
def test_the_attributed_window_is_the_middle_as_cherimoya_cuts_it(models, attr_window):
    block = block_of(2)
    found = attributed({"one": models["bpnet"]}, block, algorithm="deep_lift_shap", attr_window=attr_window)[0]
    start = IN_WINDOW // 2 - attr_window // 2
    whole = attributed({"one": models["bpnet"]}, block, algorithm="deep_lift_shap", attr_window=IN_WINDOW)[0]
    for head in HEADS:
        np.testing.assert_array_equal(found[head].one_hot, block.one_hot[:, :, start : start + attr_window])
        np.testing.assert_array_equal(found[head].window_start, block.kept["window_start"] + start)
        np.testing.assert_array_equal(found[head].scores, whole[head].scores[:, :, start : start + attr_window])


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_folds_give_the_mean_of_each_fold_alone(tmp_path, models, algorithm):
    folds = {name: load_model(cherimoya_file(tmp_path, seed=seed)) for seed, name in enumerate(("b", "a", "algorithm"))}
    # Of another family, and of the same groups and profile.
    folds["bpnet"] = load_model(bpnet_file(tmp_path, outputs=1, trimming=folds["a"].trimming))
    block = block_of(2)
    together, reports = attributed(folds, block, algorithm=algorithm)
    turned, _ = attributed(dict(reversed(folds.items())), block, algorithm=algorithm)
    alone = [attributed({name: model}, block, algorithm=algorithm)[0] for name, model in sorted(folds.items())]
    for head in HEADS:
        each = np.stack([blocks[head].scores for blocks in alone]).astype(np.float64)
        assert all(not np.array_equal(each[0], other) for other in each[1:])
        np.testing.assert_array_equal(together[head].scores, (each.sum(axis=0) / len(folds)).astype(np.float32))
        np.testing.assert_array_equal(together[head].scores, turned[head].scores)
        assert reports[head]["algorithm"] == algorithm
        assert set(reports[head]["folds"]) == set(folds)
        json.dumps(reports[head])


@pytest.mark.parametrize("algorithm", ALGORITHMS)
@pytest.mark.parametrize("kind", KINDS)
def test_a_locus_has_the_same_bits_whichever_partition_it_is_in(models, kind, algorithm):
    whole = block_of(5)
    together = attributed({"one": models[kind]}, whole, algorithm=algorithm)[0]
    for rows in ([0, 1], [2], [4, 3]):
        alone = attributed({"one": models[kind]}, rows_of(whole, rows), algorithm=algorithm)[0]
        for head in HEADS:
            np.testing.assert_array_equal(alone[head].scores, together[head].scores[rows])
            np.testing.assert_array_equal(alone[head].locus_id, together[head].locus_id[rows])


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_one_head_alone_is_the_same_head(models, algorithm):
    block = block_of(2)
    both = attributed({"one": models["cherimoya"]}, block, algorithm=algorithm)[0]
    for head in HEADS:
        alone = attributed({"one": models["cherimoya"]}, block, algorithm=algorithm, outputs=(head,))[0]
        assert list(alone) == [head]
        np.testing.assert_array_equal(alone[head].scores, both[head].scores)
        assert alone[head].head == head


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_progress_runs_over_all_folds(models, algorithm, tmp_path):
    told: list[tuple[int, int]] = []
    folds = {"a": models["cherimoya"], "b": load_model(cherimoya_file(tmp_path, seed=1))}
    attributed(folds, block_of(2), algorithm=algorithm, progress=lambda *now: told.append(now))
    assert told == [(1, 4), (2, 4), (3, 4), (4, 4)]


@pytest.mark.parametrize("algorithm", ALGORITHMS)
@pytest.mark.parametrize("lost", [0, 2])
def test_a_chromosome_without_a_usable_locus_is_valid(models, algorithm, lost, tmp_path):
    block = block_of(lost)
    block = replace(block, one_hot=block.one_hot[:0], loci=block.loci.assign(status=EDGE))
    for head, found in attributed({"one": models["cherimoya"]}, block, algorithm=algorithm)[0].items():
        assert (found.scores.shape, found.scores.dtype) == ((0, 4, ATTR_WINDOW), np.float32)
        assert (found.one_hot.shape, found.one_hot.dtype) == ((0, 4, ATTR_WINDOW), np.int8)
        assert found.projected.shape == (0, ATTR_WINDOW)
        (tmp_path / head).mkdir()
        found.write(tmp_path / head)
        assert_same_block(AttributionBlock.read(tmp_path / head), found)


# What does not fit.


ONE_GROUP, NO_GROUP_1 = "cherimoya", r"cherimoya_1_0_0\.torch: has 1 signal group\(s\), so there is no group 1\."
NO_FLOAT64 = r"\S+: cannot compute in float64; .* Set dtype to one of float32, bfloat16, float16\.$"


@pytest.mark.parametrize(
    ("algorithm", "kind", "changes", "sentence"),
    [
        *((algorithm, ONE_GROUP, {"group": 1}, NO_GROUP_1) for algorithm in ALGORITHMS),
        *((algorithm, "bpnet", {"group": 1}, r"bpnet_0\.torch: has 1 signal group") for algorithm in ALGORITHMS),
        *((algorithm, "bpnet", {"dtype": "float64"}, NO_FLOAT64) for algorithm in ALGORITHMS),
        (
            "deep_lift_shap",
            "bpnet",
            {"dtype": "bfloat16"},
            r"bpnet_0\.torch: dtype says bfloat16, .*Set dtype to float32",
        ),
        *((algorithm, "bpnet", {}, r"The folds a .* and b .* do not predict the same: ") for algorithm in ALGORITHMS),
        (
            "deep_lift_shap",
            "cherimoya",
            {"group": None},
            r"\S+: DeepLIFT/SHAP attributes one output, .*Set group to one",
        ),
    ],
)
def test_what_does_not_fit_is_one_sentence_before_any_work(models, algorithm, kind, changes, sentence, monkeypatch):
    for method in METHODS.values():
        monkeypatch.setattr(method, "engine", lambda *_, **__: pytest.fail("something was computed"))
    # Both folds are looked at before the first is computed.
    folds = {"a": models["several groups and controls"], "b": models[kind]}
    with pytest.raises(ModelError, match=f"^{sentence}") as caught:
        attributed(folds, block_of(1), algorithm=algorithm, **changes)
    assert "\n" not in str(caught.value)


def test_a_window_narrower_than_the_trimming_is_one_sentence(models):
    narrow = replace(block_of(1), one_hot=block_of(1).one_hot[:, :, :100])
    attributed({"a": models["cherimoya"]}, narrow, algorithm="saturation_mutagenesis")
    with pytest.raises(ModelError, match=r"bpnet\S+: trims 53 bp on each side, so an in_window of 100 leaves no"):
        attributed({"a": models["cherimoya"], "b": models["bpnet"]}, narrow, algorithm="saturation_mutagenesis")


def test_no_fold_is_one_sentence():
    with pytest.raises(ModelError, match="no model was given"):
        attributed({}, block_of(1), algorithm="saturation_mutagenesis")


# The block.


def assert_same_block(found: AttributionBlock, expected: AttributionBlock) -> None:
    assert (found.chrom, found.head) == (expected.chrom, expected.head)
    for name in ("scores", "one_hot", "locus_id", "window_start"):
        ours, theirs = getattr(found, name), getattr(expected, name)
        assert ours.dtype == theirs.dtype
        np.testing.assert_array_equal(ours, theirs)


def some_block(chrom: str = "chrA") -> AttributionBlock:
    random = np.random.default_rng(0)
    return AttributionBlock(
        chrom,
        "profile",
        random.normal(size=(3, 4, 7)).astype(np.float32),
        np.ascontiguousarray(np.eye(4, dtype=np.int8)[random.integers(0, 4, (3, 7))].transpose(0, 2, 1)),
        np.array(["chrA:1-2", "chrA:1-2/2", "é" * 40]),
        np.array([0, 2**40, 5]),
    )


@pytest.mark.parametrize("chrom", ["chrA", "../x", "chr1_KI270706v1|é"])
def test_a_block_is_read_as_it_was_written(chrom, tmp_path):
    some_block(chrom).write(tmp_path)
    assert_same_block(AttributionBlock.read(tmp_path), some_block(chrom))
    assert len(list(tmp_path.iterdir())) == 3


def test_a_stored_block_is_the_fields_two_files(tmp_path):
    """`modisco motifs -s ... -a ...` and `cherimoya seqlets` take the first array of each."""
    some_block().write(tmp_path)
    for name, expected in (("ohe", some_block().one_hot), ("attr", some_block().scores)):
        with np.load(tmp_path / f"attributions.{name}.npz") as archive:
            assert archive.files == ["arr_0"]
            np.testing.assert_array_equal(archive["arr_0"], expected)


@pytest.mark.parametrize("name", ["attributions.ohe.npz", "attributions.attr.npz", "loci.npz"])
def test_a_pickled_array_in_a_stored_block_is_not_opened(name, tmp_path):
    some_block().write(tmp_path)
    arrays = np.array([{"any": "object"}], dtype=object)
    np.savez(tmp_path / name, arr_0=arrays, chrom=arrays, head=arrays, locus_id=arrays, window_start=arrays)
    with pytest.raises(ValueError, match="allow_pickle=False"):
        AttributionBlock.read(tmp_path)


def test_projected_is_the_score_of_the_base_that_is_there():
    block = some_block()
    bases = block.one_hot.argmax(axis=1)
    expected = np.take_along_axis(block.scores, bases[:, None], axis=1)[:, 0]
    np.testing.assert_array_equal(block.projected, expected)
    assert block.projected.dtype == np.float32
