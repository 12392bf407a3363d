"""The page read back with an HTML parser: what it says, that it says it safely, and that it needs nothing else."""

from __future__ import annotations

import math
import re
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pandas as pd
import pytest

from cherimoya_assets.analysis.loci import EDGE, EXCLUDED, HAS_N, KEPT
from cherimoya_assets.reports.experiment_report import (
    TOP_EFFECTS,
    TOP_MOTIFS,
    Agreement,
    ExperimentSummary,
    Head,
    Pattern,
    Provenance,
    experiment_page,
    number,
    p_value,
    seconds,
    write_experiment_report,
)
from cherimoya_assets.reports.lineage_picture import BY_CHROMOSOME, INPUT, POOLED, Step

CHROMS = ("chrII", "chrI")
LEDGER = {"chrII": {KEPT: 1200, EDGE: 3, HAS_N: 0, EXCLUDED: 4}, "chrI": {KEPT: 34, EDGE: 0, HAS_N: 5, EXCLUDED: 0}}
HOSTILE = "\"><script>alert('x')</script>&amp;"
VOID = {"meta", "br", "path", "rect", "circle", "use", "img", "link"}


def head(name, motifs=("REB1", "ABF1", "RAP1")):
    return Head(
        name,
        pd.DataFrame(
            {
                "chrom": CHROMS,
                "loci": [1200, 34],
                "mean_absolute": [0.002, 0.004],
                "seconds": [312.0, 8.25],
                "seqlets": [4000, 21],
            }
        ),
        [Pattern("pos_patterns.pattern_0", 412, np.eye(4), "REB1", 1.3e-9)],
        (2500, 12),
        pd.DataFrame({"motif": motifs, "seqlets": range(100, 100 - len(motifs), -1), "score": 7.5}),
    )


def effects(means):
    return pd.DataFrame(
        {
            "motif": [f"M{i}" for i in range(len(means))],
            "mean": means,
            "low": np.array(means) - 0.1,
            "high": np.array(means) + 0.1,
            "backgrounds": 100,
        }
    )


def summary(**changes):
    correlations = pd.DataFrame({"pearson": [0.2, 0.4, np.nan, 0.9], "spearman": [0.1, 0.3, np.nan, 0.5]})
    rows = [(chrom, status, n) for chrom, counts in LEDGER.items() for status, n in counts.items()]
    return replace(
        ExperimentSummary(
            name="yeast_atac",
            method="saturation mutagenesis over the central 400 bp",
            folds=("fold_0", "fold_1"),
            devices=("cuda:0",),
            ledger=pd.DataFrame(rows, columns=["chrom", "status", "n"]),
            not_selected=pd.DataFrame({"chrom": ["chrM"], "n": [7]}),
            heads=(head("counts"), head("profile", ("REB1", "TBP"))),
            effects=effects([0.5, -2.0, 1.0]),
            agreement=Agreement("counts", "profile", correlations),
            lineage=(Step("peaks", INPUT, "peaks.bed", ()), Step("seqlets", BY_CHROMOSOME, "", ("peaks",))),
            provenance=Provenance(
                "cherimoya-assets run '/data/my lab/yeast.yaml' --home /data/home",
                pd.DataFrame({"input": ["genome"], "file": ["sacCer3.fa.gz"], "version": ["0123456789abcdef"]}),
                pd.DataFrame(
                    {
                        "asset": ["counts/attributions"],
                        "partitions": [2],
                        "version": ["fedcba9876543210"],
                        "device": ["cuda:0"],
                        "parameters": ["attr_window 400"],
                    }
                ),
                {"torch": ["2.13.0"], "tangermeme": ["1.5.0", "1.6.0"]},
            ),
            links=(("TF-MoDISco report, counts", "../../counts/modisco_report/_pooled/latest/report.html"),),
        ),
        **changes,
    )


class Page(HTMLParser):
    """Sections by id: their text and their table rows; every tag and attribute; fails on tags that do not match."""

    def __init__(self, html):
        super().__init__()
        self.open, self.tags, self.section = [], [], "header"
        self.text, self.rows = {"header": ""}, {"header": []}
        self.feed(html)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)
        if tag == "section":
            self.section = dict(attrs)["id"]
            self.text[self.section], self.rows[self.section] = "", []
        if tag == "tr":
            self.rows[self.section].append([])
        if tag in ("td", "th"):
            self.rows[self.section][-1].append("")

    def handle_startendtag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if "style" in self.open:
            return
        self.text[self.section] += data
        if self.open and "tr" in self.open and ("td" in self.open or "th" in self.open):
            self.rows[self.section][-1][-1] += data

    def row(self, section, first):
        return next([cell.strip() for cell in row[1:]] for row in self.rows[section] if row and row[0].strip() == first)

    def plain(self, section):
        return " ".join(self.text[section].split())


def test_summary_line_says_what_was_done_in_plain_words():
    said = Page(experiment_page(summary())).plain("header")
    assert "1,234 of 1,246 loci on 2 chromosomes were analysed; 12 left out" in said
    assert "3 over the edge of a chromosome, 5 with unknown bases, 4 on an exclusion list" in said
    assert "saturation mutagenesis over the central 400 bp of the mean of 2 model folds, computed on cuda:0" in said


def test_ledger_has_every_status_of_every_chromosome_and_adds_up():
    page = Page(experiment_page(summary()))
    assert page.row("loci", "chromosome") == [KEPT, EDGE, HAS_N, EXCLUDED, "loci"]
    assert page.row("loci", "chrII") == ["1,200", "3", "0", "4", "1,207"]
    assert page.row("loci", "chrI") == ["34", "0", "5", "0", "39"]
    assert page.row("loci", "together") == ["1,234", "3", "5", "4", "1,246"]
    assert "7 loci on chromosomes that were not selected (chrM: 7)" in page.plain("loci")


def test_contributions_and_seqlets_by_chromosome_with_the_mean_over_all_loci():
    page = Page(experiment_page(summary()))
    assert page.row("chromosomes", "chrII") == ["1,200", "0.00200", "4,000", "3.33", "5 min 12 s"]
    mean = (1200 * 0.002 + 34 * 0.004) / 1234
    assert page.row("chromosomes", "together") == ["1,234", f"{mean:.5f}", "4,021", "3.26", "5 min 20 s"]


def test_patterns_show_logo_count_and_match():
    page = Page(experiment_page(summary()))
    assert page.row("patterns", "pos_patterns.pattern_0") == ["", "412", "REB1", "1.3 × 10⁻⁹"]
    logos = [attrs for tag, attrs in page.tags if tag == "svg" and attrs.get("class") == "logo"]
    assert len(logos) == 2
    referred = {attrs["href"] for tag, attrs in page.tags if tag == "use"}
    assert referred <= {f"#{attrs['id']}" for tag, attrs in page.tags if tag == "path" and "id" in attrs}


def test_effects_are_sorted_by_size_and_the_rest_is_counted():
    page = Page(experiment_page(summary()))
    assert [row[0] for row in page.rows["effects"][1:]] == ["M1", "M2", "M0"]
    assert page.row("effects", "M1") == ["−2.00", "−2.10 to −1.90", "", "×0.135", "100"]
    many = Page(experiment_page(summary(effects=effects(list(np.linspace(0.1, 2, TOP_EFFECTS + 5))))))
    assert len(many.rows["effects"]) == 1 + TOP_EFFECTS
    assert "other 5" in many.plain("effects")


def test_heads_are_compared_by_correlation_and_by_what_only_one_has():
    page = Page(experiment_page(summary()))
    said = page.plain("heads")
    assert "3 loci (1 more have the same contribution everywhere" in said
    assert "Pearson: median 0.40 (middle half 0.30 to 0.65)" in said
    assert page.row("heads", "nearest motifs of the seqlets") == ["ABF1RAP1", "TBP"]
    assert page.row("heads", "nearest motifs of the patterns") == ["none", "none"]


def test_long_lists_of_motifs_are_cut_and_counted():
    names = tuple(f"M{i}" for i in range(TOP_MOTIFS + 40))
    page = Page(experiment_page(summary(heads=(head("counts", names),), agreement=None)))
    assert len(page.rows["motifs"]) == 1 + TOP_MOTIFS
    assert "and 40 more motifs" in page.plain("motifs")
    assert "heads" not in page.text


def test_provenance_names_command_versions_and_mixtures():
    said = Page(experiment_page(summary())).plain("provenance")
    assert "cherimoya-assets run '/data/my lab/yeast.yaml' --home /data/home" in said
    assert "0123456789ab" in said
    assert "tangermeme 1.5.0, 1.6.0" in said
    assert "attr_window 400" in said


def test_what_was_not_computed_is_said_and_what_would_compute_it():
    heads = tuple(
        replace(one, motifs=None, patterns=[replace(one.patterns[0], match=None, p_value=None)])
        for one in summary().heads
    )
    page = Page(experiment_page(summary(heads=heads, effects=None)))
    assert "names no motif database" in page.plain("motifs")
    assert "needs a motif database (motifs) and background loci (negatives)" in page.plain("effects")
    assert page.row("patterns", "pos_patterns.pattern_0") == ["", "412", "no database", "–"]
    assert "Pearson" in page.plain("heads")


def test_an_experiment_in_which_nothing_was_found_has_a_page():
    nothing = head("counts")
    nothing = replace(
        nothing,
        by_chromosome=nothing.by_chromosome.assign(loci=0, mean_absolute=math.nan, seconds=math.nan, seqlets=0),
        patterns=[],
        extracted=(0, 0),
        motifs=nothing.motifs[:0],
    )
    empty = summary(
        ledger=summary().ledger.assign(n=0),
        not_selected=pd.DataFrame({"chrom": [], "n": []}),
        heads=(nothing, replace(nothing, name="profile")),
        effects=effects([]),
        agreement=Agreement("counts", "profile", pd.DataFrame({"pearson": [], "spearman": []}, dtype=float)),
        lineage=(),
    )
    page = Page(experiment_page(empty))
    assert "0 of 0 loci" in page.plain("header")
    assert "extracted 0 positive and 0 negative seqlets" in page.plain("patterns")
    assert page.row("chromosomes", "together") == ["0", "–", "0", "–", "–"]
    assert not re.search(r"\bnan\b", experiment_page(empty), re.IGNORECASE)


def test_no_name_from_a_file_becomes_markup():
    one = head("counts", (HOSTILE, "REB1"))
    one = replace(
        one,
        by_chromosome=one.by_chromosome.assign(chrom=[HOSTILE, "chrI"]),
        patterns=[replace(one.patterns[0], name=HOSTILE, match=HOSTILE)],
    )
    html = experiment_page(
        summary(
            heads=(one, head("profile")),
            ledger=summary().ledger.replace("chrI", HOSTILE),
            not_selected=pd.DataFrame({"chrom": [HOSTILE], "n": [1]}),
            effects=effects([1.0]).assign(motif=HOSTILE),
            lineage=(Step(HOSTILE, POOLED, HOSTILE, ()),),
            devices=(HOSTILE,),
            links=((HOSTILE, "x.html"),),
        )
    )
    page = Page(html)
    assert "<script" not in html
    assert html.count("alert(") >= 10
    assert page.row("effects", HOSTILE)
    assert page.row("patterns", HOSTILE)[2] == HOSTILE


def test_page_stands_alone():
    html = experiment_page(summary())
    page = Page(html)
    assert not {tag for tag, _ in page.tags} & {"script", "iframe", "object", "link", "img", "form"}
    for _, attributes in page.tags:
        assert not [name for name in attributes if name.startswith("on")]
        for name in ("href", "src"):
            assert not re.match(r"[a-z]+:|//|/", attributes.get(name, ""))
    assert "url(" not in html
    assert "@import" not in html


def test_the_same_summary_gives_the_same_bytes(tmp_path):
    for name in ("a.html", "b.html"):
        write_experiment_report(summary(), tmp_path / name)
    first = (tmp_path / "a.html").read_bytes()
    assert first == (tmp_path / "b.html").read_bytes()
    assert first.decode("utf-8").startswith("<!doctype html>")


def test_page_of_a_large_experiment_is_light():
    chroms = [f"scaffold_{i}" for i in range(100)]
    table = pd.DataFrame({"chrom": chroms, "loci": 9, "mean_absolute": 0.1, "seconds": 1.0, "seqlets": 5})
    rng = np.random.default_rng(0)
    patterns = [Pattern(f"pos_patterns.pattern_{i}", 20, rng.normal(size=(30, 4)), "M", 0.1) for i in range(60)]
    heads = tuple(replace(head(name), by_chromosome=table, patterns=patterns) for name in ("counts", "profile"))
    assert len(experiment_page(summary(heads=heads)).encode()) < 1_500_000


@pytest.mark.parametrize(
    ("write", "value", "text"),
    [
        (number, 0, "0.00"),
        (number, 1234.5, "1,234"),
        (number, -0.01234, "−0.0123"),
        (number, 0.00001234, "1.23 × 10⁻⁵"),
        (number, 9.996, "10.0"),
        (number, math.nan, "–"),
        (number, None, "–"),
        (number, math.inf, "∞"),
        (p_value, 0.0312, "0.031"),
        (p_value, 0.00312, "0.0031"),
        (p_value, 3.12e-10, "3.1 × 10⁻¹⁰"),
        (p_value, 0.0, "0.0"),
        (seconds, 0.5, "0.50 s"),
        (seconds, 59.9, "60 s"),
        (seconds, 3599.6, "1 h 0 min"),
        (seconds, math.nan, "–"),
    ],
)
def test_numbers_are_written_for_people(write, value, text):
    assert write(value) == text
