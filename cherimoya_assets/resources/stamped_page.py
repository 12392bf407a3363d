"""A stamp inside an HTML page, so that a page which is mailed alone still says where it comes from.

What belongs here: writing and reading the block. What does not: what a stamp says.

The block is JSON in a `script` element of a type that no browser runs. Everything that could end the element or begin
another is escaped, because stamps hold names that come from files.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from cherimoya_assets.resources.stamp import Stamp

OPEN = b'\n<script type="application/json" id="cherimoya-assets-stamp">'
CLOSE = b"</script>\n"
BLOCK = re.compile(re.escape(OPEN) + rb"([^<]*)" + re.escape(CLOSE))

ESCAPES = {"<": "\\u003c", ">": "\\u003e", "&": "\\u0026", "\u2028": "\\u2028", "\u2029": "\\u2029"}


@dataclass(frozen=True)
class PageStamp:
    """The stamp of a page, and whether the page is still the one that was stamped."""

    stamp: Stamp
    unchanged: bool


def stamp_page(page: bytes, stamp: Mapping[str, Any]) -> bytes:
    """The page with the stamp at its end. An earlier stamp is replaced."""
    page = BLOCK.sub(b"", page)
    text = json.dumps({"page_sha256": hashlib.sha256(page).hexdigest(), "stamp": stamp}, sort_keys=True)
    for character, escape in ESCAPES.items():
        text = text.replace(character, escape)
    block = OPEN + text.encode() + CLOSE
    before, end, after = page.rpartition(b"</body>")
    return before + block + end + after if end else page + block


def read_page_stamp(page: bytes) -> PageStamp | None:
    """The stamp in a page, or None where there is none that can be read."""
    found = BLOCK.search(page)
    if found is None:
        return None
    try:
        raw = json.loads(found[1])
        stamp, sha256 = Stamp.read(dict(raw["stamp"])), raw["page_sha256"]
    except (ValueError, KeyError, TypeError, RecursionError):
        return None
    return PageStamp(stamp, hashlib.sha256(BLOCK.sub(b"", page)).hexdigest() == sha256)
