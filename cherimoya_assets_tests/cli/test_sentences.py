"""Problems on the command line: each on a line of its own, many of one kind counted."""

from __future__ import annotations

from cherimoya_assets.cli import sentences
from cherimoya_assets.errors import InputError, Problems


def test_one_is_itself():
    assert sentences(InputError("a.fa: no such file.")) == "a.fa: no such file."
    assert sentences(Problems(["a.fa: no such file."])) == "a.fa: no such file."


def test_many_of_one_kind_are_counted_and_hide_no_other():
    rows = [f"m.meme line {7 * k}: expected four probabilities, found '-0.{k} 1 {k}e-3 0'." for k in range(1, 89)]
    said = sentences(Problems([*rows[:40], "a.fa: no such file.", *rows[40:]]))
    assert said.splitlines() == [
        "89 problems:",
        f"  1. {rows[0]}",
        f"  2. {rows[1]}",
        f"  3. {rows[2]} And 85 more like these.",
        "  4. a.fa: no such file.",
    ]
