"""Independent pieces of work side by side: as many as there are cores, each on one.

What lives here: that one loop. What must not: the work.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import AbstractContextManager, contextmanager
from functools import cache
from typing import Any, TypeVar

T = TypeVar("T")


def each_alone(
    work: Callable[[int], T], count: int, device: str, stretch: int | None = None
) -> Iterator[tuple[int, T]]:
    """Call `work(k)` for every k below `count`; yield (k, result) as each is done, in the thread of the caller.

    On a CPU as many are at work as torch has threads, each in a single one, the only piece too: pieces that share
    nothing use the cores better than one piece whose every step is divided, and a sum that is never divided has the
    same bits in any company. On a GPU one follows the other. The first error ends it all.

    With `stretch`, every so many calls are all done before the next begins: what is lost with the process is of one.
    """
    import torch

    if device != "cpu":
        for k in range(count):
            yield k, work(k)
        return
    threads = max(1, min(torch.get_num_threads(), count))
    with _thread_count_kept(), ThreadPoolExecutor(threads, initializer=torch.set_num_threads, initargs=(1,)) as pool:
        for first in range(0, count, stretch or max(count, 1)):
            futures = {pool.submit(work, k): k for k in range(first, min(first + (stretch or count), count))}
            try:
                for future in as_completed(futures):
                    yield futures.pop(future), future.result()
            finally:
                for future in futures:
                    future.cancel()


def one_blas_thread() -> AbstractContextManager[object]:
    """While it lasts, NumPy's and SciPy's matrix products (compiled code calls those) use the thread that asks."""
    limited: AbstractContextManager[object] = _blas().limit(limits=1, user_api="blas")
    return limited


@cache
def _blas() -> Any:
    # Numba calls SciPy's library, which must be there to be found.
    import scipy.linalg.blas  # noqa: F401
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
