"""Pieces of work side by side: all of them, each in one thread, the first error, and the thread count put back."""

from __future__ import annotations

import threading
import time

import pytest
import torch

from cherimoya_assets.analysis.side_by_side import each_alone

DEVICES = ("cpu", "cuda")


@pytest.fixture(autouse=True)
def _threads_kept():
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("threads", [1, 2, 3])
@pytest.mark.parametrize("count", [0, 1, 2, 10])
def test_yields_every_result_with_its_number(device, threads, count):
    torch.set_num_threads(threads)
    assert sorted(each_alone(lambda k: k * k, count, device)) == [(k, k * k) for k in range(count)]
    assert torch.get_num_threads() == threads


@pytest.mark.parametrize("threads", [1, 3])
def test_each_piece_has_one_thread_of_torch(threads):
    torch.set_num_threads(threads)
    assert [n for _, n in each_alone(lambda k: torch.get_num_threads(), 6, "cpu")] == [1] * 6
    assert torch.get_num_threads() == threads


def test_as_many_at_work_as_torch_has_threads():
    torch.set_num_threads(3)
    # Each of the first three waits for two others: one that worked alone would wait for ever.
    together = threading.Barrier(3, timeout=60)
    assert len(list(each_alone(lambda k: together.wait(), 3, "cpu"))) == 3
    torch.set_num_threads(1)
    assert len({ident for _, ident in each_alone(lambda k: threading.get_ident(), 5, "cpu")}) == 1


def test_no_stretch_begins_before_the_one_before_it_was_taken():
    """One piece is slow and the other threads wait for it; also for what the caller does with the last of a stretch."""
    torch.set_num_threads(3)
    begun, taken = [], []

    def work(k):
        begun.append((k, len(taken)))
        time.sleep(0.05 if k % 4 == 0 else 0)
        return k

    for k, _ in each_alone(work, 10, "cpu", 4):
        taken.append(k)
    assert sorted(taken) == list(range(10))
    assert all(before >= k // 4 * 4 for k, before in begun)
    assert len({before for _, before in begun}) > 1


def test_a_gpu_takes_one_after_the_other_in_the_thread_of_the_caller():
    found = list(each_alone(lambda k: threading.get_ident(), 3, "cuda"))
    assert found == [(k, threading.get_ident()) for k in range(3)]


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("threads", [1, 2])
def test_the_first_error_ends_it_all(device, threads):
    torch.set_num_threads(threads)
    begun = []

    def work(k):
        begun.append(k)
        if k == 2:
            raise ValueError(f"piece {k}")
        if k > 2:
            time.sleep(0.01)
        return k

    def all_of_them():
        for _ in each_alone(work, 500, device):
            pass

    with pytest.raises(ValueError, match="piece 2"):
        all_of_them()
    # Those in the queue are taken out; a thread may have taken a few more before the caller heard.
    assert len(begun) < 500
    assert torch.get_num_threads() == threads


def test_who_stops_listening_stops_the_work():
    torch.set_num_threads(2)
    begun = []
    # The caller holds the first result when it leaves; nobody works on until then.
    left = threading.Event()

    def work(k):
        begun.append(k)
        if k > 1:
            left.wait(timeout=60)

    results = each_alone(work, 100, "cpu")
    next(results)
    threading.Timer(0.1, left.set).start()
    results.close()
    assert len(begun) < 100
    assert torch.get_num_threads() == 2
