"""`dagster dev`, ending in good order when the process that started it has gone in whatever way.

What belongs here: that. What does not: which arguments it gets (`ui.py`). `python -m cherimoya_assets.cli.dagster_dev`
takes the arguments of `dagster dev`; its standard input is a pipe that only its parent holds open.

`dagster dev` 1.13.27 itself goes on without its parent: measured, all of its processes were there 90 s later.
"""

from __future__ import annotations

import os
import runpy
import signal
import sys
import threading


def main() -> None:
    """Be `dagster dev`."""
    # Started in the background of a script, ctrl-C would be ignored, here and by the daemon and its run workers.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    sys.argv = ["dagster", "dev", *sys.argv[1:]]
    runpy.run_module("dagster", run_name="__main__", alter_sys=True)


def _end_with_parent() -> None:
    while os.read(0, 1):
        pass
    # Ctrl-C to Dagster, which then ends its web server, daemon and code server one after the other.
    os.kill(os.getpid(), signal.SIGINT)


if __name__ == "__main__":
    main()
