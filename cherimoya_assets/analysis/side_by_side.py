"""Independent pieces of work side by side: as many as there are cores, each on one.

What lives here: that loop, and the loop inside of a piece that cores without a piece of their own join. What must not:
the work.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from contextlib import AbstractContextManager, contextmanager
from functools import cache
from typing import Any, TypeVar

T = TypeVar("T")


def each_alone(
    work: Callable[[int], T], count: int, device: str, stretch: int | None = None
) -> Iterator[tuple[int, T]]:
    """Call `work(k)` for every k below `count`; yield (k, result) as each is done, in the thread of the caller.

    On a CPU as many are at work as torch has threads, each in a single one: pieces that share nothing use the cores
    better than one piece whose every step is divided, and a sum that is never divided has the same bits in any company.
    Where there are fewer pieces than threads, and towards the end, the threads that are left join in what a piece
    divides with `shared`. On a GPU one follows the other. The first error ends it all.

    With `stretch`, every so many calls are all done before the next begins: what is lost with the process is of one.
    """
    import torch

    if device != "cpu":
        for k in range(count):
            yield k, work(k)
        return
    crew = _Crew(max(1, torch.get_num_threads()) if count else 1)
    with _thread_count_kept(), crew.pool:
        for first in range(0, count, stretch or max(count, 1)):
            futures = {crew.submit(work, k): k for k in range(first, min(first + (stretch or count), count))}
            try:
                for future in as_completed(futures):
                    yield futures.pop(future), future.result()
            finally:
                for future in futures:
                    future.cancel()


def shared(work: Callable[[int], object], count: int) -> None:
    """Call `work(k)` for every k below `count`, in any order; return when all are done.

    Called by a piece of `each_alone`, threads that have no piece of their own take part; elsewhere the caller does all.
    Which thread does what must not matter. The first error ends it.
    """
    crew: _Crew | None = getattr(_THREAD, "crew", None)
    left = deque(range(count))

    def take_part() -> None:
        try:
            while left:
                # Another may have taken the last one since.
                try:
                    k = left.popleft()
                except IndexError:
                    return
                work(k)
        except BaseException:
            left.clear()
            raise

    helpers = [] if crew is None else crew.lend(take_part, count - 1)
    try:
        take_part()
    finally:
        for helper in helpers:
            # One that has not begun is not waited for: its thread may be busy for long.
            if not helper.cancel():
                helper.result()


_THREAD = threading.local()


class _Crew:
    """The threads of one `each_alone`."""

    def __init__(self, threads: int) -> None:
        self.pool = ThreadPoolExecutor(threads, initializer=self._join)
        self.threads = threads
        self._lock = threading.Lock()
        self._pieces = 0

    def submit(self, work: Callable[[int], T], k: int) -> Future[T]:
        with self._lock:
            self._pieces += 1
        future = self.pool.submit(work, k)
        future.add_done_callback(self._ended)
        return future

    def lend(self, work: Callable[[], None], most: int) -> list[Future[None]]:
        """Have threads without a piece do some work, beside the one that asks."""
        with self._lock:
            idle = self.threads - self._pieces
        return [self.pool.submit(work) for _ in range(min(idle, most))]

    def _join(self) -> None:
        import torch

        torch.set_num_threads(1)
        _THREAD.crew = self

    def _ended(self, future: Future[Any]) -> None:
        with self._lock:
            self._pieces -= 1


def one_blas_thread() -> AbstractContextManager[object]:
    """While it lasts, NumPy's and SciPy's matrix products use the thread that asks."""
    limited: AbstractContextManager[object] = _blas().limit(limits=1, user_api="blas")
    return limited


@cache
def _blas() -> Any:
    from threadpoolctl import ThreadpoolController  # type: ignore[import-not-found,import-untyped,unused-ignore]

    return ThreadpoolController()


@contextmanager
def _thread_count_kept() -> Iterator[None]:
    """One thread for each matrix product, and torch's count put back, which a worker sets for the whole process."""
    import torch

    threads = torch.get_num_threads()
    try:
        with one_blas_thread():
            yield
    finally:
        torch.set_num_threads(threads)
