"""ui: open the Dagster UI on an experiment (or a folder of them), on this machine only.

Dagster's web server, daemon and code server end with this command, also when it is killed. A run that is being executed
does not: it goes on, finishes, and is shown when the UI is opened again. What an earlier crash left is ended first.
"""

from __future__ import annotations

import argparse
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from cherimoya_assets.cli.arguments import add_home, writable_home
from cherimoya_assets.cli.reap import reap
from cherimoya_assets.errors import ExperimentError, Problems
from cherimoya_assets.home import Home
from cherimoya_assets.printable import printable

HOST = "127.0.0.1"
"""Dagster's web server asks nobody for a password, so it must not be reachable from elsewhere."""

PATH_PREFIX = "DAGSTER_WEBSERVER_PATH_PREFIX"

PATIENCE_S = 120.0
SHUTDOWN_S = 60.0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "experiment", type=Path, metavar="EXPERIMENT_or_FOLDER", help="an experiment file, or a folder of them"
    )
    add_home(parser)
    parser.add_argument("--port", type=int, default=3000, metavar="N", help="port on 127.0.0.1 (default: 3000)")
    parser.add_argument(
        "--path-prefix",
        type=path_prefix,
        default=os.environ.get(PATH_PREFIX, ""),
        metavar="/PATH",
        help="the path under which a proxy (JupyterHub, SageMaker, Open OnDemand) shows the UI",
    )


def path_prefix(text: str) -> str:
    """`/user/ann/proxy/3000`, however many slashes are around it."""
    path = text.strip("/")
    if not re.fullmatch(r"[A-Za-z0-9._~@/-]*", path):
        raise argparse.ArgumentTypeError(f"{text!r} is not the path of an address, such as /user/ann/proxy/3000")
    return f"/{path}" if path else ""


def run(arguments: argparse.Namespace) -> int:
    from cherimoya_assets.code_location import build_defs, loadable
    from cherimoya_assets.experiment import read_folder
    from cherimoya_assets.installation import verify_installation

    home = writable_home(arguments)
    verify_installation()
    if port_is_taken(arguments.port):
        raise ExperimentError(f"--port {arguments.port}: the port is already in use. Name another port.")
    # Whatever is wrong with the experiments is said here, not in a web page alone.
    experiments, unreadable = read_folder(arguments.experiment)
    lineages, without = loadable(experiments, home.root)
    problems = [problem for one in (*unreadable, *without) for problem in one.problems]
    if not lineages:
        raise Problems(problems)
    for problem in problems:
        print(printable(f"Not loaded: {problem}"))
    build_defs(experiments, home.root)
    for sentence in reap(home):
        print(sentence)
    return serve(arguments.experiment.resolve(), home, arguments.port, arguments.path_prefix)


def serve(experiments: Path, home: Home, port: int, prefix: str) -> int:
    """Run Dagster's web server and daemon until one of them ends or the user interrupts; returns the exit code."""
    command = [sys.executable, "-W", "ignore", "-m", "cherimoya_assets.cli.dagster_dev", "--log-level", "warning"]
    command += ["-m", "cherimoya_assets.definitions", "-h", HOST, "-p", str(port)]
    # A process group of its own: ctrl-C reaches us alone, and we end Dagster in good order. The pipe is how Dagster
    # sees that we are gone.
    server = subprocess.Popen(
        command,
        # `dagster dev` passes no prefix on to its web server, which reads it from here.
        env={**environment(experiments, home), PATH_PREFIX: prefix},
        cwd=home.dagster,
        stdin=subprocess.PIPE,
        start_new_session=True,
    )
    previous = signal.signal(signal.SIGTERM, _interrupt)
    try:
        if answers(server, port):
            print(f"Dagster UI: http://{HOST}:{port}{prefix}   (press Ctrl-C to stop)", flush=True)
        return 1 if server.wait() else 0
    except KeyboardInterrupt:
        print("Ending the Dagster UI ...", flush=True)
        return 0
    finally:
        signal.signal(signal.SIGTERM, previous)
        end(server)


def environment(experiments: Path, home: Home) -> Mapping[str, str]:
    """What `cherimoya_assets.definitions` and Dagster read."""
    return {
        **os.environ,
        "DAGSTER_HOME": str(home.dagster.resolve()),
        "DAGSTER_DISABLE_TELEMETRY": "1",
        # The home is the working folder, and what lies in it is no code.
        "PYTHONSAFEPATH": "1",
        "CHERIMOYA_ASSETS_EXPERIMENTS": str(experiments),
        "CHERIMOYA_ASSETS_HOME": str(home.root.resolve()),
    }


def port_is_taken(port: int) -> bool:
    """Whether something listens on the port."""
    import socket

    with socket.socket() as probe:
        return probe.connect_ex((HOST, port)) == 0


def answers(server: subprocess.Popen[bytes], port: int) -> bool:
    """Wait until the web server listens; False when it ended or takes too long."""
    until = time.monotonic() + PATIENCE_S
    while time.monotonic() < until and server.poll() is None:
        if port_is_taken(port):
            return True
        time.sleep(0.2)
    return False


def end(server: subprocess.Popen[bytes]) -> None:
    """End Dagster and what it started."""
    for stop in (signal.SIGINT, signal.SIGTERM, signal.SIGKILL):
        if server.poll() is not None:
            break
        if stop == signal.SIGINT:
            # `dagster dev` then ends its web server, daemon and code server one after the other.
            server.send_signal(stop)
        else:
            # The group id is the pid of its leader, which lives still.
            os.killpg(server.pid, stop)
        try:
            server.wait(timeout=SHUTDOWN_S)
        except subprocess.TimeoutExpired:
            continue
    if server.returncode and server.returncode < 0:
        # It was killed, and could end nothing. A run that is interrupted with the rest says so, and may be retried.
        with suppress(ProcessLookupError):
            os.killpg(server.pid, signal.SIGTERM)


def _interrupt(*_: object) -> None:
    raise KeyboardInterrupt
