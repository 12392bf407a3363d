"""Text from files on its way to a terminal or a log: shown, never obeyed.

What belongs here: taking away what a terminal would act on. What does not: HTML and Markdown, which are escaped where
they are made.

Names of files, motifs and chromosomes, keys and stamps are written by whoever wrote the file. An escape sequence in one
could rewrite the lines above it, and a mark that turns the direction of writing can make a command read as another.
"""

from __future__ import annotations

REPLACEMENT = "\ufffd"

LONGEST_LINE = 2000
"""Characters of a line of an error; a name of a megabyte would bury the sentence that it stands in."""


def printable(text: str) -> str:
    """The text with everything replaced that is neither printable nor a line end."""
    return "".join(c if c.isprintable() or c == "\n" else REPLACEMENT for c in text)


def in_few_words(text: str) -> str:
    """The text, printable, lines that are longer than `LONGEST_LINE` cut in their middle."""
    return "\n".join(_cut(line) for line in printable(text).split("\n"))


def _cut(line: str) -> str:
    if len(line) <= LONGEST_LINE:
        return line
    half = LONGEST_LINE // 2
    return f"{line[:half]} ... {line[-half:]}"
