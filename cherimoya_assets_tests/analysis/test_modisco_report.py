"""The report against `modisco report --lite` run on the same file, and against names that mean harm."""

from __future__ import annotations

import base64
import io
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import h5py
import matplotlib as mpl
import numba
import numpy as np
import pandas as pd
import pytest

from cherimoya_assets.analysis.modisco import ModiscoPatterns, discover_patterns, pool_blocks
from cherimoya_assets.analysis.modisco_report import modisco_report, numbered_meme
from cherimoya_assets.analysis.motifs import read_motifs
from cherimoya_assets.errors import CherimoyaAssetsError, InputError
from cherimoya_assets_tests.analysis.planted_motifs import MOTIFS, PARAMETERS

pytestmark = pytest.mark.slow

FEW = {"n_examples": 1, "n_matches": 2}
"""Drawing is what costs."""

HOSTILE = (
    "../../<b>x</b>",
    "<script>alert(1)</script> <b>bold</b>",
    "<b>a/b&c \"quoted\" 'too'</b>",
    "/etc/<b>{{ 7 * 7 }}</b>",
)
"""Names of the planted motifs, one of which is the nearest match of every pattern."""


def meme(names_and_words):
    """A MEME file of one motif a word, each of its letters nearly certain."""
    parts = ["MEME version 4\n\nALPHABET= ACGT\n\n"]
    for name, word in names_and_words:
        parts.append(f"MOTIF {name}\nletter-probability matrix: alength= 4 w= {len(word)} nsites= 20 E= 0\n")
        parts += [" ".join("0.91" if base == letter else "0.03" for base in "ACGT") + "\n" for letter in word]
        parts.append("\n")
    return "".join(parts)


def decoys(count):
    rng = np.random.default_rng(5)
    return ["".join(rng.choice(list("ACGT"), 10)) for _ in range(count)]


class Page(HTMLParser):
    """Tags, text, images and links of a page, and the rows of its tables."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.text, self.images, self.links, self.rows, self.in_cell = [], "", [], [], [], False
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        attributes = dict(attributes)
        self.tags.append(tag)
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th") and self.rows:
            self.rows[-1].append("")
            self.in_cell = True
        for name in ("src", "href"):
            if name in attributes:
                (self.images if tag == "img" else self.links).append(attributes[name])

    def handle_endtag(self, tag):
        self.in_cell = self.in_cell and tag not in ("td", "th")

    def handle_data(self, data):
        self.text += data
        if self.in_cell:
            self.rows[-1][-1] = " ".join((self.rows[-1][-1] + data).split())


def files(folder):
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def one_pattern(patterns, *kept):
    """The same patterns without all others: each costs seconds to draw."""
    file = io.BytesIO(patterns.h5)
    with h5py.File(file, "r+") as handle:
        for metacluster in list(handle):
            for pattern in list(handle[metacluster]):
                if f"{metacluster}/{pattern}" not in kept:
                    del handle[metacluster][pattern]
    names = patterns.seqlets["metacluster"] + "/" + patterns.seqlets["pattern"]
    return ModiscoPatterns(file.getvalue(), patterns.seqlets[names.isin(kept)], 1, 1, 1, False, None)


@pytest.fixture(scope="module")
def two_patterns(planted):
    return one_pattern(planted.patterns, "pos_patterns/pattern_0", "neg_patterns/pattern_1")


@pytest.fixture(scope="module")
def reported(two_patterns, tmp_path_factory):
    """The planted motifs under hostile names, among decoys, and the report of two of the patterns."""
    folder = tmp_path_factory.mktemp("reported")
    words = [*MOTIFS, *decoys(16)]
    names = [*HOSTILE, *(f"MA{i:04}.1 DECOY{i}" for i in range(len(words) - len(HOSTILE)))]
    (folder / "motifs.meme").write_text(meme(zip(names, words, strict=True)))
    (folder / "report").mkdir()
    modisco_report(two_patterns, folder / "motifs.meme", folder / "report", **FEW)
    return folder


def test_images_are_those_of_modisco_report_byte_for_byte(reported, two_patterns, tmp_path):
    """Its names of motifs have one word, because its logos are found by the first word only."""
    motifs = read_motifs(reported / "motifs.meme")
    (tmp_path / "own.meme").write_text(numbered_meme(motifs))
    (tmp_path / "patterns.h5").write_bytes(two_patterns.h5)
    command = [Path(sys.executable).with_name("modisco"), "report", "-i", "patterns.h5", "-o", "own", "-m", "own.meme"]
    command += ["--lite", "-n", str(FEW["n_matches"]), "--n_examples", str(FEW["n_examples"])]
    run = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    own, found = files(tmp_path / "own"), files(reported / "report")
    own_page, page = (Page(images.pop("report.html").decode()) for images in (own, found))
    assert found == own
    assert len(own) == 2 * (5 + FEW["n_examples"] + FEW["n_matches"])
    assert page.images == own_page.images
    names = list(motifs)
    matches = [row for row in own_page.rows if re.fullmatch(r"\d+", row[0])]
    assert len(matches) == 2 * FEW["n_matches"]
    assert [[rank, names[int(name)], logo, p] for rank, name, logo, p in matches] == [
        row for row in page.rows if re.fullmatch(r"\d+", row[0])
    ]


def test_a_planted_motif_is_the_nearest_match(reported, two_patterns):
    page = Page((reported / "report" / "report.html").read_text())
    nearest = [row for row in page.rows if row[0] == "1"]
    with h5py.File(io.BytesIO(two_patterns.h5), "r") as file:
        for row, pattern in zip(nearest, ("pos_patterns/pattern_0", "neg_patterns/pattern_1"), strict=True):
            text = "".join("ACGT"[base] for base in file[pattern]["sequence"][:].argmax(axis=1))
            both = text + "|" + text[::-1].translate(str.maketrans("ACGT", "TGCA"))
            assert list(MOTIFS)[HOSTILE.index(row[1])] in both


def test_names_of_motifs_are_text_in_the_page_and_name_no_file(reported):
    page = Page((reported / "report" / "report.html").read_text())
    assert "script" not in page.tags
    assert "b" not in page.tags
    assert sum(name in page.text for name in HOSTILE) >= 2
    allowed = r"report\.html|(logos|seqlet_examples|tomtom_logos)/(pos|neg)_patterns\.pattern_\d[/\w]*\.png"
    assert all(re.fullmatch(allowed, name) for name in files(reported / "report"))
    assert {path.name for path in reported.iterdir()} == {"motifs.meme", "report"}


def test_the_page_needs_nothing_but_itself(reported):
    """Every image is embedded and a PNG; links stay in the page."""
    source = (reported / "report" / "report.html").read_text()
    page = Page(source)
    assert page.images
    for image in page.images:
        head, data = image.split(",", 1)
        assert head == "data:image/png;base64"
        assert base64.b64decode(data, validate=True).startswith(b"\x89PNG")
    assert all(link.startswith("#") for link in page.links)
    assert "url(" not in source
    assert not {"link", "script", "iframe", "object"} & set(page.tags)


def test_the_page_calls_a_p_value_a_p_value_and_shows_as_many_matches_as_asked_for(reported):
    page = Page((reported / "report" / "report.html").read_text())
    assert "Q-value" not in page.text
    assert "the top 2 matches" in page.text
    header = next(row for row in page.rows if row[0] == "Pattern")
    assert header[6:] == ["Match 0", "P-value", "Logo", "Match 1", "P-value", "Logo"]
    assert all(len(row) == len(header) for row in page.rows if re.search(r"(pos|neg)_patterns", row[0]))


def test_without_a_motif_database_patterns_keep_their_own_names_and_look_the_same(reported, two_patterns, tmp_path):
    modisco_report(one_pattern(two_patterns, "pos_patterns/pattern_0"), None, tmp_path, n_examples=FEW["n_examples"])
    found, others = files(tmp_path), files(reported / "report")
    page = Page(found.pop("report.html").decode())
    assert found == {name: others[name] for name in others if re.match(r"(logos|seqlet_examples)/pos_patterns", name)}
    assert [row[0] for row in page.rows if "_patterns" in row[0]] == ["pos_patterns.pattern_0"]
    assert "Match 0" not in {cell for row in page.rows for cell in row}


@pytest.mark.parametrize("names", [(), ("only",)])
def test_no_patterns_give_a_page_that_says_so(tmp_path, names):
    motif_file = None
    if names:
        motif_file = tmp_path / "motifs.meme"
        motif_file.write_text(meme([(name, "ACGTAC") for name in names]))
    (tmp_path / "report").mkdir()
    modisco_report(discover_patterns(pool_blocks([], []), PARAMETERS), motif_file, tmp_path / "report")
    page = Page((tmp_path / "report" / "report.html").read_text())
    assert "No patterns were found" in page.text
    assert page.images == []
    assert list(files(tmp_path / "report")) == ["report.html"]


def test_fewer_motifs_than_matches_are_all_shown(two_patterns, tmp_path):
    (tmp_path / "motifs.meme").write_text(meme([("MA1.1 ONE", next(iter(MOTIFS))), ("two", "GGGGGGGG")]))
    (tmp_path / "report").mkdir()
    patterns = one_pattern(two_patterns, "neg_patterns/pattern_1")
    modisco_report(patterns, tmp_path / "motifs.meme", tmp_path / "report", n_matches=5, n_examples=1)
    page = Page((tmp_path / "report" / "report.html").read_text())
    assert {row[1] for row in page.rows if row[0] in ("1", "2", "3")} == {"MA1.1 ONE", "two"}
    # Called after the alternate name, whichever is nearer.
    assert re.search(r"ONE;two|two;ONE", page.text)


def test_the_state_of_the_process_is_left_alone(tmp_path):
    def state():
        return (
            pd.options.display.max_colwidth,
            mpl.get_backend(),
            numba.get_num_threads(),
            Path.cwd(),
            "modiscolite.report" in sys.modules,
        )

    sys.modules.pop("modiscolite.report", None)
    before = state()
    (tmp_path / "motifs.meme").write_text(meme([("one", "ACGTAC")]))
    modisco_report(discover_patterns(pool_blocks([], []), PARAMETERS), tmp_path / "motifs.meme", tmp_path)
    assert state() == before


def test_probabilities_reach_tomtom_with_every_digit(tmp_path):
    from memelite.io import read_meme

    rng = np.random.default_rng(2)
    motifs = {name: rng.dirichlet(np.ones(4), 7).T for name in HOSTILE}
    motifs["tiny"] = np.array([[1.0, 1e-300, 0.1 + 0.2], [0.0, 1.0, 0.3], [0.0, 0.0, 0.4], [0.0, 0.0, 0.0]])
    (tmp_path / "m.meme").write_text(numbered_meme(motifs))
    found = read_meme(tmp_path / "m.meme")
    assert list(found) == [str(i) for i in range(len(motifs))]
    for own, matrix in zip(found.values(), motifs.values(), strict=True):
        np.testing.assert_array_equal(own, matrix)


def test_a_motif_file_that_cannot_be_read_is_refused_before_anything_is_drawn(two_patterns, tmp_path):
    with pytest.raises(InputError, match=r"motifs\.meme: no such file"):
        modisco_report(two_patterns, tmp_path / "motifs.meme", tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_failure_of_modisco_lite_is_told_with_its_last_lines(tmp_path):
    with pytest.raises(CherimoyaAssetsError, match=r"could not draw the report.*exit code 1[^$]*OSError"):
        modisco_report(ModiscoPatterns(b"no h5", pd.DataFrame(), 0, 0, 1, False, None), None, tmp_path)
