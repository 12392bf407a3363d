"""The real webserver on a materialized instance: GraphQL knows the assets, a browser draws the lineage."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path

import pytest

from cherimoya_assets_tests.narrow_demo import HEADS
from cherimoya_assets_tests.servers.ports import free_port

NO_SKIP = bool(os.environ.get("CHERIMOYA_ASSETS_NO_SKIP"))

STEPS = {
    *(("narrow", step) for step in ("one_hot_sequences", "marginalization_backgrounds", "marginalization_effects")),
    *(("narrow", step) for step in ("marginalization_report", "experiment_report")),
    *(
        ("narrow", head, step)
        for head in HEADS
        for step in (
            "attributions",
            "seqlet_null",
            "seqlets",
            "annotated_seqlets",
            "modisco_patterns",
            "modisco_report",
            "attribution_tracks",
        )
    ),
}

BY_CHROMOSOME = {
    "one_hot_sequences",
    "attributions",
    "seqlets",
    "annotated_seqlets",
    "marginalization_effects",
}

QUERY = """
{ assetNodes {
    assetKey { path } groupName isPartitioned isObservable dependencyKeys { path }
    partitionStats { numMaterialized numPartitions numFailed }
    assetMaterializations(limit: 1) { partition runId metadataEntries { label } }
} }
"""


@pytest.fixture(scope="module")
def served(narrow_materialized, tmp_path_factory):
    """The webserver of a code location whose one experiment is fully materialized; yields (url, chromosomes)."""
    folder, home = tmp_path_factory.mktemp("served"), narrow_materialized.home
    port = free_port()
    environment = {
        **os.environ,
        "DAGSTER_HOME": str(home / "dagster"),
        "CHERIMOYA_ASSETS_EXPERIMENTS": str(narrow_materialized.file),
        "CHERIMOYA_ASSETS_HOME": str(home),
        "DAGSTER_DISABLE_TELEMETRY": "1",
    }
    command = [str(Path(sys.executable).with_name("dagster-webserver")), "-m", "cherimoya_assets.definitions"]
    log = (folder / "webserver.log").open("w")
    server = subprocess.Popen(
        [*command, "-h", "127.0.0.1", "-p", str(port)], env=environment, cwd=folder, stdout=log, stderr=log
    )
    url = f"http://127.0.0.1:{port}"
    try:
        wait_for(url, server, folder / "webserver.log")
        yield url, narrow_materialized.lineage.chroms
    finally:
        server.terminate()
        server.wait(timeout=30)
        log.close()


def test_graphql_knows_every_asset_its_partitions_and_its_last_materialization(served):
    url, chroms = served
    nodes = {tuple(node["assetKey"]["path"]): node for node in graphql(url, QUERY)["assetNodes"]}
    assert set(nodes) >= STEPS
    for key in STEPS:
        node = nodes[key]
        assert node["groupName"] == "narrow"
        (latest,) = node["assetMaterializations"]
        labels = {entry["label"] for entry in latest["metadataEntries"]}
        assert {"seconds", "peak_memory_mb", "device", "provenance", "preview", "path"} <= labels, key
        if node["isPartitioned"]:
            assert node["partitionStats"] == {
                "numMaterialized": len(chroms),
                "numPartitions": len(chroms),
                "numFailed": 0,
            }
            assert latest["partition"] in chroms
        else:
            assert latest["partition"] is None


def test_graphql_lineage_leads_from_the_genome_to_the_reports(served):
    url, _ = served
    upstream = {
        tuple(node["assetKey"]["path"]): {tuple(key["path"]) for key in node["dependencyKeys"]}
        for node in graphql(url, QUERY)["assetNodes"]
    }

    def ancestors(key):
        return upstream[key].union(*(ancestors(parent) for parent in upstream[key]))

    for report in (("narrow", "counts", "modisco_report"), ("narrow", "marginalization_report")):
        kinds = {key[0] if key[0] != "narrow" else key[-1] for key in ancestors(report)}
        assert {"genome", "motif_database", "model"} <= kinds
    assert ("narrow", "peaks") in ancestors(("narrow", "profile", "modisco_report"))
    assert ("narrow", "peaks") not in ancestors(("narrow", "marginalization_report"))


def test_the_lineage_page_is_drawn_in_a_browser(served, tmp_path):
    """Every asset is a box with its name, and each box says what it holds."""
    url, chroms = served
    names = {key[-1] for key in STEPS} | {"peaks", "negatives", "exclusion_lists", "model"}
    by_chromosome = [key for key in STEPS if key[-1] in BY_CHROMOSOME]
    boxes = {
        f"{len(chroms)} partitions": len(by_chromosome),
        "100% filled": len(by_chromosome),
        "Materialized": len(STEPS) - len(by_chromosome),
        "Observed": 4,
    }

    def drawn(lines: list[str]) -> bool:
        return names <= set(lines) and all(lines.count(text) == n for text, n in boxes.items())

    page = f"{url}/locations/__repository__@cherimoya_assets.definitions/asset-groups/narrow/lineage"
    lines = page_lines(page, tmp_path, until=drawn)
    assert names - set(lines) == set()
    assert {text: lines.count(text) for text in boxes} == boxes
    assert not re.search(r"error|failed", "\n".join(lines), re.IGNORECASE)


def graphql(url: str, query: str) -> dict:
    request = urllib.request.Request(
        f"{url}/graphql", json.dumps({"query": query}).encode(), {"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(request, timeout=60) as answer:
        body = json.load(answer)
    assert "errors" not in body, body
    return body["data"]


def page_lines(url: str, folder: Path, until: Callable[[list[str]], bool], seconds: float = 60) -> list[str]:
    """The lines of visible text of a page once they are as `until` wants them, or what they are when time is up."""
    chromium, driver_path = shutil.which("chromium"), shutil.which("chromedriver")
    if not (chromium and driver_path):
        if NO_SKIP:
            pytest.fail("chromium and chromedriver are not installed")
        pytest.skip("chromium and chromedriver are not installed")
    from selenium import webdriver
    from selenium.webdriver.common.by import By

    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    for flag in ("headless", "no-sandbox", "disable-gpu", "disable-quic", "no-first-run"):
        options.add_argument(f"--{flag}")
    for flag in ("disable-background-networking", "disable-component-update", "disable-sync"):
        options.add_argument(f"--{flag}")
    options.add_argument(f"--user-data-dir={folder / 'profile'}")
    options.add_argument("--window-size=2600,4000")
    browser = webdriver.Chrome(options=options, service=webdriver.ChromeService(executable_path=driver_path))
    try:
        browser.get(url)
        end = time.monotonic() + seconds
        lines: list[str] = []
        while time.monotonic() < end and not until(lines):
            lines = browser.find_element(By.TAG_NAME, "body").text.splitlines()
            time.sleep(0.5)
        picture = os.environ.get("CHERIMOYA_ASSETS_SCREENSHOTS")
        if picture:
            browser.save_screenshot(str(Path(picture) / "lineage.png"))
        return lines
    finally:
        browser.quit()


def wait_for(url: str, server: subprocess.Popen, log: Path, seconds: float = 120) -> None:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if server.poll() is not None:
            pytest.fail(f"the webserver ended with {server.returncode}: {log.read_text()[-2000:]}")
        try:
            urllib.request.urlopen(f"{url}/server_info", timeout=5).close()
            return
        except OSError:
            time.sleep(0.5)
    pytest.fail(f"the webserver did not answer: {log.read_text()[-2000:]}")
