"""Children that speak, fail, hang on and lose their parent. Each is a small Python program."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from cherimoya_assets.analysis.child_process import TAIL_LINES, ChildError, available_cpus, run_child

PATIENCE = 60
"""Seconds after which a child that ought to be gone counts as alive."""

HANG_ON = """
import os, subprocess, sys, time
held = os.open("alive", os.O_WRONLY)
deaf = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('ready', flush=True); time.sleep(600)"
subprocess.Popen([sys.executable, "-c", deaf], pass_fds=[held])
time.sleep(600)
"""
"""Holds the named pipe `alive` open, and so does a child of its own that ignores SIGTERM, until both are gone."""

LEAVE_ONE = """
import os, subprocess, sys
held = os.open("alive", os.O_WRONLY)
subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"], pass_fds=[held])
print("done")
"""
"""Ends, and leaves a child that holds the pipe and its output."""


def python(program):
    return [sys.executable, "-c", textwrap.dedent(program)]


def run(program, folder, **arguments):
    """Run a program and return the lines that it printed."""
    lines = []
    run_child(python(program), folder=folder, log=lines.append, **arguments)
    return lines


class Alive:
    """A named pipe that ends when every process that holds it is gone, zombies not counted."""

    def __init__(self, folder: Path) -> None:
        os.mkfifo(folder / "alive")
        self._reader = os.open(folder / "alive", os.O_RDONLY | os.O_NONBLOCK)

    def is_over(self) -> bool:
        readable, _, _ = select.select([self._reader], [], [], PATIENCE)
        return bool(readable) and os.read(self._reader, 1) == b""


@pytest.fixture
def alive(tmp_path):
    return Alive(tmp_path)


def test_lines_arrive_while_the_program_runs(tmp_path):
    """The program goes on only when its first line has been heard."""
    program = """
    import pathlib, time
    print("first")
    for _ in range(600):
        if pathlib.Path("heard").exists():
            break
        time.sleep(0.1)
    else:
        raise SystemExit("nobody heard")
    print("second")
    """
    lines = []

    def hear(line):
        lines.append(line)
        (tmp_path / "heard").touch()

    run_child(python(program), folder=tmp_path, log=hear)
    assert lines == ["first", "second"]


def test_both_streams_are_heard_without_empty_lines_and_undecodable_bytes_do_no_harm(tmp_path):
    program = r"""
    import sys
    print("out")
    print()
    sys.stderr.write("err  \n")
    sys.stdout.buffer.write(b"\xff\xfe ok \xc3\xbc\n")
    """
    assert run(program, tmp_path) == ["out", "err", "\ufffd\ufffd ok ü"]


def test_it_runs_in_its_folder_with_our_environment_and_more(tmp_path, monkeypatch):
    monkeypatch.setenv("OURS", "kept")
    monkeypatch.setenv("CHANGED", "before")
    program = "import os; print(os.getcwd(), os.environ['OURS'], os.environ['CHANGED'])"
    assert run(program, tmp_path, environment={"CHANGED": "after"}) == [f"{tmp_path.resolve()} kept after"]
    assert os.environ["CHANGED"] == "before"


def test_it_cannot_read_our_standard_input(tmp_path):
    assert run("import sys; print(repr(sys.stdin.read()))", tmp_path) == ["''"]


@pytest.mark.parametrize(
    ("program", "code", "sentence"),
    [
        ("raise SystemExit(3)", 3, "stopped with exit code 3"),
        ("import os, signal; os.kill(os.getpid(), signal.SIGSEGV)", 139, "was ended by signal 11"),
        ("import os, signal; os.kill(os.getpid(), signal.SIGKILL)", 137, "was killed (signal 9; the machine may have"),
    ],
)
def test_an_end_that_is_not_success_is_an_error_that_says_how(tmp_path, program, code, sentence):
    with pytest.raises(ChildError) as raised:
        run(program, tmp_path)
    assert raised.value.code == code
    assert raised.value.describe().startswith(sentence)


def test_the_error_holds_the_last_lines(tmp_path):
    with pytest.raises(ChildError) as raised:
        run("print('\\n'.join(map(str, range(100)))); raise SystemExit('end')", tmp_path)
    last = [*map(str, range(100)), "end"][-TAIL_LINES:]
    assert list(raised.value.tail) == last
    assert raised.value.describe().splitlines()[1:] == [f"  {line}" for line in last]


def test_what_the_program_leaves_running_ends_with_it(tmp_path, alive):
    assert run(LEAVE_ONE, tmp_path) == ["done"]
    assert alive.is_over()


@pytest.mark.parametrize("interruption", [KeyboardInterrupt, ValueError])
def test_an_interruption_of_ours_ends_the_program_and_its_children(tmp_path, alive, interruption):
    def interrupt(line):
        raise interruption

    with pytest.raises(interruption):
        run_child(python(HANG_ON), folder=tmp_path, log=interrupt)
    assert alive.is_over()


@pytest.mark.parametrize("end", [signal.SIGKILL, signal.SIGTERM])
def test_the_program_and_its_children_die_when_their_parent_is_killed(tmp_path, alive, end):
    parent = f"""
    from pathlib import Path
    from cherimoya_assets.analysis.child_process import run_child
    run_child({python(HANG_ON)!r}, folder=Path({str(tmp_path)!r}), log=lambda line: print(line, flush=True))
    """
    with subprocess.Popen(python(parent), stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        os.kill(process.pid, end)
        assert process.wait() == -end
    assert alive.is_over()


@pytest.mark.parametrize(
    ("quota", "expected"), [("max 100000\n", 4), ("250000 100000\n", 2), ("50000 100000\n", 1), ("800000 100000\n", 4)]
)
def test_cpus_are_those_that_the_process_may_use(monkeypatch, quota, expected):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1, 2, 5}, raising=False)
    monkeypatch.setattr(Path, "read_text", lambda _: quota)
    assert available_cpus() == expected
