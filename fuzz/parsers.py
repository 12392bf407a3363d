"""Fuzz the parsers that are ours: `python fuzz/parsers.py [--parser NAME] [libFuzzer's options] [CORPUS]`.

Only one of our errors, with a sentence, may come out of a parser: no other exception, no hang, no huge allocation.
What a parser is, and the files to begin from, are in `cherimoya_assets_tests/security/parsers.py`; the suite holds the
same property for some seconds. This needs atheris, which is no dependency of the package: `pip install atheris`.

    python fuzz/parsers.py -max_total_time=600 -timeout=20 -rss_limit_mb=4096

Without `--parser` the first byte of the input chooses the parser. A crash is written to a file `crash-...`; give its
name in the place of the corpus to see it again.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import atheris

with atheris.instrument_imports(include=["cherimoya_assets", "yaml"]):
    from cherimoya_assets_tests.security.parsers import PARSERS, SEEDS, parse

LONGEST = 4096
"""Bytes of an input: what is slow in the square of the length is slow here already."""


def main() -> None:
    arguments = argparse.ArgumentParser(add_help=False)
    arguments.add_argument("--parser", choices=sorted(PARSERS))
    chosen, rest = arguments.parse_known_args()
    names = [chosen.parser] if chosen.parser else list(PARSERS)

    with TemporaryDirectory() as scratch:
        seeds, work = Path(scratch) / "seeds", Path(scratch) / "work"
        seeds.mkdir()
        for number, name in enumerate(names):
            for place, seed in enumerate(SEEDS[name]):
                (seeds / f"{name}_{place}").write_bytes(bytes([number]) + seed)

        def one_input(content: bytes) -> None:
            if content:
                parse(names[content[0] % len(names)], content[1:], work)

        again = any(not option.startswith("-") and Path(option).is_file() for option in rest)
        corpus = [] if again else [str(seeds)]
        atheris.Setup([sys.argv[0], f"-max_len={LONGEST}", *rest, *corpus], one_input)
        atheris.Fuzz()


if __name__ == "__main__":
    main()
