"""What processes of their own do to a store: write, write again and again, die in the middle."""

from __future__ import annotations

import multiprocessing
import os
import shutil
import signal
import tempfile
from collections.abc import Callable
from multiprocessing.process import BaseProcess
from typing import Any

from cherimoya_assets.reports.folder import Report
from cherimoya_assets.resources.storage import AssetStore

KEY = ("demo", "counts", "report")

# A process that has imported everything and nothing more forks the writers, each in milliseconds.
SERVER = multiprocessing.get_context("forkserver")
SERVER.set_forkserver_preload([__name__, "s3fs"])


def report(text: str) -> Report:
    """A value of three files that all say the same, so that a mixture is seen."""
    return Report({"page.html": text.encode(), "figures/a.svg": f"<svg>{text}</svg>".encode()}, "page.html")


def whole(value: Report) -> str:
    """What a report says, having seen that it is one report and not a part or a mixture."""
    text = value.files["page.html"].decode()
    assert value == report(text)
    return text


def start(work: Callable[..., None], *arguments: Any) -> BaseProcess:
    """Do something in a process of its own, with the S3 server, the credentials and the temporary files of this one."""
    environment = {name: value for name, value in os.environ.items() if name.startswith("AWS_") or name == "TMPDIR"}
    process = SERVER.Process(target=_in_environment, args=(environment, work, *arguments))
    process.start()
    return process


def _in_environment(environment: dict[str, str], work: Callable[..., None], *arguments: Any) -> None:
    os.environ.update(environment)
    tempfile.tempdir = None
    work(*arguments)


def write(root: str, texts: list[str]) -> None:
    """Commit one report after the other to one partition."""
    store = AssetStore(root)
    for text in texts:
        store.commit(store.stage(report(text)), KEY, "chrI")


def write_and_die(root: str, text: str, steps: int) -> None:
    """Commit a report, and be killed before the step with this number: of the disk, or a request to the server."""
    left = [steps]

    def mortal(call: Any) -> Any:
        def wrapped(*args: Any, **kwargs: Any) -> Any:
            left[0] -= 1
            if left[0] < 0:
                os.kill(os.getpid(), signal.SIGKILL)
            return call(*args, **kwargs)

        return wrapped

    if "://" in root:
        import s3fs

        s3fs.S3FileSystem._call_s3 = mortal(s3fs.S3FileSystem._call_s3)
    else:
        for name in ("fsync", "replace", "symlink"):
            setattr(os, name, mortal(getattr(os, name)))
        shutil.rmtree = mortal(shutil.rmtree)
    write(root, [text])


def stage_and_wait(root: str, staged: Any, finished: Any) -> None:
    """Stage a report, say where, and commit it when told to."""
    store = AssetStore(root)
    value = store.stage(report("slow"))
    staged.send(str(value.folder))
    finished.recv()
    store.commit(value, KEY, "chrI")
