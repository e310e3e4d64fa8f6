"""A system that gives no more threads costs time, never a job."""

from __future__ import annotations

import threading

import pytest
from headworks_worker.threads import Threads


def test_what_no_new_thread_can_take_is_done_by_one_that_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    threads, done, first = Threads(4), threading.Semaphore(0), threading.Event()

    def wait() -> None:
        first.wait(10)
        done.release()

    threads.submit(wait)
    with monkeypatch.context() as patched:
        patched.setattr(threading.Thread, "start", _refuse)
        threads.submit(done.release)
        first.set()
        assert done.acquire(timeout=10)
        assert done.acquire(timeout=10)
    threads.submit(done.release)
    assert done.acquire(timeout=10)
    threads.close()


def test_without_any_thread_the_caller_hears_of_it_and_the_next_one_is_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    threads, done = Threads(2), threading.Semaphore(0)
    with monkeypatch.context() as patched:
        patched.setattr(threading.Thread, "start", _refuse)
        with pytest.raises(RuntimeError, match="no more"):
            threads.submit(done.release)
    threads.submit(done.release)
    assert done.acquire(timeout=10)
    assert not done.acquire(timeout=0.05)  # what was refused is not run after all
    threads.close()


def _refuse(thread: threading.Thread) -> None:
    raise RuntimeError("no more threads")
