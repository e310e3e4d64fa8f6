"""`python -m tests.bench.delay PORT MS`: a TCP proxy whose every reply takes so much longer. Prints its port.

Threads instead of an event loop, because those keep time by the millisecond; a thread sleeps to within 0.1 ms.
"""

from __future__ import annotations

import contextlib
import queue
import socket
import sys
import threading
import time

CHUNK = 1 << 18


def _forward(source: socket.socket, sink: socket.socket) -> None:
    try:
        while data := source.recv(CHUNK):
            sink.sendall(data)
    except OSError:
        pass
    _end(sink)


def _read_late(source: socket.socket, waiting: queue.SimpleQueue[tuple[float, bytes]], delay_s: float) -> None:
    data = b"-"
    while data:
        try:
            data = source.recv(CHUNK)
        except OSError:
            data = b""
        waiting.put((time.monotonic() + delay_s, data))


def _send_late(waiting: queue.SimpleQueue[tuple[float, bytes]], sink: socket.socket) -> None:
    while True:
        due, data = waiting.get()
        time.sleep(max(0.0, due - time.monotonic()))
        if not data:
            return _end(sink)
        try:
            sink.sendall(data)
        except OSError:
            return None


def _end(sink: socket.socket) -> None:
    with contextlib.suppress(OSError):
        sink.shutdown(socket.SHUT_RDWR)


def main(port: int, delay_s: float) -> None:
    """Serve until killed."""
    server = socket.create_server(("127.0.0.1", 0))
    print(server.getsockname()[1], flush=True)
    while True:
        caller, _ = server.accept()
        store = socket.create_connection(("127.0.0.1", port))
        for end in (caller, store):
            end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        waiting: queue.SimpleQueue[tuple[float, bytes]] = queue.SimpleQueue()
        for work, arguments in (
            (_forward, (caller, store)),
            (_read_late, (store, waiting, delay_s)),
            (_send_late, (waiting, caller)),
        ):
            threading.Thread(target=work, args=arguments, daemon=True).start()


if __name__ == "__main__":
    sys.setswitchinterval(0.0005)
    main(int(sys.argv[1]), float(sys.argv[2]) / 1000)
