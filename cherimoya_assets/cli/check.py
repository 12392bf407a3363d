"""check: look at everything that an experiment needs, predict one locus with each fold, list all problems at once."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from cherimoya_assets.cli.arguments import add_device, add_experiment, add_home, writable_home
from cherimoya_assets.errors import Problems
from cherimoya_assets.printable import printable

if TYPE_CHECKING:
    from cherimoya_assets.assets.lineage import ExperimentLineage


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_experiment(parser)
    add_home(parser)
    add_device(parser)


def run(arguments: argparse.Namespace) -> int:
    from cherimoya_assets.assets.lineage import ExperimentLineage
    from cherimoya_assets.experiment import read_experiment
    from cherimoya_assets.installation import verify_installation
    from cherimoya_assets.preflight import check_experiment

    home = writable_home(arguments)
    verify_installation()
    if problems := check_experiment(arguments.experiment, home.cache, device=arguments.device):
        raise Problems(problems)
    lineage = ExperimentLineage(read_experiment(arguments.experiment), home)
    print(printable(f"{arguments.experiment}: ok"))
    for name, fact in facts(lineage, arguments.device or ""):
        print(printable(f"  {name:<13}{fact}"))
    return 0


def facts(lineage: ExperimentLineage, device: str) -> list[tuple[str, str]]:
    """What a run would do, in words; the name is empty where a line goes on."""
    from cherimoya_assets.analysis.models import family_of
    from cherimoya_assets.analysis.motifs import read_motifs, uneven
    from cherimoya_assets.resources.gpu import resolve_device

    experiment = lineage.experiment
    models = [
        f"{file.path.name} ({family_of(file).kind}{f', fold {fold}' if len(experiment.model) > 1 else ''})"
        for fold, file in experiment.model.items()
    ]
    words: list[str] = []
    resolve_device(device or experiment.device, words.append)
    lines = [
        *chroms_facts(lineage),
        *loci_facts(lineage),
        ("model", ", ".join(models)),
        ("heads", ", ".join(lineage.heads)),
        ("attribution", f"{experiment.algorithm}, the middle {experiment.attr_window} of {experiment.in_window} bp"),
        ("device", words[-1] if words else "cpu"),
    ]
    if experiment.automation.cron is not None:
        lines.append(("automation", f"at ticks of {experiment.automation.cron} in {experiment.schedule_timezone}"))
    if lineage.motif_file is not None:
        motifs = read_motifs(lineage.motif_file)
        lines.append(("motifs", f"{len(motifs):,} in {lineage.motif_file.name}"))
        if off := uneven(motifs):
            name, total = max(off.items(), key=lambda item: abs(item[1] - 1))
            lines.append(
                ("", f"{len(off):,} with probabilities that do not sum to 1 ({name}: {total:.3f}), taken as they are")
            )
    if lineage.marginalizes:
        lines.append(("backgrounds", backgrounds_fact(lineage)))
    else:
        lines.append(("backgrounds", "none, so nothing is marginalized: that needs `motifs` and `negatives`"))
    return lines


def chroms_facts(lineage: ExperimentLineage) -> list[tuple[str, str]]:
    """Which sequences of the genome were left out, and why, where the experiment does not name its chromosomes."""
    from cherimoya_assets.analysis.main_chromosomes import main_chromosomes
    from cherimoya_assets.preflight import some

    sizes = lineage.genome.chrom_sizes
    main = main_chromosomes(sizes)
    if lineage.experiment.chroms is not None or not main.left_out:
        return []
    how = "" if main.by_name else ", by their length; none is named as a chromosome"
    left_out = [f"left out: {len(names):,} {reason} ({some(names)})" for reason, names in main.left_out.items()]
    return [("chroms", f"{len(main.chosen):,} of {len(sizes):,} sequences{how}"), *(("", line) for line in left_out)]


def loci_facts(lineage: ExperimentLineage) -> list[tuple[str, str]]:
    """How many loci can be attributed on each chromosome, and why others cannot."""
    from cherimoya_assets.analysis.loci import KEPT, STATUSES, place_windows, read_loci
    from cherimoya_assets.assets.one_hot_sequences import exclusion_regions

    sizes, experiment = lineage.genome.chrom_sizes, lineage.experiment
    loci = place_windows(
        read_loci(experiment.loci, sizes), sizes, experiment.in_window, exclusion_regions(lineage), lineage.chroms
    )
    counts = loci["status"].value_counts()
    lost = [f"{counts[status]:,} {status}" for status in STATUSES if status != KEPT and counts.get(status)]
    kept = loci.loc[loci["status"] == KEPT, "chrom"].value_counts()
    by_chrom = ", ".join(f"{chrom} {kept.get(chrom, 0):,}" for chrom in lineage.chroms)
    return [
        ("loci", f"{counts.get(KEPT, 0):,} of {len(loci):,}" + (f"; lost: {', '.join(lost)}" if lost else "")),
        ("", by_chrom),
        ("", "windows that contain an N are found, and left out, when the sequence is read"),
    ]


def backgrounds_fact(lineage: ExperimentLineage) -> str:
    """How many backgrounds motifs are inserted into, of how many."""
    from cherimoya_assets.analysis.loci import KEPT, interleave, place_windows, read_loci
    from cherimoya_assets.assets.one_hot_sequences import exclusion_regions

    sizes, experiment = lineage.genome.chrom_sizes, lineage.experiment
    loci = interleave(read_loci(lineage.background_files, sizes), lineage.chroms)
    placed = place_windows(loci, sizes, experiment.in_window, exclusion_regions(lineage), lineage.chroms)
    usable = int((placed["status"] == KEPT).sum())
    drawn = "drawn from" if experiment.marginalize.shuffle else "the first of"
    return f"{min(experiment.marginalize.n_loci, usable):,}, {drawn} {usable:,}"
