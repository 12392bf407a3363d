"""Names that are legal and hostile, of motifs, chromosomes, folds and files, through everything that shows them.

Nothing is written outside of the home and the export, no page and no Markdown of the UI has a part that acts, and no
command that is printed does more in a shell than it says.
"""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import dagster as dg
import numpy as np
import pytest
from markdown_it import MarkdownIt

from cherimoya_assets.analysis.seqlets import COLUMNS, SeqletTable
from cherimoya_assets.analysis.tables import typed_table
from cherimoya_assets.assets.inputs import observed_inputs
from cherimoya_assets.code_location import build_defs
from cherimoya_assets_tests.assets import stored_experiment as filling
from cherimoya_assets_tests.cli.command import command
from cherimoya_assets_tests.security.pages import CHROMS, PAYLOADS, Page, acting
from cherimoya_assets_tests.security.surroundings import nothing_happens_around
from cherimoya_assets_tests.tiny_experiment import MEME

pytestmark = pytest.mark.slow

FOLDER = "$(touch EXECUTED1); `touch EXECUTED2` & \"quoted\" 'it' <b> --force"
"""Of the experiment; a slash is all that it cannot hold."""

FASTA, BED = "<img src=x onerror=window.pwned=1> [x](javascript:1).fa", "-rf; touch EXECUTED3.bed"

FOLDS = ('<script>window.pwned=1</script>"', "[x](javascript:window.pwned=1) ![](http://evil.example/x.png)")


@pytest.fixture(scope="module")
def hostile(tmp_path_factory):
    """(lineage, everything that materializing its pages said, the folder around it)."""
    around = tmp_path_factory.mktemp("around")
    folder = around / "attacker" / FOLDER
    folder.mkdir(parents=True)
    random = np.random.default_rng(0)
    records = [f">{chrom}\n{''.join(random.choice(list('ACGT'), 1200))}\n" for chrom in CHROMS]
    (folder / FASTA).write_text("".join(records))
    (folder / BED).write_text("".join(f"{chrom}\t{at}\t{at + 40}\n" for chrom in CHROMS for at in (300, 600)))
    names = iter(PAYLOADS)
    (folder / "hostile.meme").write_text(re.sub("(?m)^MOTIF .*$", lambda _: f"MOTIF {next(names)}", MEME))
    changes = {
        "sequences": FASTA,
        "loci": [BED],
        "negatives": [BED],
        "motifs": "hostile.meme",
        "chroms": list(CHROMS),
        "model": dict.fromkeys(FOLDS, "model.torch"),
    }
    with pytest.MonkeyPatch.context() as patched, nothing_happens_around(around, but=(folder,)):
        patched.setattr(filling, "MOTIFS", PAYLOADS)
        patched.chdir(around)
        lineage = filling.stored_experiment(folder, changes)
        for head in lineage.heads:
            found = filling.patterns(CHROMS[0])
            named = replace(found, seqlets=found.seqlets.assign(locus_id=f"{CHROMS[0]}:300-340"))
            filling.put(lineage, (head, "modisco_patterns"), named)
        before = {path for path in folder.iterdir() if path.name != "home"}
        made = filling.materialize(
            lineage,
            lineage.key("marginalization_report"),
            *(lineage.key(head, "attribution_tracks") for head in lineage.heads),
            lineage.key("experiment_report"),
        )
        # Another run with other seqlets, so that there is a page of what changed.
        filling.put(lineage, ("counts", "seqlets"), SeqletTable(CHROMS[0], typed_table(COLUMNS)), CHROMS[0])
        again = filling.materialize(lineage, lineage.key("experiment_report"))
        assert {path for path in folder.iterdir() if path.name != "home"} == before
    return lineage, [made, again], around


def pages(lineage) -> list[Path]:
    return [path for path in sorted(lineage.home.store.rglob("*.html")) if "modisco_report" not in path.parts]


def test_every_page_shows_the_names_and_none_acts(hostile):
    lineage, _, _ = hostile
    found = {path.name for path in pages(lineage)}
    assert found == {"experiment.html", "changes.html", "marginalization.html"}
    for path in pages(lineage):
        page = Page(path.read_text())
        assert acting(page) == [], path.name
        assert page.count("body") == page.count("h1") == 1
        assert "1337" not in page.text, "a template was evaluated"
    everything = "".join(Page(path.read_text()).text for path in pages(lineage))
    for name in (*PAYLOADS, *CHROMS):
        assert name in everything


def test_a_browser_runs_nothing_of_them(hostile, tmp_path):
    from cherimoya_assets_tests.security.browser import browser

    with browser(tmp_path) as opened:
        for path in pages(hostile[0]):
            opened.get(path.resolve().as_uri())
            assert opened.execute_script("return window.pwned") is None
            assert (
                opened.execute_script("return document.querySelectorAll('[onerror],[onload],img,iframe').length") == 0
            )


def test_markdown_of_the_ui_shows_the_names_and_does_not_act(hostile):
    lineage, results, _ = hostile
    texts = [
        entry.value
        for result in results
        for event in result.get_asset_materialization_events()
        for entry in event.materialization.metadata.values()
        if isinstance(entry, dg.MarkdownMetadataValue)
    ]
    assert len(texts) >= 3
    texts += [one.description for one in observed_inputs(lineage).values()]
    defs = build_defs([lineage.experiment], lineage.home.root)
    texts += [spec.description for spec in defs.resolve_all_asset_specs() if spec.description]
    markdown = MarkdownIt("commonmark", {"html": True}).enable(["table", "strikethrough"])
    shown = ""
    for text in texts:
        page = Page(markdown.render(text))
        assert acting(page) == []
        assert {tag for tag, _ in page.elements} <= {"p", "table", "thead", "tbody", "tr", "th", "td", "code", "em"}
        rows = text.count("\n|")
        assert page.count("tr") in (0, rows, rows - 1), "a name began a row"
        shown += page.text
    for name in (PAYLOADS[0], PAYLOADS[1], FASTA, *FOLDS):
        assert name in shown


def test_a_chromosome_is_a_folder_of_its_own_asset(hostile):
    lineage, _, _ = hostile
    folders = [lineage.store.folder(tuple(lineage.key("one_hot_sequences").path), chrom) for chrom in CHROMS]
    asset = lineage.home.store / "tiny" / "one_hot_sequences"
    assert {folder.parent for folder in folders} == {asset}
    assert len({folder.name for folder in folders} | {"_pooled"}) == len(CHROMS) + 1
    for folder, chrom in zip(folders, CHROMS, strict=True):
        assert folder.is_dir()
        assert lineage.store.load(tuple(lineage.key("one_hot_sequences").path), chrom).chrom == chrom
    assert set(lineage.store.partitions(tuple(lineage.key("one_hot_sequences").path))) == set(CHROMS)


def test_tracks_have_nine_columns_and_names_without_spaces(hostile):
    lineage, _, _ = hostile
    beds = [path for path in lineage.home.store.rglob("*.bed") if not path.parent.is_symlink()]
    assert beds
    for bed in beds:
        for line in bed.read_text().splitlines():
            assert len(line.split("\t")) == len(line.split()) == 9
    for session in lineage.home.store.rglob("igv_session.xml"):
        from xml.etree import ElementTree

        assert {node.tag for node in ElementTree.fromstring(session.read_text()).iter()} == {
            *("Session", "Resources", "Resource")
        }


def test_a_printed_command_does_in_a_shell_what_it_says_and_no_more(hostile, tmp_path):
    lineage, _, _ = hostile
    stamp = lineage.store.manifest(tuple(lineage.key("experiment_report").path), None).stamp
    page = Path(next(path for path in pages(lineage) if path.name == "experiment.html"))
    shown = re.search(r"(?m)^cherimoya-assets run .*$", Page(page.read_text()).text)[0]
    for command_ in (stamp.command, shown):
        ran = subprocess.run(
            ["bash", "-c", f'cherimoya-assets() {{ printf "%s\\n" "$@"; }}; {command_}'],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=True,
        )
        words = ran.stdout.splitlines()
        assert words[:4] == ["run", str(lineage.experiment.source), "--home", str(lineage.home.root)]
        assert shlex.split(command_)[1:] == words
    assert list(tmp_path.iterdir()) == []


def test_an_export_stays_in_its_folder_and_leaves_names_as_they_are(hostile, tmp_path):
    """Tables are the field's, byte for byte: a name that a spreadsheet would take for a formula stays one."""
    lineage, _, around = hostile
    target = tmp_path / "target"
    with nothing_happens_around(around), nothing_happens_around(tmp_path, but=(target,)):
        said = command("export", lineage.experiment.source, "--home", lineage.home.root, "--to", target)
    assert said.err == "" and said.code == 0, said
    assert all(c.isprintable() or c == "\n" for c in said.out)
    page = next(target.rglob("*_marginalize/marginalization.html"))
    shown = Page(page.read_text())
    images = [attributes for tag, attributes in shown.elements if tag == "img"]
    assert [part for part in acting(shown) if not part.startswith("<img {'src'")] == []
    for attributes in images:
        assert set(attributes) == {"src", "width"}
        assert re.fullmatch(r"motif_\d+_[A-Za-z0-9_]*\.[a-z.]+\.png", attributes["src"])
        assert (page.parent / attributes["src"]).is_file()
    counts = next(target.rglob("*.motif_seqlet_count.tsv")).read_text()
    assert all(name in counts.replace('""', '"') for name in PAYLOADS)
    names = {path.name for path in target.rglob("*")}
    assert all(re.fullmatch(r"[A-Za-z0-9_.]+", name) for name in names), names


def test_lineage_answers_for_a_hostile_store_on_one_line_each(hostile):
    lineage, _, around = hostile
    with nothing_happens_around(around):
        said = command("lineage", pages(lineage)[0])
    assert said.code == 0
    assert all(c.isprintable() or c == "\n" for c in said.out)


def test_the_folder_is_as_hostile_as_it_should_be(hostile):
    lineage, _, around = hostile
    assert lineage.experiment.source.parent.name == FOLDER
    assert not list(around.rglob("EXECUTED*")), [str(path) for path in around.rglob("EXECUTED*")]
    assert shutil.which("bash")
