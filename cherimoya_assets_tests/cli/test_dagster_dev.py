"""`dagster dev` ends with the process that started it; a stand-in for Dagster, which says what it sees."""

from __future__ import annotations

import subprocess
import sys

import pytest

STAND_IN = """
import sys, time
try:
    print(*sys.argv[1:], flush=True)
    time.sleep(60)
except KeyboardInterrupt:
    print("interrupted", flush=True)
"""

STARTER = """
import signal, subprocess, sys, time
signal.signal(signal.SIGINT, getattr(signal, sys.argv[1]))
subprocess.Popen([sys.executable, "-m", "cherimoya_assets.cli.dagster_dev", "-h", "127.0.0.1"], stdin=subprocess.PIPE)
time.sleep(600)
"""


@pytest.fixture
def dagster(tmp_path):
    (tmp_path / "dagster").mkdir()
    (tmp_path / "dagster" / "__init__.py").touch()
    (tmp_path / "dagster" / "__main__.py").write_text(STAND_IN)
    return tmp_path


@pytest.mark.parametrize("interrupt", ["SIG_DFL", "SIG_IGN"], ids=["in the foreground", "in the background"])
def test_dagster_is_interrupted_when_the_process_that_started_it_is_killed(dagster, interrupt):
    command = [sys.executable, "-c", STARTER, interrupt]
    with subprocess.Popen(command, cwd=dagster, stdout=subprocess.PIPE, text=True) as starter:
        assert starter.stdout is not None
        assert starter.stdout.readline() == "dev -h 127.0.0.1\n"
        starter.kill()
        assert starter.stdout.readline() == "interrupted\n"
        # The output ends when Dagster has gone, too.
        assert starter.stdout.read() == ""
