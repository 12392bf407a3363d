"""A PostgreSQL server of our own, on loopback, for as long as a block of code runs."""

from __future__ import annotations

import os
import re
import secrets
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from cherimoya_assets_tests.servers.ports import free_port

HOST, USER, DATABASE = "127.0.0.1", "cherimoya", "dagster"
PATIENCE_S = 60.0
DOCUMENT = Path(__file__).parents[2] / "docs" / "postgresql.md"


@dataclass(frozen=True)
class PostgreSQL:
    """A server with an empty database; `environment` is what docs/postgresql.md asks for."""

    environment: Mapping[str, str]
    log: Path
    started: int
    """Bytes of the log from before the server answered, which tell of those who asked too early."""

    def said(self) -> str:
        """What the server logged since it answered; a failed statement or a deadlock would be there."""
        return self.log.read_bytes()[self.started :].decode()


def programs() -> Path | None:
    """The folder of `initdb` and `postgres`, of the newest version where Debian keeps several; None without any."""
    found = shutil.which("initdb")
    if found:
        return Path(found).resolve().parent
    versions = [path.parent for path in Path("/usr/lib/postgresql").glob("*/bin/initdb")]
    return max(versions, key=lambda path: int(path.parent.name), default=None)


def documented_settings() -> str:
    """The part of `dagster.yaml` that docs/postgresql.md tells to add."""
    (fragment,) = re.findall(r"^```yaml\n(.*?)^```$", DOCUMENT.read_text(), re.MULTILINE | re.DOTALL)
    return fragment


@contextmanager
def postgresql() -> Iterator[PostgreSQL]:
    """Make a database cluster, start the server on a free port of the loopback device, end it and remove everything."""
    binaries = programs()
    assert binaries is not None
    # The server refuses to be root, and whoever it is instead must be able to reach its files: not below pytest's own
    # folder, which is closed to others.
    account = {"user": "postgres", "group": "postgres", "extra_groups": []} if os.geteuid() == 0 else {}
    folder = Path(tempfile.mkdtemp(prefix="postgresql"))
    password = secrets.token_urlsafe(12)
    secret, data, log = folder / "password", folder / "data", folder / "server.log"
    try:
        secret.write_text(password)
        log.touch()
        if account:
            for path in (folder, secret, log):
                shutil.chown(path, "postgres", "postgres")
        make = [binaries / "initdb", "-D", data, "-U", USER, "--auth", "scram-sha-256", "--pwfile", secret]
        made = subprocess.run(
            [*make, "-E", "UTF8", "--no-locale"], cwd=folder, capture_output=True, text=True, **account
        )
        assert made.returncode == 0, made.stderr
        port = free_port()
        serve = [binaries / "postgres", "-D", data, "-p", str(port), "-c", f"listen_addresses={HOST}"]
        with log.open("a") as said:
            server = subprocess.Popen(
                [*serve, "-c", "unix_socket_directories="], cwd=folder, stdout=said, stderr=said, **account
            )
        try:
            create_database(port, password, server, log)
            yield PostgreSQL(
                {
                    "DAGSTER_PG_HOST": HOST,
                    "DAGSTER_PG_PORT": str(port),
                    "DAGSTER_PG_USER": USER,
                    "DAGSTER_PG_PASSWORD": password,
                },
                log,
                log.stat().st_size,
            )
        finally:
            # SIGINT is PostgreSQL's fast shutdown: it does not wait for clients.
            server.send_signal(signal.SIGINT)
            server.wait(timeout=PATIENCE_S)
    finally:
        shutil.rmtree(folder)


def create_database(port: int, password: str, server: subprocess.Popen[bytes], log: Path) -> None:
    """Make the empty database as soon as the server answers."""
    import psycopg2

    until = time.monotonic() + PATIENCE_S
    while True:
        try:
            connection = psycopg2.connect(host=HOST, port=port, user=USER, password=password, dbname="postgres")
            break
        except psycopg2.OperationalError:
            assert server.poll() is None and time.monotonic() < until, log.read_text()
            time.sleep(0.1)
    try:
        connection.autocommit = True
        connection.cursor().execute(f"CREATE DATABASE {DATABASE}")
    finally:
        connection.close()
