"""The look that our pages share.

What belongs here: handing the style sheet to a template. What does not: the sheet itself (`page_style.css.j2`).
"""

from __future__ import annotations

from pathlib import Path

from markupsafe import Markup

SHEET = Path(__file__).with_name("page_style.css.j2")


def page_style() -> Markup:
    """The style sheet, to be put into a page's `style` element: a page stands alone."""
    return Markup(SHEET.read_text(encoding="utf-8"))
