"""`cherimoya-assets check`: what a run would do, from looking and from one locus."""

from __future__ import annotations

import pytest

from cherimoya_assets_tests.cli.command import command
from cherimoya_assets_tests.tiny_experiment import tiny_experiment

pytestmark = pytest.mark.usefixtures("only_one_locus")


def facts(said) -> dict[str, str]:
    """The lines behind the first, by their names."""
    lines = [line[2:] for line in said.out.splitlines()[1:]]
    return {line[:13].strip(): line[13:] for line in lines if line[:13].strip()}


def test_a_good_experiment_is_ok_with_what_a_run_would_do(tmp_path):
    experiment = tiny_experiment(tmp_path, {"output": ["counts", "profile"]})
    said = command("check", experiment)
    assert (said.code, said.err) == (0, "")
    assert said.out.splitlines()[0] == f"{experiment}: ok"
    assert facts(said) == {
        "loci": "5 of 6; lost: 1 edge",
        "model": "model.torch (cherimoya)",
        "heads": "counts, profile",
        "attribution": "saturation_mutagenesis, the middle 20 of 150 bp",
        "device": "cpu",
        "motifs": "2 in motifs.meme",
        "backgrounds": "4, drawn from 9",
    }
    assert "chrA 3, chrB 2, chrC 0" in said.out


def test_motifs_that_are_no_probabilities_to_the_digit_are_named(tmp_path):
    experiment = tiny_experiment(tmp_path)
    text = (tmp_path / "motifs.meme").read_text()
    (tmp_path / "motifs.meme").write_text(text.replace("0.1 0.1 0.1 0.7", "0.1 0.1 0.1 0.66"))
    said = command("check", experiment)
    assert said.code == 0
    assert "1 with probabilities that do not sum to 1 (two: 0.960), taken as they are" in said.out


def test_what_is_left_out_of_the_genome_is_named_with_its_reason(tmp_path):
    experiment = tiny_experiment(tmp_path)
    genome = tmp_path / "genome.fa"
    others = "".join(f">{name}\nACGT\n" for name in ("chrM", "chrUn_1", "chrUn_2", "chrUn_3", "chrUn_4"))
    genome.write_text(genome.read_text() + others)
    said = command("check", experiment)
    assert facts(said)["chroms"] == "3 of 8 sequences"
    assert "left out: 1 mitochondria and plastids (chrM)" in said.out
    assert "left out: 4 unplaced, unlocalized or heterochromatic (chrUn_1, chrUn_2, chrUn_3 and 1 more)" in said.out
    experiment = tiny_experiment(tmp_path, {"chroms": ["chrA"]})
    assert "chroms" not in facts(command("check", experiment))


def test_losses_are_counted_as_a_run_counts_them(tmp_path):
    """By hand: of chrA's three peaks one touches the exclusion list; of chrB's three one is at the edge; no chrC."""
    experiment = tiny_experiment(tmp_path, {"chroms": ["chrA"], "exclusion_lists": ["x.bed"]})
    (tmp_path / "x.bed").write_text("chrA\t900\t901\n")
    said = command("check", experiment)
    assert facts(said)["loci"] == "2 of 6; lost: 1 exclusion, 3 chromosome not selected"


def test_without_motifs_or_negatives_nothing_is_marginalized(tmp_path):
    experiment = tiny_experiment(tmp_path, {"negatives": None, "marginalize": {}})
    assert facts(command("check", experiment))["backgrounds"].startswith("none, so nothing is marginalized")


def test_folds_are_named(tmp_path):
    experiment = tiny_experiment(tmp_path, {"model": {"a": "model.torch", "b": "model.torch"}})
    said = facts(command("check", experiment))
    assert said["model"] == "model.torch (cherimoya, fold a), model.torch (cherimoya, fold b)"


def test_nothing_is_made_but_the_cache(tmp_path):
    experiment = tiny_experiment(tmp_path)
    assert command("check", experiment, "--home", tmp_path / "home").code == 0
    assert [path.name for path in (tmp_path / "home").iterdir()] == ["cache"]
