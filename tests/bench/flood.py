"""`python -m tests.bench.flood`: unary calls as bytes over HTTP/2, cheaper for the caller than for any server.

A gRPC library spends as much on a call as the servers under measurement do, so on a shared machine its own cost would
hide what differs between them. Here requests are encoded once; of a reply only the frames are read, and the trailers'
bytes are held against those of a call that succeeded (compression by table is off, so they are always the same).
"""

from __future__ import annotations

import asyncio
import dataclasses
import json
import socket
import struct
import sys
import time
from collections.abc import Sequence
from typing import cast

import uvloop
from headworks.limiter.v1.limiter_service_pb2 import ConsumeRequest

from tests.bench.arrivals import arrivals
from tests.bench.loadgen import percentiles
from tests.bench.workloads import permits

DATA, HEADERS, RESET, SETTINGS, PING, GOAWAY, WINDOW = 0, 1, 3, 4, 6, 7, 8
END_STREAM, END_HEADERS, ACK = 1, 4, 1
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
TABLE_SIZE, PUSH, STREAM_WINDOW = 1, 2, 4
WINDOW_BYTES = 1 << 30
TOP_UP = 1 << 20
CONNECT_S = 30.0
LAST_STREAM = (1 << 31) - 1_000
PATH = "/headworks.limiter.v1.LimiterService/Consume"
_MESSAGES = [ConsumeRequest(request=each).SerializeToString() for each in permits()]
BODIES = [struct.pack(">BI", 0, len(each)) + each for each in _MESSAGES]


@dataclasses.dataclass(frozen=True)
class Flood:
    """What to do; crosses to the process as JSON."""

    target: str
    """host:port, plaintext."""
    connections: int = 1
    callers: int = 64
    """Of a closed loop: calls under way, over all connections."""
    rate: float = 0.0
    """Of an open loop: calls per second; 0: a closed loop."""
    seconds: float = 2.0
    warm_s: float = 0.5


def frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    """One HTTP/2 frame."""
    return struct.pack(">HBBBI", len(payload) >> 8, len(payload) & 0xFF, kind, flags, stream) + payload


def headers(target: str, path: str) -> bytes:
    """The header block of a gRPC call, each field a literal that no table remembers."""
    fields = [
        (":method", "POST"),
        (":scheme", "http"),
        (":path", path),
        (":authority", target),
        ("content-type", "application/grpc"),
        ("te", "trailers"),
    ]
    block = b""
    for name, value in fields:
        assert max(len(name), len(value)) < 127
        block += bytes([0, len(name)]) + name.encode() + bytes([len(value)]) + value.encode()
    return block


class Connection(asyncio.Protocol):
    """One connection, with any number of calls under way."""

    def __init__(self, target: str) -> None:
        self._block = headers(target, PATH)
        self._bodies = BODIES
        self._stream = 1
        self._began: dict[int, float] = {}
        self._rest = b""
        self._unread = 0
        self._answered: set[int] = set()
        self._well: bytes | None = None
        self._out: list[bytes] = []
        self.ready: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.again = False
        """Whether each answer is followed by another call."""
        self.took_ms: list[float] | None = None
        """Latencies of calls that ended well, while somebody wants them."""
        self.failed = 0

    @property
    def under_way(self) -> int:
        """Calls without an answer yet."""
        return len(self._began)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Say that no table is kept and that all may be sent at once."""
        self._transport = cast(asyncio.Transport, transport)
        told = [(TABLE_SIZE, 0), (PUSH, 0), (STREAM_WINDOW, WINDOW_BYTES)]
        settings = frame(SETTINGS, 0, 0, b"".join(struct.pack(">HI", *each) for each in told))
        self._transport.write(PREFACE + settings + frame(WINDOW, 0, 0, struct.pack(">I", WINDOW_BYTES)))

    def connection_lost(self, exc: Exception | None) -> None:
        """What has no answer gets none."""
        self.failed += len(self._began)
        self._began.clear()

    def ask(self, began: float) -> None:
        """Begin a call; it is sent with `flush`."""
        stream, body = self._stream, self._bodies[self._stream // 2 % len(self._bodies)]
        assert stream < LAST_STREAM
        self._stream += 2
        self._began[stream] = began
        self._out.append(frame(HEADERS, END_HEADERS, stream, self._block) + frame(DATA, END_STREAM, stream, body))

    def flush(self) -> None:
        """Send what has been begun."""
        if self._out:
            self._transport.write(b"".join(self._out))
            self._out.clear()

    def data_received(self, data: bytes) -> None:
        """Read whole frames, keep the rest."""
        if self._rest:
            data = self._rest + data
        at, end = 0, len(data)
        while end - at >= 9:
            high, low, kind, flags, stream = struct.unpack_from(">HBBBI", data, at)
            size = (high << 8) + low
            if end - at < 9 + size:
                break
            if kind == HEADERS:
                if flags & END_STREAM:
                    self._ended(stream, data[at + 9 : at + 9 + size])
            elif kind == DATA:
                self._unread += size
                self._answered.add(stream)
            else:
                self._control(kind, flags, stream, data[at + 9 : at + 9 + size])
            at += 9 + size
        self._rest = data[at:]
        if self._unread > TOP_UP:
            self._out.append(frame(WINDOW, 0, 0, struct.pack(">I", self._unread)))
            self._unread = 0
        self.flush()

    def _ended(self, stream: int, trailers: bytes) -> None:
        began = self._began.pop(stream)
        if self._well is None:
            self._well = trailers
        if trailers != self._well or stream not in self._answered:
            self.failed += 1
        elif self.took_ms is not None:
            self.took_ms.append((time.perf_counter() - began) * 1e3)
        self._answered.discard(stream)
        if self.again:
            self.ask(time.perf_counter())

    def _control(self, kind: int, flags: int, stream: int, payload: bytes) -> None:
        if kind == SETTINGS and not flags & ACK:
            self._transport.write(frame(SETTINGS, ACK, 0, b""))
            if not self.ready.done():
                self.ready.set_result(None)
        elif kind == PING and not flags & ACK:
            self._transport.write(frame(PING, ACK, 0, payload))
        elif kind == RESET:
            self.failed += 1
            self._began.pop(stream, None)
        elif kind == GOAWAY:
            raise RuntimeError(f"the server went away: {payload!r}")


async def _connect(flood: Flood) -> list[Connection]:
    host, _, port = flood.target.rpartition(":")
    loop = asyncio.get_running_loop()
    made = []
    async with asyncio.timeout(CONNECT_S):
        for _ in range(flood.connections):
            transport, connection = await loop.create_connection(lambda: Connection(flood.target), host, int(port))
            transport.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            made.append(connection)
        for connection in made:
            await connection.ready
    return made


async def _closed(flood: Flood, connections: Sequence[Connection]) -> float:
    """Calls a second, and latencies in `took_ms`."""
    for connection in connections:
        connection.again = True
    for number in range(flood.callers):
        connections[number % len(connections)].ask(time.perf_counter())
    for connection in connections:
        connection.flush()
    await asyncio.sleep(flood.warm_s)
    for connection in connections:
        connection.took_ms = []
    began = time.perf_counter()
    await asyncio.sleep(flood.seconds)
    took = time.perf_counter() - began
    for connection in connections:
        connection.again = False
    return sum(len(connection.took_ms or ()) for connection in connections) / took


async def _open(flood: Flood, connections: Sequence[Connection]) -> float:
    warm = flood.rate * flood.warm_s
    number = 0
    async for due_ns in arrivals(flood.rate, flood.warm_s + flood.seconds):
        connection = connections[number % len(connections)]
        if connection.took_ms is None and number > warm:
            connection.took_ms = []
        connection.ask(due_ns / 1e9)  # both clocks are the monotonic one
        connection.flush()
        number += 1
    return flood.rate


async def _main(flood: Flood) -> None:
    connections = await _connect(flood)
    per_s = await (_open if flood.rate else _closed)(flood, connections)
    async with asyncio.timeout(CONNECT_S):
        while any(connection.under_way for connection in connections):
            await asyncio.sleep(0.01)
    took = [each for connection in connections for each in connection.took_ms or ()]
    failed = sum(connection.failed for connection in connections)
    print(json.dumps({"per_s": per_s, "calls": len(took), "errors": failed, **percentiles(took)}), flush=True)


if __name__ == "__main__":
    uvloop.run(_main(Flood(**json.loads(sys.argv[1]))))
