"""Threads for plain functions."""

from __future__ import annotations

import threading

from headworks_worker.threads import Threads


def run(threads: Threads, count: int) -> list[str]:
    """Run functions one after the other; the names of their threads."""
    names: list[str] = []
    for _ in range(count):
        ran = threading.Event()

        def function(ran: threading.Event = ran) -> None:
            names.append(threading.current_thread().name)
            ran.set()

        threads.submit(function)
        assert ran.wait(5)
    return names


def test_functions_run_at_the_same_time_up_to_the_limit() -> None:
    threads = Threads(3)
    started, go, ended = threading.Semaphore(0), threading.Event(), threading.Semaphore(0)

    def function() -> None:
        started.release()
        go.wait(5)
        ended.release()

    for _ in range(5):
        threads.submit(function)
    for _ in range(3):
        assert started.acquire(timeout=5)
    assert not started.acquire(blocking=False)
    go.set()
    for _ in range(5):
        assert ended.acquire(timeout=5)
    threads.close()


def test_idle_threads_end_when_it_is_closed() -> None:
    before = set(threading.enumerate())
    threads = Threads(4)
    run(threads, 8)
    own = set(threading.enumerate()) - before
    threads.close()

    for thread in own:
        thread.join(5)
    assert 1 <= len(own) <= 4
    assert not any(thread.is_alive() for thread in own)


def test_a_thread_that_hangs_does_not_keep_the_process() -> None:
    threads = Threads(1)
    assert all(thread.daemon for thread in threading.enumerate() if thread.name in run(threads, 1))
    threads.close()
