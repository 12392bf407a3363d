"""`cherimoya-assets ui` and a read-only web server behind the real nginx with the configuration that is shipped.

Shared by the tests of the proxy; what they assert is in `test_deployment.py`.
"""

from __future__ import annotations

import base64
import http.client
import json
import os
import re
import shutil
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from cherimoya_assets_tests.servers.ports import free_port
from cherimoya_assets_tests.test_webserver import NO_SKIP

ROOT = Path(__file__).parents[2]
CONF, RULES = ROOT / "deploy" / "nginx.conf", ROOT / "deploy" / "nginx_rules.conf"
NAME, VIEWER_NAME = "dagster.example.org", "view.example.org"
PASSWORD, VIEWER_PASSWORD = "correct horse", "battery staple"

MAIN = """\
daemon off; worker_processes 1; pid {folder}/pid; error_log {folder}/error.log;
events {{ worker_connections 128; }}
http {{
    access_log {folder}/access.log;
    client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy; fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi; scgi_temp_path {folder}/scgi;
    include {folder}/cherimoya.conf;
}}
"""
"""What a distribution's nginx.conf is in /etc, for one that is nobody's service."""

LOCATION = """\
import dagster as dg

@dg.asset
def something(): ...

defs = dg.Definitions([something])
"""


@dataclass(frozen=True)
class Answer:
    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


@dataclass(frozen=True)
class Proxy:
    """The proxy on loopback. `ui` is the process of `cherimoya-assets ui`, `home` its DAGSTER_HOME."""

    port: int
    certificate: Path
    ui: int
    home: Path

    @property
    def origin(self) -> str:
        return f"https://{NAME}:{self.port}"

    def context(self) -> ssl.SSLContext:
        return ssl.create_default_context(cafile=str(self.certificate))

    def ask(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        name: str = NAME,
        host: str | None = None,
        password: str | None = PASSWORD,
        headers: Mapping[str, str] | None = None,
    ) -> Answer:
        """One request. `name` is the host that TLS is spoken with, `host` the Host header where it is another."""
        sent = {"Host": host or f"{name}:{self.port}", **authorization(password), **(headers or {})}
        raw = body if isinstance(body, bytes | None) else json.dumps(body).encode()
        if raw is not None:
            sent.setdefault("Content-Type", "application/json")
        with (
            socket.create_connection(("127.0.0.1", self.port), timeout=30) as plain,
            self.context().wrap_socket(plain, server_hostname=name) as secured,
        ):
            connection = http.client.HTTPConnection(name)
            connection.sock = secured
            connection.putrequest(method, path, skip_host=True, skip_accept_encoding=True)
            for header, value in {**sent, "Content-Length": str(len(raw or b""))}.items():
                connection.putheader(header, value)
            connection.endheaders(raw)
            answer = connection.getresponse()
            return Answer(answer.status, {k.lower(): v for k, v in answer.getheaders()}, answer.read())

    def graphql(self, query: str, **arguments: Any) -> Answer:
        """A GraphQL request as the page makes it."""
        headers = {"Origin": self.origin, "Sec-Fetch-Site": "same-origin", **(arguments.pop("headers", {}))}
        return self.ask("POST", "/graphql", {"query": query}, headers=headers, **arguments)


def authorization(password: str | None) -> dict[str, str]:
    if password is None:
        return {}
    return {"Authorization": "Basic " + base64.b64encode(f"reader:{password}".encode()).decode()}


def filled_in(text: str, values: Mapping[str, object]) -> str:
    """As `envsubst` does it with the list of names that the file itself gives."""
    return re.sub(r"\$\{([A-Z_]+)\}", lambda found: str(values[found[1]]), text)


@contextmanager
def proxied(experiment: Path, home: Path, folder: Path) -> Iterator[Proxy]:
    """The UI of an experiment, a read-only server of the same home, and nginx before both."""
    for program in ("nginx", "openssl"):
        if not executable(program):
            (pytest.fail if NO_SKIP else pytest.skip)(f"{program} is not installed")
    port, upstream, viewer = free_port(), free_port(), free_port()
    (folder / "location.py").write_text(LOCATION)
    script = str(Path(sys.executable).with_name("cherimoya-assets"))
    environment = {**os.environ, "DAGSTER_HOME": str(home / "dagster"), "DAGSTER_DISABLE_TELEMETRY": "1"}
    viewing = [str(Path(sys.executable).with_name("dagster-webserver")), "--read-only", "-f", "location.py"]
    with (
        running([script, "ui", str(experiment), "--home", str(home), "--port", str(upstream)], folder / "ui") as ui,
        nginx(folder, port, upstream, viewer) as certificate,
    ):
        # The UI makes the home when it is not there.
        until(lambda: (home / "dagster" / "dagster.yaml").exists(), ui, folder / "ui")
        options = [*viewing, "-h", "127.0.0.1", "-p", str(viewer)]
        with running(options, folder / "viewer", env=environment, cwd=folder) as looking:
            until(lambda: "Dagster UI: http" in (folder / "ui.log").read_text(), ui, folder / "ui")
            until(lambda: listens(viewer), looking, folder / "viewer")
            yield Proxy(port, certificate, ui.pid, home / "dagster")


@contextmanager
def nginx(folder: Path, port: int, upstream: int, viewer: int) -> Iterator[Path]:
    """The shipped configuration with a certificate and passwords of its own; yields the certificate."""
    key, certificate = folder / "key.pem", folder / "certificate.pem"
    subprocess.run(
        [
            *("openssl", "req", "-x509", "-nodes", "-days", "2", "-keyout", key, "-out", certificate),
            *("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"),
            *("-subj", f"/CN={NAME}", "-addext", f"subjectAltName=DNS:{NAME},DNS:{VIEWER_NAME}"),
        ],
        check=True,
        capture_output=True,
    )
    for name, password in (("passwords", PASSWORD), ("viewer_passwords", VIEWER_PASSWORD)):
        hashed = subprocess.run(["openssl", "passwd", "-6", password], check=True, capture_output=True, text=True)
        (folder / name).write_text(f"reader:{hashed.stdout}")
    shutil.copy(RULES, folder / "rules.conf")
    values = {
        "LISTEN": f"127.0.0.1:{port}",
        "SERVER_NAME": NAME,
        "VIEWER_NAME": VIEWER_NAME,
        "UPSTREAM": f"127.0.0.1:{upstream}",
        "VIEWER_UPSTREAM": f"127.0.0.1:{viewer}",
        "CERTIFICATE": certificate,
        "CERTIFICATE_KEY": key,
        "PASSWORDS": folder / "passwords",
        "VIEWER_PASSWORDS": folder / "viewer_passwords",
        "RULES": folder / "rules.conf",
    }
    (folder / "cherimoya.conf").write_text(filled_in(CONF.read_text(), values))
    (folder / "nginx.conf").write_text(MAIN.format(folder=folder))
    # nginx gives files of its temporary folders to its workers' user, who must be able to come here.
    command = [
        executable("nginx"),
        "-p",
        str(folder),
        "-c",
        str(folder / "nginx.conf"),
        "-e",
        str(folder / "error.log"),
    ]
    if os.getuid() == 0:
        command += ["-g", "user root;"]
    with running(command, folder / "nginx") as server:
        until(lambda: listens(port), server, folder / "nginx")
        yield certificate


@contextmanager
def running(command: list[str], log: Path, **options: Any) -> Iterator[subprocess.Popen[bytes]]:
    with log.with_suffix(".log").open("wb") as stream:
        process = subprocess.Popen(command, stdout=stream, stderr=stream, **options)
        try:
            yield process
        finally:
            process.terminate()
            process.wait(timeout=60)


def until(done: Any, process: subprocess.Popen[bytes], log: Path, seconds: float = 120) -> None:
    end = time.monotonic() + seconds
    while not done():
        if process.poll() is not None or time.monotonic() > end:
            pytest.fail(f"{process.args}: {log.with_suffix('.log').read_text()[-2000:]}")
        time.sleep(0.1)


def listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def executable(program: str) -> str | None:
    """Where a program is; Debian keeps servers where ordinary users do not look."""
    return shutil.which(program, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")
