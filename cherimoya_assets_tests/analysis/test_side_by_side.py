"""Pieces of work side by side: all of them, each in one thread, the first error, and the thread count put back."""

from __future__ import annotations

import threading
import time

import pytest
import torch

from cherimoya_assets.analysis.side_by_side import each_alone, shared

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


class TestShared:
    """Work inside of a piece, which threads without a piece of their own join."""

    def test_the_caller_does_all_where_there_is_no_crew(self):
        done = []
        shared(lambda k: done.append((k, threading.get_ident())), 7)
        assert sorted(k for k, _ in done) == list(range(7))
        assert {ident for _, ident in done} == {threading.get_ident()}

    def test_a_single_piece_is_done_by_all_threads(self):
        torch.set_num_threads(3)
        together = threading.Barrier(3, timeout=60)

        def piece(_):
            found = []
            # Each of the three waits for two others.
            shared(lambda k: (together.wait(), found.append(k)), 3)
            return sorted(found)

        assert list(each_alone(piece, 1, "cpu")) == [(0, [0, 1, 2])]

    def test_while_every_thread_has_a_piece_none_helps(self):
        torch.set_num_threads(2)
        together = threading.Barrier(2, timeout=60)

        def piece(_):
            together.wait()
            idents = set()
            shared(lambda k: idents.add(threading.get_ident()), 5)
            # Neither ends before both have done all of theirs.
            together.wait()
            return idents == {threading.get_ident()}

        assert [alone for _, alone in each_alone(piece, 2, "cpu")] == [True, True]

    @pytest.mark.parametrize("threads", [1, 2, 4])
    @pytest.mark.parametrize("count", [0, 1, 50])
    def test_everything_is_done_once_and_before_it_returns(self, threads, count):
        torch.set_num_threads(threads)

        def piece(_):
            done = []
            shared(lambda k: (time.sleep(0.001), done.append(k)), count)
            return sorted(done)

        assert [done for _, done in each_alone(piece, 3, "cpu")] == [list(range(count))] * 3

    @pytest.mark.parametrize("threads", [1, 3])
    def test_the_first_error_ends_it(self, threads):
        torch.set_num_threads(threads)
        done = []

        def work(k):
            if k == 2:
                raise ValueError("piece 2")
            time.sleep(0.01)
            done.append(k)

        with pytest.raises(ValueError, match="piece 2"):
            list(each_alone(lambda _: shared(work, 200), 1, "cpu"))
        assert len(done) < 50
