"""A real S3 server (moto's) in a process of its own on loopback, for as long as a test session needs it."""

from __future__ import annotations

import importlib.util
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from cherimoya_assets_tests.servers.ports import free_port

BUCKET = "experiments"
PATIENCE_S = 60.0


@contextmanager
def s3_server() -> Iterator[str]:
    """Start the server and point this process and its children to it; yields the URL of an empty bucket.

    Skips where moto's server is not installed, and fails instead where nothing may be skipped.
    """
    missing = [name for name in ("s3fs", "moto", "flask") if importlib.util.find_spec(name) is None]
    if missing:
        stop = pytest.fail if os.environ.get("CHERIMOYA_ASSETS_NO_SKIP") == "1" else pytest.skip
        stop(f"{', '.join(missing)} is not installed: pip install s3fs 'moto[s3,server]'")
    port = free_port()
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    server = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        with pytest.MonkeyPatch.context() as patch:
            for name in [name for name in os.environ if name.startswith("AWS_")]:
                patch.delenv(name)
            patch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{port}")
            patch.setenv("AWS_ACCESS_KEY_ID", "nobody")
            patch.setenv("AWS_SECRET_ACCESS_KEY", "nothing")
            patch.setenv("AWS_DEFAULT_REGION", "us-east-1")
            _wait_for(server, port)
            # Clients are remembered for a process, and another server may be in it.
            _filesystem().clear_instance_cache()
            _filesystem().mkdir(BUCKET)
            yield f"s3://{BUCKET}"
            _filesystem().clear_instance_cache()
    finally:
        server.kill()
        server.wait()


def _filesystem():
    import s3fs

    return s3fs.S3FileSystem(use_listings_cache=False)


def _wait_for(server: subprocess.Popen[bytes], port: int) -> None:
    until = time.monotonic() + PATIENCE_S
    while time.monotonic() < until:
        if server.poll() is not None:
            raise RuntimeError(f"moto's server ended with {server.returncode}")
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.05)
    raise RuntimeError("moto's server does not answer")
