"""Independent pieces of work side by side: as many as there are cores, each on one.

What lives here: that one loop. What must not: the work.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from typing import TypeVar

T = TypeVar("T")


def each_alone(work: Callable[[int], T], count: int, device: str) -> Iterator[tuple[int, T]]:
    """Call `work(k)` for every k below `count`; yield (k, result) as each is done, in the thread of the caller.

    On a CPU as many are at work as torch has threads, each in a single one, the only piece too: pieces that share
    nothing use the cores better than one piece whose every step is divided, and a sum that is never divided has the
    same bits in any company. On a GPU one follows the other. The first error ends it all.
    """
    import torch

    if device != "cpu":
        for k in range(count):
            yield k, work(k)
        return
    threads = max(1, min(torch.get_num_threads(), count))
    with _thread_count_kept(), ThreadPoolExecutor(threads, initializer=torch.set_num_threads, initargs=(1,)) as pool:
        futures = {pool.submit(work, k): k for k in range(count)}
        try:
            for future in as_completed(futures):
                yield futures.pop(future), future.result()
        finally:
            for future in futures:
                future.cancel()


@contextmanager
def _thread_count_kept() -> Iterator[None]:
    """What a thread says of its own thread count also sets the matrix library's of the whole process: put it back."""
    import torch

    threads = torch.get_num_threads()
    try:
        yield
    finally:
        torch.set_num_threads(threads)
