"""Whatever is in a file, our parsers read it or say in a sentence of ours why not.

The same property as in the fuzz target (`fuzz/parsers.py`), for some seconds, always with the same inputs.
"""

from __future__ import annotations

import json

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cherimoya_assets_tests.security.parsers import FOUND, PARSERS, SEEDS, parse

pytestmark = pytest.mark.slow

EXAMPLES = 40

TOKENS = [
    *(b"", b"\0", b"\n", b"\r\n", b"\t", b"\x1b[2J", b"\xff\xfe", b"-", b"{", b"[", b"}", b"]", b"[" * 3000),
    *(b"null", b"true", b"NaN", b"1e999", b"9" * 5000, b"\\ud800", b"\\u0000", b"!!python/object/apply:os.system"),
    *(b"!!int ", b"!!bool x", b"!!timestamp x", b"!!map [a]", b"&a *a", b"<<: ", b"0x" + b"f" * 5000, b"1:" * 3000),
    *(b"../", b"~nobody/", b"<script>", b"\xe2\x80\xae", "²".encode(), b'"": ', b"[]", b"{}", b'"x"'),
]


@st.composite
def files(draw: st.DrawFn, seeds: list[bytes]) -> bytes:
    """A file as it should be, with some pieces replaced."""
    content = draw(st.sampled_from(seeds))
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, len(content)))
        until = draw(st.integers(at, min(len(content), at + 12)))
        content = content[:at] + draw(st.sampled_from(TOKENS) | st.binary(max_size=8)) + content[until:]
    return content


def spoilt(value):
    """Every value that is `value` with one part of it replaced by something of another kind."""
    yield from (None, 5, "x", [], {}, ["x"], {"x": 1})
    if isinstance(value, dict):
        for name, part in value.items():
            yield {other: one for other, one in value.items() if other != name}
            yield from ({**value, name: wrong} for wrong in spoilt(part))
    if isinstance(value, list):
        for number, part in enumerate(value):
            yield from ([*value[:number], wrong, *value[number + 1 :]] for wrong in spoilt(part))


@pytest.mark.parametrize("name", PARSERS)
def test_a_spoilt_file_is_read_or_refused_in_a_sentence(name, tmp_path_factory):
    folder = tmp_path_factory.mktemp(name) / "work"

    @settings(max_examples=EXAMPLES, deadline=None, derandomize=True, database=None, suppress_health_check=HealthCheck)
    @given(files(SEEDS[name]))
    def holds(content: bytes) -> None:
        parse(name, content, folder)

    holds()


@pytest.mark.parametrize("name", [name for name, seeds in SEEDS.items() if seeds[0][:1] == b"{"])
def test_json_with_a_value_of_another_kind_is_read_or_refused_in_a_sentence(name, tmp_path):
    refused = 0
    for value in spoilt(json.loads(SEEDS[name][0])):
        refused += parse(name, json.dumps(value).encode(), tmp_path / "work") is not None
    assert refused > 5


@pytest.mark.parametrize("name", PARSERS)
def test_the_files_to_begin_from_are_read(name, tmp_path):
    """Otherwise the property above would hold for parsers that refuse everything."""
    assert parse(name, SEEDS[name][0], tmp_path / "work") is None


@pytest.mark.parametrize(("name", "content"), FOUND)
def test_what_fuzzing_found_stays_mended(name, content, tmp_path):
    assert parse(name, content, tmp_path / "work") is not None
