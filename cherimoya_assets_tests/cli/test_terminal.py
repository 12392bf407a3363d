"""While the display owns the terminal, nobody else writes to it; afterwards all is as it was."""

from __future__ import annotations

import subprocess
import sys

import pytest

from cherimoya_assets.cli.terminal import own_terminal

NOISE = [
    lambda: print("noise"),
    lambda: print("noise", file=sys.stderr),
    lambda: subprocess.run(["echo", "noise"], check=True),
    lambda: subprocess.run([sys.executable, "-c", "import sys; sys.stderr.write('noise')"], check=True),
]


@pytest.mark.parametrize("make_noise", NOISE)
def test_only_our_stream_reaches_the_terminal(capfd, make_noise):
    with own_terminal() as terminal:
        make_noise()
        print("ours", file=terminal)
        make_noise()
    print("after")
    seen = capfd.readouterr()
    assert (seen.out, seen.err) == ("ours\nafter\n", "")


def test_streams_come_back_after_an_error(capfd):
    with pytest.raises(RuntimeError), own_terminal():
        raise RuntimeError
    print("out")
    print("err", file=sys.stderr)
    assert capfd.readouterr() == ("out\n", "err\n")


def test_streams_that_are_no_files_are_replaced(capsys, monkeypatch):
    with own_terminal() as terminal:
        print("noise")
        print("ours", file=terminal)
    print("after")
    assert capsys.readouterr().out == "ours\nafter\n"
