"""Text from files inside Markdown, which the Dagster UI renders: descriptions and tables of metadata.

What belongs here: escaping. What does not: writing Markdown.
"""

from __future__ import annotations

import re

_ACTIVE = re.compile(r"[\\`*{}\[\]()<>#+|!&~:]|(?<!\w)_|_(?!\w)")
"""A colon would make a link of an address; an underscore between letters is one."""


def markdown_text(text: str) -> str:
    """The text as Markdown that shows it as it is: no HTML, link, image or end of a table's cell; one line."""
    return _ACTIVE.sub(lambda found: f"&#{ord(found[0])};", " ".join(text.split()))
