"""The UI listens on loopback only, and the shipped proxy lets nobody in but those who may come in.

Everything is real: `cherimoya-assets ui`, `dagster-webserver --read-only`, nginx with the files of `deploy/`.
"""

from __future__ import annotations

import json
import re
import ssl
from pathlib import Path

import dagster as dg
import pytest

from cherimoya_assets_tests.security.served import (
    CONF,
    NAME,
    PASSWORD,
    RULES,
    VIEWER_NAME,
    VIEWER_PASSWORD,
    Proxy,
    authorization,
    proxied,
)
from cherimoya_assets_tests.tiny_experiment import tiny_experiment

pytestmark = pytest.mark.slow

LISTENING = "0A"
LOOPBACK = {"0100007F", "00000000000000000000000001000000"}
"""127.0.0.1 and ::1 as /proc/net writes them."""

REPORT = (
    'mutation { reportRunlessAssetEvents(eventParams: {assetKey: {path: ["%s"]}, eventType: ASSET_MATERIALIZATION}) '
    "{ __typename } }"
)
"""A mutation that leaves a trace which anybody can look for."""


@pytest.fixture(scope="module")
def proxy(tmp_path_factory):
    folder = tmp_path_factory.mktemp("proxy")
    experiment = tiny_experiment(folder / "experiment")
    with proxied(experiment, folder / "home", folder) as started:
        yield started


def changed(proxy: Proxy, name: str) -> bool:
    """Whether the mutation with this name was executed."""
    with dg.DagsterInstance.from_config(str(proxy.home)) as instance:
        return instance.get_latest_materialization_event(dg.AssetKey(name)) is not None


# --- what listens ---


def test_the_ui_listens_on_loopback_only(proxy):
    listening = listening_addresses(family(proxy.ui))
    assert listening, "the UI listens nowhere"
    assert {address for address, _ in listening} <= LOOPBACK


def family(pid: int) -> set[int]:
    """A process and all that descend from it."""
    parents = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                parents[int(entry.name)] = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
            except OSError:
                continue
    found = {pid}
    while more := {child for child, parent in parents.items() if parent in found} - found:
        found |= more
    return found


def listening_addresses(pids: set[int]) -> set[tuple[str, int]]:
    """Addresses and ports on which these processes listen, from /proc."""
    sockets = set()
    for pid in pids:
        try:
            for descriptor in Path(f"/proc/{pid}/fd").iterdir():
                sockets.add(descriptor.readlink().name.removeprefix("socket:[").removesuffix("]"))
        except OSError:
            continue
    found = set()
    for table in ("tcp", "tcp6"):
        for line in Path(f"/proc/net/{table}").read_text().splitlines()[1:]:
            fields = line.split()
            if fields[3] == LISTENING and fields[9] in sockets:
                address, port = fields[1].split(":")
                found.add((address, int(port, 16)))
    return found


# --- who comes in ---


def test_without_the_password_nothing_is_answered(proxy):
    for password in (None, "wrong", VIEWER_PASSWORD):
        for method, path in (("GET", "/"), ("GET", "/server_info"), ("POST", "/graphql")):
            answer = proxy.ask(
                method, path, {"query": REPORT % "nobody"} if method == "POST" else None, password=password
            )
            assert answer.status == 401, (method, path, password)
            assert answer.headers["www-authenticate"].startswith("Basic")
            assert b"dagster" not in answer.body.lower()
    assert not changed(proxy, "nobody")


def test_a_foreign_host_is_not_answered(proxy):
    answer = proxy.ask("GET", "/server_info", host="evil.example")
    assert answer.status == 421
    assert proxy.ask("POST", "/graphql", {"query": REPORT % "host"}, host=f"127.0.0.1:{proxy.port}").status == 421
    with pytest.raises(ssl.SSLError, match=r"(?i)unrecognized.name"):
        proxy.ask("GET", "/server_info", name="evil.example")
    assert not changed(proxy, "host")


def test_the_page_and_its_scripts_load(proxy):
    page = proxy.ask("GET", "/")
    assert page.status == 200
    scripts = re.findall(rb'src="(/[^"]+\.js)"', page.body)
    assert scripts
    for script in scripts[:2]:
        answer = proxy.ask("GET", script.decode())
        assert answer.status == 200 and "javascript" in answer.headers["content-type"]


def test_queries_and_mutations_of_the_page_itself_work(proxy):
    answer = proxy.graphql("{ version }")
    assert answer.status == 200 and "errors" not in answer.json
    answer = proxy.graphql(REPORT % "mine")
    assert answer.json["data"]["reportRunlessAssetEvents"]["__typename"] == "ReportRunlessAssetEventsSuccess"
    assert changed(proxy, "mine")


def test_a_program_with_the_password_and_without_an_origin_may_ask(proxy):
    answer = proxy.ask("POST", "/graphql", {"query": "{ version }"})
    assert answer.status == 200 and "errors" not in answer.json


@pytest.mark.parametrize("origin", ["https://evil.example", "null", f"http://{NAME}", f"https://{NAME}.evil.example"])
def test_a_page_of_another_origin_changes_nothing(proxy, origin):
    name = re.sub(r"\W", "_", f"origin {origin}")
    assert proxy.graphql(REPORT % name, headers={"Origin": origin}).status == 403
    assert proxy.graphql(REPORT % name, headers={"Sec-Fetch-Site": "cross-site"}).status == 403
    assert not changed(proxy, name)


def test_the_origin_of_the_viewers_page_may_not_launch(proxy):
    origin = f"https://{VIEWER_NAME}:{proxy.port}"
    assert proxy.graphql(REPORT % "viewer_origin", headers={"Origin": origin}).status == 403
    assert not changed(proxy, "viewer_origin")


@pytest.mark.parametrize(
    "path", ["/graphql", "/graphql/", "//graphql", "/%67raphql", "/x/../graphql", "/./graphql", "/graphql;x"]
)
@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT"])
def test_graphql_is_not_asked_by_get(proxy, method, path):
    """An image or a link of any page would do; Dagster itself executes it."""
    name = re.sub(r"\W", "_", f"by {method} {path}")
    query = (REPORT % name).replace(" ", "%20").replace('"', "%22")
    for headers in ({}, {"Upgrade": "websocket"}, {"Upgrade": "websocket", "Connection": "upgrade"}):
        answer = proxy.ask(method, f"{path}?query={query}", headers=headers)
        assert 400 <= answer.status < 500, (answer.status, headers)
    assert not changed(proxy, name)


@pytest.mark.parametrize(
    "kind", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", ""]
)
def test_graphql_takes_json_only(proxy, kind):
    """What a form of another site can post without asking."""
    body = json.dumps({"query": REPORT % "form"}).encode()
    assert proxy.ask("POST", "/graphql", body, headers={"Content-Type": kind}).status == 415
    assert not changed(proxy, "form")


@pytest.mark.parametrize(
    "path", ["/report_asset_materialization/", "//report_asset_materialization/", "/%72eport_asset_materialization/"]
)
def test_events_from_outside_are_refused(proxy, path):
    answer = proxy.ask("POST", f"{path}outside", {}, headers={"Origin": proxy.origin})
    assert answer.status == 403
    assert not changed(proxy, "outside")
    assert proxy.ask("GET", "/notebook?path=/etc/passwd").status == 403


def test_a_page_cannot_be_framed_and_says_so_also_when_it_refuses(proxy):
    for answer in (proxy.ask("GET", "/"), proxy.ask("GET", "/", password=None), proxy.ask("GET", "/graphql")):
        assert answer.headers["x-frame-options"] == "DENY"
        assert "frame-ancestors 'none'" in answer.headers["content-security-policy"]
        assert answer.headers["x-content-type-options"] == "nosniff"


def test_a_large_body_is_refused(proxy):
    assert proxy.ask("POST", "/graphql", b" " * (1 << 20) + b"{}").status == 413


def test_subscriptions_are_websockets_of_the_page_itself(proxy):
    with websocket(proxy, origin=proxy.origin, password=PASSWORD) as opened:
        opened.send(json.dumps({"type": "connection_init", "payload": {}}))
        assert json.loads(opened.recv(timeout=30))["type"] == "connection_ack"
    for origin, password, status in (
        ("https://evil.example", PASSWORD, 403),
        (f"https://{VIEWER_NAME}:{proxy.port}", PASSWORD, 403),
        (proxy.origin, None, 401),
        (proxy.origin, "wrong", 401),
    ):
        assert refused(proxy, origin=origin, password=password) == status


def websocket(proxy: Proxy, *, origin: str, password: str | None):
    import socket

    from websockets.sync.client import connect

    plain = socket.create_connection(("127.0.0.1", proxy.port), timeout=30)
    return connect(
        f"wss://{NAME}:{proxy.port}/graphql",
        sock=plain,
        ssl=proxy.context(),
        server_hostname=NAME,
        origin=origin,
        subprotocols=["graphql-ws"],
        additional_headers=authorization(password),
        proxy=None,
    )


def refused(proxy: Proxy, **arguments) -> int:
    from websockets.exceptions import InvalidStatus

    with pytest.raises(InvalidStatus) as error:
        websocket(proxy, **arguments)
    return error.value.response.status_code


# --- those who look ---


def test_viewers_see_and_cannot_change(proxy):
    asked = {"name": VIEWER_NAME, "password": VIEWER_PASSWORD}
    origin = {"Origin": f"https://{VIEWER_NAME}:{proxy.port}"}
    assert proxy.ask("GET", "/", **asked).status == 200
    assert proxy.ask("GET", "/", name=VIEWER_NAME).status == 401
    answer = proxy.graphql("{ version }", headers=origin, **asked)
    assert answer.status == 200 and "errors" not in answer.json
    answer = proxy.graphql(REPORT % "viewed", headers=origin, **asked)
    assert "UnauthorizedError" in answer.body.decode() or "errors" in answer.json
    assert not changed(proxy, "viewed")


# --- the files themselves ---


def test_every_placeholder_is_in_the_command_that_fills_it_in():
    text = CONF.read_text()
    placeholders = set(re.findall(r"\$\{([A-Z_]+)\}", text))
    exported = set(re.findall(r"([A-Z_]+)=", "".join(re.findall(r"^#\s+export (.*)$", text, re.MULTILINE))))
    listed = set(re.search(r"printf '\$\{%s\} ' ([^)]*)\)", text)[1].replace("\\\n#", "").split())
    assert placeholders == exported == listed
    assert "${" not in RULES.read_text()
