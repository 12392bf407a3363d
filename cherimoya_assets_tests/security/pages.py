"""Pages and Markdown taken apart as a browser would, and what in them could act."""

from __future__ import annotations

from html.parser import HTMLParser

PAYLOADS = (
    '"><img src=x onerror="window.pwned=1"><script>window.pwned=1</script>{{7*191}} ](javascript:window.pwned=1) | x',
    "javascript:window.pwned=1/../../../x' onmouseover='window.pwned=1' <svg/onload=window.pwned=1> =cmd|' /C x'!A0",
)
"""Names of motifs, each several attacks in one: out of an attribute, out of a cell, a template, a link, a formula."""

CHROMS = (
    "<img/src=x/onerror=window.pwned=1>",
    "../../../x",
    'ref|NC_001133|,[1]"\\',
    "_pooled",
    "..",
    "javascript:window.pwned=1",
    "=cmd()$(touch${IFS}EXECUTED);`touch${IFS}EXECUTED`",
    "-rf",
    "%2F..%2Fx",
    "CON",
)
"""Names of sequences, which have no spaces in a FASTA."""

ACTIVE = {"script", "iframe", "object", "embed", "form", "base", "meta", "link", "img", "input", "button", "math"}
"""Elements that act or load something; `meta` is counted where a page has its own."""


class Page(HTMLParser):
    """The elements of a page, with their attributes, and its text."""

    def __init__(self, source: str) -> None:
        super().__init__(convert_charrefs=True)
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(source)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data

    def count(self, tag: str) -> int:
        return sum(name == tag for name, _ in self.elements)


def acting(page: Page) -> list[str]:
    """Every part of a page that could act or reach out, but for its own stamp and its own two `meta`."""
    found = []
    metas = 0
    for tag, attributes in page.elements:
        own_meta = tag == "meta" and set(attributes) in ({"charset"}, {"name", "content"}) and metas < 2
        stamp = tag == "script" and attributes.get("type") == "application/json"
        metas += own_meta
        if tag in ACTIVE and not own_meta and not stamp:
            found.append(f"<{tag} {attributes}>")
        for name, value in attributes.items():
            target = "".join((value or "").lower().split())
            if name.startswith("on") or name in ("srcdoc", "formaction"):
                found.append(f"{tag} {name}={value}")
            if name in ("href", "src", "xlink:href", "action") and ":" in target.partition("/")[0]:
                found.append(f"{tag} {name}={value}")
    return found
