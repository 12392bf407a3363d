"""The marginalization page and bpnet-lite's layout: their numbers, their order, hostile names, nothing fetched."""

from __future__ import annotations

import re
from html.parser import HTMLParser

import numpy as np
import pytest

from cherimoya_assets.analysis.effect_summary import effect_summary
from cherimoya_assets.analysis.marginalization import PROFILE_UNIT, EffectTable, consensus_sequence
from cherimoya_assets.analysis.tables import typed_table
from cherimoya_assets.errors import InputError
from cherimoya_assets.reports.marginalization import (
    MOST_POINTS,
    PAGE,
    effects_digest,
    ranked_motifs,
    safe_file_names,
    write_bpnetlite_layout,
    write_marginalization_report,
)

HOSTILE = (
    "../x",
    "/etc/passwd",
    "<script>alert(1)</script>",
    '" onerror="alert(2)',
    "javascript:alert(3)",
    "..",
    "a|b *c* [d](http://evil.example)",
    "ἀ é",
)
PLAIN = ("MA0363.3 REB1", "A::B/c", "plain")


def made(names, backgrounds=5, groups=1, channels=1, length=101, seed=0):
    """Random effects of motifs with these names, and the motifs."""
    rng = np.random.default_rng(seed)
    motifs = {name: rng.dirichlet([0.3] * 4, size=6 + k % 4).T for k, name in enumerate(names)}
    rows = [
        (name, f"chrI:{i}", head, group, *rng.normal(4, 1, size=2))
        for name in names
        for head in ("counts", "profile")
        for group in range(groups)
        for i in range(backgrounds)
    ]
    columns = ["motif", "locus_id", "head", "group", "before", "after"]
    dtypes = dict(zip(columns, ["object", "object", "object", "int64", "float64", "float64"], strict=True))
    table = typed_table(dtypes, {name: [row[k] for row in rows] for k, name in enumerate(columns)})
    profiles = rng.dirichlet(np.ones(length), size=(len(names) + 1, channels)) * backgrounds / PROFILE_UNIT
    whole = np.rint(profiles).astype(np.int64)
    consensus = tuple(consensus_sequence(matrix) for matrix in motifs.values())
    return EffectTable("", table, tuple(names), consensus, whole[0], whole[1:], backgrounds), motifs


class Page(HTMLParser):
    """Every tag with its attributes, the text of the table's cells; fails on tags that do not match."""

    def __init__(self, html):
        super().__init__()
        self.open, self.tags, self.rows, self.text = [], [], [], ""
        self.feed(html)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in {"meta", "img", "br", "path", "use", "circle", "rect", "link"}:
            self.open.append(tag)
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self.rows[-1].append("")

    def handle_startendtag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if "style" in self.open:
            return
        self.text += data
        if "svg" not in self.open and ("td" in self.open or "th" in self.open):
            self.rows[-1][-1] += data

    def all(self, tag):
        return [attrs for name, attrs in self.tags if name == tag]


def page(folder, effects, motifs, minimal=True):
    write_marginalization_report(effects, motifs, folder, minimal=minimal, title="yeast")
    return Page((folder / PAGE).read_text(encoding="utf-8"))


def layout(folder, effects, minimal=True):
    write_bpnetlite_layout(effects, folder, minimal=minimal)
    return Page((folder / PAGE).read_text(encoding="ascii"))


# --- the page


def test_numbers_on_the_page_are_those_of_the_table(tmp_path):
    effects, motifs = made(PLAIN, groups=2)
    found = page(tmp_path, effects, motifs)
    ours = effects.table[effects.table["group"] == 0]
    counts, profile = (effect_summary(ours, head).set_index("motif") for head in ("counts", "profile"))
    by_size = list(counts["mean"].sort_values(ascending=False).index)
    assert [row[1] for row in found.rows[1:]] == by_size
    for place, row in enumerate(found.rows[1:], start=1):
        consensus = effects.consensus[effects.motifs.index(row[1])]
        assert (row[0], row[2]) == (str(place), consensus)
        for cell, summary in ((row[3], counts.loc[row[1]]), (row[4], profile.loc[row[1]])):
            assert cell == f"{summary['mean']:+.3f}{summary['low']:+.3f} to {summary['high']:+.3f}"
    assert "5 background sequences" in " ".join(found.text.split())


def test_points_and_curves_are_drawn_from_the_numbers(tmp_path):
    effects, motifs = made(PLAIN)
    found = page(tmp_path, effects, motifs, minimal=False)
    counts = effects.table[effects.table["head"] == "counts"]
    values = counts[["before", "after"]].to_numpy()
    low, high = values.min(), values.max()
    drawn = np.array([(float(c["cx"]), 92 - float(c["cy"])) for c in found.all("circle")])
    ranked = [effects.motifs[k] for k in ranked_motifs(effects)]
    expected = np.concatenate([counts[counts["motif"] == m][["before", "after"]] for m in ranked])
    np.testing.assert_allclose(drawn, (expected - low) / (high - low) * 92, atol=0.051)
    curves = {kind: [p["d"] for p in found.all("path") if p.get("class") == kind] for kind in ("before", "after", "up")}
    assert {kind: len(paths) for kind, paths in curves.items()} == {"before": 3, "after": 3, "up": 3}
    after, before = effects.mean_profile_after()[:, 0], effects.mean_profile_before()[0]
    reach = np.abs(after - before).max()
    for k, path in zip(ranked_motifs(effects), curves["up"], strict=True):
        y = np.array([float(point.split(" ")[1]) for point in path.removeprefix("M").split("L")])
        np.testing.assert_allclose(y, 74 - ((after[k] - before) + reach) / (2 * reach) * 74, atol=0.051)


def test_profiles_before_and_after_are_left_out_of_a_minimal_page(tmp_path):
    effects, motifs = made(PLAIN)
    found = page(tmp_path, effects, motifs, minimal=True)
    assert len(found.rows[0]) == 7
    assert not [path for path in found.all("path") if path.get("class") in ("before", "after")]


def test_hostile_names_are_text_and_nothing_is_fetched(tmp_path):
    effects, motifs = made([*HOSTILE, *PLAIN])
    found = page(tmp_path, effects, motifs, minimal=False)
    assert sorted(row[1] for row in found.rows[1:]) == sorted([*HOSTILE, *PLAIN])
    assert not {tag for tag, _ in found.tags} & {"script", "iframe", "object", "link", "img", "form", "a"}
    for _, attributes in found.tags:
        assert not [name for name in attributes if name.startswith("on")]
        assert attributes.get("href", "#").startswith("#")
        assert "src" not in attributes
    html = (tmp_path / PAGE).read_text(encoding="utf-8")
    assert "url(" not in html and "@import" not in html
    assert [path.name for path in tmp_path.iterdir()] == [PAGE]


def test_a_changed_database_is_one_sentence(tmp_path):
    effects, motifs = made(PLAIN)
    for other in (
        {name: matrix for name, matrix in motifs.items() if name != "plain"},
        {**motifs, "plain": np.eye(4)},
        {**motifs, "new": np.eye(4)},
    ):
        with pytest.raises(InputError, match="motif database is not the one"):
            page(tmp_path, effects, other)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("names", [PLAIN, ()])
def test_nothing_to_show_is_said(tmp_path, names):
    effects, motifs = made(names, backgrounds=0)
    assert f"Nothing to show: {len(names)} motifs, 0 backgrounds." in page(tmp_path, effects, motifs).text
    assert effects_digest(effects) == "No backgrounds."
    assert layout(tmp_path, effects).rows == [["name", "sequence", "profile (diff)", "counts"]]


def test_one_background_has_no_interval(tmp_path):
    effects, motifs = made(PLAIN, backgrounds=1)
    found = page(tmp_path, effects, motifs, minimal=False)
    assert all(row[3].endswith("one background") for row in found.rows[1:])
    assert "nan" not in (tmp_path / PAGE).read_text().lower()


def test_effects_that_are_all_equal_can_be_drawn(tmp_path):
    effects, motifs = made(PLAIN)
    table = effects.table.assign(before=1.0, after=1.0)
    same = np.broadcast_to(effects.profile_before, effects.profile_after.shape)
    equal = EffectTable("", table, effects.motifs, effects.consensus, effects.profile_before, same, 5)
    found = page(tmp_path, equal, motifs, minimal=False)
    assert {row[3] for row in found.rows[1:]} == {"+0.000+0.000 to +0.000"}
    assert "nan" not in (tmp_path / PAGE).read_text().lower()


def test_many_points_are_thinned(tmp_path):
    effects, motifs = made(("one",), backgrounds=MOST_POINTS + 500)
    assert len(page(tmp_path, effects, motifs).all("circle")) == MOST_POINTS


def test_digest_shows_the_strongest_and_escapes_names(tmp_path):
    effects, _ = made([*HOSTILE, *PLAIN])
    lines = effects_digest(effects, top=20).splitlines()
    assert lines[0] == "Mean over 5 backgrounds."
    rows = [re.split(r"(?<!\\) \| ", line.removeprefix("| ").removesuffix(" |")) for line in lines[4:]]
    assert all(len(row) == 4 for row in rows)
    assert [row[1] for row in rows] == [effects.consensus[k] for k in ranked_motifs(effects)]
    summary = effect_summary(effects.table).set_index("motif")["mean"].sort_values(ascending=False)
    assert [row[2].split(" ")[0] for row in rows] == [f"{mean:+.3f}" for mean in summary]
    assert "<" not in "".join(lines) and "](" not in "".join(lines)


# --- bpnet-lite's layout


@pytest.mark.slow
@pytest.mark.parametrize("minimal", [True, False])
def test_layout_is_bpnetlites_file_for_file_and_plot_for_plot(tmp_path, monkeypatch, minimal):
    """bpnet-lite's own report, with our numbers as its predictions."""
    import bpnetlite.marginalize
    import torch
    from matplotlib.image import imread

    names = ("MA0363.3 REB1", "A::B/c", "plain", "a motif that is longer")
    effects, motifs = made(names, backgrounds=4)
    motifs["a motif that is longer"] = np.tile(np.eye(4), 8)
    effects = EffectTable(
        "",
        effects.table,
        effects.motifs,
        tuple(consensus_sequence(matrix) for matrix in motifs.values()),
        effects.profile_before,
        effects.profile_after,
        4,
    )
    predictions = {}
    for k, name in enumerate(names):
        rows = effects.table[(effects.table["motif"] == name) & (effects.table["head"] == "counts")]
        sides = (
            (effects.mean_profile_before(), rows["before"].to_numpy()),
            (effects.mean_profile_after()[k], rows["after"].to_numpy()),
        )
        predictions[effects.consensus[k]] = [
            (torch.log(torch.tensor(profile))[None].repeat(4, 1, 1), torch.tensor(counts)[:, None])
            for profile, counts in sides
        ]
    monkeypatch.setattr(bpnetlite.marginalize, "read_meme", lambda _: motifs)
    monkeypatch.setattr(bpnetlite.marginalize, "marginalize", lambda model, X, motif, **_: predictions[motif])
    theirs, ours = tmp_path / "theirs", tmp_path / "ours"
    bpnetlite.marginalize.marginalization_report(
        None, None, np.zeros((4, 4, 101)), f"{theirs}/", attributions=False, minimal=minimal
    )
    write_bpnetlite_layout(effects, ours, minimal=minimal)

    assert (ours / PAGE).read_text() == (theirs / PAGE).read_text().replace("::", "%3A%3A").replace(
        "<td>A%3A%3AB-c</td>", "<td>A::B-c</td>"
    )
    files = {path.name for path in theirs.iterdir()}
    assert {path.name for path in ours.iterdir()} == files
    assert len(files) == 1 + len(names) * (2 if minimal else 4)
    for name in files - {PAGE}:
        one, other = imread(ours / name), imread(theirs / name)
        assert one.shape == other.shape
        assert np.abs(one - other).max() == 0, name


@pytest.mark.slow
def test_hostile_names_are_text_and_no_paths_in_the_layout(tmp_path):
    effects, _ = made([*HOSTILE, *PLAIN])
    found = layout(tmp_path / "in" / "here", effects, minimal=False)
    shown = {name.replace(" ", "_").replace("/", "-") for name in [*HOSTILE, *PLAIN]}
    assert {row[0] for row in found.rows[1:]} == shown
    assert {tag for tag, _ in found.tags} <= {"table", "thead", "tbody", "tr", "th", "td", "img"}
    images = found.all("img")
    assert len(images) == 4 * len(effects.motifs)
    written = {path.name for path in (tmp_path / "in" / "here").iterdir()}
    assert len(written) == 1 + len(images)
    for image in images:
        assert set(image) == {"src", "width"}
        assert re.fullmatch(r"[A-Za-z0-9._()+,%-]+\.png", image["src"])
        assert image["src"].replace("%3A", ":") in written
    assert [path.name for path in tmp_path.iterdir()] == ["in"]
    assert [path.name for path in (tmp_path / "in").iterdir()] == ["here"]


def test_no_two_motifs_share_a_file():
    names = ["REB1", "reb1", "a b", "a_b", "a/b", "a-b", "<", ">", "motif_6_", "x" * 300, "x" * 300 + "y"]
    found = safe_file_names(names)
    assert found[0] == "REB1" and found[2] == "a_b" and found[4] == "a-b"
    assert len({name.lower() for name in found}) == len(names)
    assert all(re.fullmatch(r"[A-Za-z0-9(][A-Za-z0-9._+:(),-]{0,99}", name) for name in found)
