"""What the UI command leaves of Dagster. Stand-ins: a shell for Dagster, `sleep` for what it starts."""

from __future__ import annotations

import argparse
import os
import select
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path

import pytest

from cherimoya_assets.cli import make_parser
from cherimoya_assets.cli.ui import end, environment, path_prefix
from cherimoya_assets.home import Home
from cherimoya_assets.instance import prepare_instance
from cherimoya_assets.runs.run_process import GONE, process_tag
from cherimoya_assets_tests.servers.ports import free_port

PATIENCE_S = 60


def test_what_dagster_started_ends_when_dagster_was_killed():
    server = subprocess.Popen(
        ["sh", "-c", "sleep 600 & echo started; wait"], stdout=subprocess.PIPE, start_new_session=True
    )
    assert server.stdout is not None
    with server.stdout as output:
        assert output.readline() == b"started\n"
        server.kill()
        server.wait()
        end(server)
        # The child holds the output open as long as it lives.
        assert select.select([output], [], [], PATIENCE_S)[0], "it lives"
        assert output.read() == b""


def test_what_goes_on_after_dagster_ended_in_good_order_is_left_alone():
    """A run that is being executed, and the code server that waits for it."""
    server = subprocess.Popen(["sh", "-c", "sleep 600 & echo $!"], stdout=subprocess.PIPE, start_new_session=True)
    assert server.stdout is not None
    child = int(server.stdout.readline())
    server.stdout.close()
    server.wait()
    end(server)
    (name,) = process_tag(child).values()
    assert not name.endswith(f":{GONE}")
    os.kill(child, signal.SIGKILL)


@pytest.mark.slow
def test_a_module_in_the_home_is_not_imported(tmp_path):
    """Python looks for modules in the working folder first, unless it is told not to."""
    home = Home(tmp_path / "home")
    prepare_instance(home)
    (home.dagster / "yaml.py").write_text("open('planted', 'w')")
    asked = [sys.executable, "-m", "cherimoya_assets.cli.dagster_dev", "--help"]
    pipes = dict.fromkeys(("stdin", "stdout"), subprocess.PIPE)
    with subprocess.Popen(asked, cwd=home.dagster, env=environment(tmp_path, home), text=True, **pipes) as server:
        assert server.stdout is not None
        assert "dagster dev" in server.stdout.read()
    assert not (home.dagster / "planted").exists()


@pytest.mark.slow
def test_the_ui_answers_below_the_path_of_a_proxy_and_says_it(tiny_copy):
    file, home = tiny_copy
    port = free_port()
    prefix = f"/user/ann/proxy/{port}"
    asked = [Path(sys.executable).with_name("cherimoya-assets"), "ui", file, "--home", home, "--port", str(port)]
    # A last slash, as notebooks' templates write it, is no part of it.
    with subprocess.Popen([*asked, "--path-prefix", f"{prefix}/"], stdout=subprocess.PIPE, text=True) as ui:
        try:
            assert ui.stdout is not None
            said = next(line for line in ui.stdout if line.startswith("Dagster UI: "))
            assert said.split()[2] == f"http://127.0.0.1:{port}{prefix}"
            assert urllib.request.urlopen(f"http://127.0.0.1:{port}{prefix}/server_info", timeout=30).status == 200
            with pytest.raises(urllib.error.HTTPError, match="404"):
                urllib.request.urlopen(f"http://127.0.0.1:{port}/server_info", timeout=30)
        finally:
            ui.terminate()


def test_a_prefix_for_dagsters_web_server_holds_where_none_is_given(monkeypatch):
    monkeypatch.setenv("DAGSTER_WEBSERVER_PATH_PREFIX", "/dagster/")
    assert make_parser().parse_args(["ui", "tiny.yaml"]).path_prefix == "/dagster"
    assert make_parser().parse_args(["ui", "tiny.yaml", "--path-prefix", "/other"]).path_prefix == "/other"


@pytest.mark.parametrize("text", ["https://hub/user", "/a b", "/x?y", '/"'])
def test_what_is_no_path_is_no_path_prefix(text):
    with pytest.raises(argparse.ArgumentTypeError, match="is not the path of an address"):
        path_prefix(text)
