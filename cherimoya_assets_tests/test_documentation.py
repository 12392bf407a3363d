"""What the documents say is so: links, commands, experiment files, Python, assets, checks, files."""

from __future__ import annotations

import argparse
import ast
import importlib
import inspect
import re
import shlex
from pathlib import Path

import pytest
import yaml

from cherimoya_assets.cli import make_parser
from cherimoya_assets.cli.init import template
from cherimoya_assets.code_location import build_defs
from cherimoya_assets.experiment import Experiment, read_experiment
from cherimoya_assets.steps import STEPS

ROOT = Path(__file__).parent.parent
DOCUMENTS = {
    path.relative_to(ROOT).as_posix(): path.read_text(encoding="utf-8")
    for path in sorted(
        [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), ROOT / "cherimoya_assets" / "demo" / "README.md"]
    )
}
README = DOCUMENTS["README.md"]

FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)

A_WHOLE_EXPERIMENT = {"name": "x", "sequences": "g.fa", "loci": "l.bed", "model": "m.torch"}
"""What a YAML block that shows a part of an experiment is put into."""


def blocks(text: str, language: str) -> list[str]:
    return [content for found, content in FENCE.findall(text) if found == language]


def links(text: str) -> list[str]:
    return [target for target in re.findall(r"\]\(([^)\s]+)\)", FENCE.sub("", text)) if "://" not in target]


def anchors(text: str) -> set[str]:
    """The anchors that GitHub makes of a document's headings."""
    headings = re.findall(r"^#+ (.*)$", FENCE.sub("", text), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


EXPERIMENTS = [block for block in blocks(README, "yaml") if "load_from" not in block]
PYTHON = [(name, block) for name, text in DOCUMENTS.items() for block in blocks(text, "python")]
LINKS = [(name, target) for name, text in DOCUMENTS.items() for target in links(text)]


@pytest.mark.parametrize(("document", "target"), LINKS)
def test_links_lead_somewhere(document, target):
    path, _, anchor = target.partition("#")
    linked = (ROOT / document).parent / path if path else ROOT / document
    assert linked.exists()
    if anchor:
        assert anchor in anchors(linked.read_text(encoding="utf-8"))


def test_the_readme_leads_to_every_document():
    reached, waiting = set(), ["README.md"]
    while waiting:
        document = waiting.pop()
        if document in reached or document not in DOCUMENTS:
            continue
        reached.add(document)
        for target in links(DOCUMENTS[document]):
            linked = ((ROOT / document).parent / target.partition("#")[0]).resolve()
            waiting.append(linked.relative_to(ROOT).as_posix())
    assert reached == DOCUMENTS.keys()


@pytest.mark.parametrize("text", [*DOCUMENTS.values(), template()], ids=[*DOCUMENTS, "the template of init"])
def test_commands_are_those_of_the_command_line(text):
    # A command in a code block is complete; one in running text may be its beginning.
    lines = [line for _, content in FENCE.findall(text) for line in content.splitlines()]
    for line in lines:
        command = re.search(r"(?:^|  )cherimoya-assets (.*)$", line.partition("   #")[0])
        if command:
            make_parser().parse_args(shlex.split(command[1]))
    names = re.findall(r"cherimoya-assets ([a-z]+)", text)
    assert set(names) <= commands().keys()
    for name, flag in re.findall(r"`cherimoya-assets ([a-z]+)[^`\n]*? (--[a-z]+)", text):
        assert flag in commands()[name].format_help()


def test_make_targets_exist():
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    for text in DOCUMENTS.values():
        code = [*(content for _, content in FENCE.findall(text)), *re.findall(r"`([^`\n]+)`", text)]
        named = {name for part in code for name in re.findall(r"^make ([a-z]+)", part, re.MULTILINE)}
        assert named <= targets
    assert {"demo", "ui", "test"} <= set(re.findall(r"^make ([a-z]+)", README, re.MULTILINE))


def test_ci_calls_the_same_targets():
    jobs = yaml.safe_load((ROOT / ".github" / "workflows" / "ci.yml").read_text())["jobs"].values()
    steps = [step.get("run", "") for job in jobs for step in job["steps"]]
    script = (ROOT / ".ci" / "run").read_text().splitlines()
    for target in ("make check", "make test"):
        assert target in steps
        assert target in script


@pytest.mark.parametrize("block", EXPERIMENTS)
def test_yaml_in_the_readme_is_a_valid_experiment(block, tmp_path):
    raw = {**A_WHOLE_EXPERIMENT, **yaml.safe_load(block)}
    for section in ("seqlets", "annotation", "modisco", "marginalize"):
        if isinstance(raw.get(section), str):
            (tmp_path / raw[section]).write_text("{}")
    file = tmp_path / "experiment.yaml"
    file.write_text(yaml.safe_dump(raw))
    read_experiment(file)


def test_the_workspace_in_the_readme_is_ours():
    (block,) = [block for block in blocks(README, "yaml") if "load_from" in block]
    assert yaml.safe_load(block) == yaml.safe_load((ROOT / "workspace.yaml").read_text())


def test_defaults_that_differ_from_cherimoya_are_those_of_the_model():
    from cherimoya_cli import defaults

    experiment = Experiment.model_validate(A_WHOLE_EXPERIMENT)
    ours = {
        "algorithm": experiment.algorithm,
        "device": experiment.device,
        "marginalize.shuffle": experiment.marginalize.shuffle,
    }
    theirs = {
        "device": defaults.default_attribute_parameters["device"],
        "algorithm": defaults.default_attribute_parameters["algorithm"],
        "marginalize.shuffle": defaults.default_marginalize_parameters["shuffle"],
    }
    for key in ours:
        row = next(line for line in README.splitlines() if line.startswith(f"| `{key}` |"))
        shown = [re.search(r"`(\w+)`", cell)[1] for cell in row.split("|")[2:4]]
        assert shown == [str(ours[key]).lower(), str(theirs[key]).lower()]


@pytest.mark.parametrize(("document", "block"), PYTHON)
def test_python_in_the_documents_imports_and_calls_what_exists(document, block):
    tree = ast.parse(block)
    functions = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom):
            module = importlib.import_module(node.module)
            functions |= {alias.name: getattr(module, alias.name) for alias in node.names}
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in functions:
            signature = inspect.signature(functions[node.func.id])
            signature.bind_partial(*node.args, **{keyword.arg: None for keyword in node.keywords if keyword.arg})


def test_the_walk_in_a_notebook_runs_and_changes_nothing(narrow_run, tmp_path, monkeypatch, capsys):
    # The demo and its home, made narrow.
    monkeypatch.setattr("cherimoya_assets.demo.DEMO_EXPERIMENT", narrow_run.file)
    monkeypatch.setenv("MPLBACKEND", "Agg")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "demo_home").symlink_to(narrow_run.home)
    before = {path: path.stat().st_mtime_ns for path in (narrow_run.home / "store").rglob("*")}
    walk: dict[str, object] = {}
    for block in blocks(DOCUMENTS["docs/notebook.md"], "python"):
        exec(block, walk)
    for block in blocks(README, "python"):
        if "open_experiment" in block:
            exec(block, {})
    assert (tmp_path / "locus.png").stat().st_size > 0
    assert len(re.findall(r"^  counts/seqlets +3 of 3 chromosomes$", capsys.readouterr().out, re.MULTILINE)) == 2
    assert {path: path.stat().st_mtime_ns for path in (narrow_run.home / "store").rglob("*")} == before


@pytest.fixture(scope="module")
def definitions(tmp_path_factory):
    """The lineage of an experiment with two heads, motifs and backgrounds: every asset that there is."""
    from cherimoya_assets_tests.tiny_experiment import tiny_experiment

    folder = tmp_path_factory.mktemp("documented")
    experiment = read_experiment(tiny_experiment(folder, {"output": ["counts", "profile"]}))
    return build_defs([experiment], folder / "home")


def test_the_asset_table_is_the_lineage(definitions):
    section = README.partition("## The assets")[2].partition("\n## ")[0]
    rows = dict(re.findall(r"^\| (\w+) \| (\w+) \|", section, re.MULTILINE))
    del rows["asset"]
    assert rows == {step.name: "chromosome" if step.by_chromosome else "none" for step in STEPS}
    made = {node.key.path[-1] for node in definitions.resolve_asset_graph().asset_nodes if node.is_materializable}
    assert made == rows.keys()


def test_the_table_of_checks_is_the_lineage(definitions):
    section = README.partition("## Checks")[2].partition("\n## ")[0]
    shown: set[tuple[str, str]] = set()
    asset = ""
    for row in re.findall(r"^\| (\w*) ?\| (`.*?) \|", section, re.MULTILINE):
        asset = row[0] or asset
        shown |= {(asset, name) for name in re.findall(r"`(\w+)`", row[1])}
    keys = [key for checks in definitions.asset_checks or () for key in checks.check_keys]
    keys += [spec.key for asset in definitions.assets or () for spec in getattr(asset, "check_specs", ())]
    assert shown == {(key.asset_key.path[-1], key.name) for key in keys}


def test_stage_jobs_are_named_in_the_readme(definitions):
    for job in definitions.jobs:
        assert job.name.replace("tiny", "EXPERIMENT", 1) in README


def test_every_stored_file_is_in_the_list_of_formats(narrow_run):
    assert narrow_run.said.code == 0, narrow_run.said
    table = DOCUMENTS["docs/formats.md"].partition("## The export")[0]
    stored = {path.name for path in narrow_run.lineage.home.store.rglob("latest/*")}
    assert stored
    assert stored <= set(re.findall(r"`([\w.]+)`", table))


def commands() -> dict[str, argparse.ArgumentParser]:
    (sub,) = (action for action in make_parser()._actions if isinstance(action, argparse._SubParsersAction))
    return sub.choices
