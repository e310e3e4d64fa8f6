"""A TCP proxy in front of one `host:port`, and what a network can do to the connections through it.

    async with proxy("127.0.0.1:6379") as redis:     # connect to redis.address ("127.0.0.1:port") instead
        redis.delay(0.05)                            # 50 ms each way; delay(0.05, "up") only towards the server
        redis.cut()                                  # RST to both ends of every open connection; says how many
        redis.refuse()                               # new connections get "connection refused"; open ones go on
        redis.accept()                               # ... no longer
        redis.stall("down")                          # connections stay open, but nothing comes back from the server
        redis.stall("up", drop=True)                 # what is sent is swallowed; clear() resets the robbed connections
        redis.throttle(10_000, "down")               # a slow reader: 10 kB/s of the server's answers, all together
        redis.clear()                                # no fault is left; what was held is delivered
        redis.connections, redis.accepted            # open now; ever
        redis.up.bytes, redis.down.bytes             # passed on so far, "up" is client -> server

Faults apply to open and to new connections alike. What cannot be passed on is kept up to a bound (64 KiB a connection
and direction while stalled or throttled, else 1 MiB); beyond it the proxy stops reading, so that the sender feels it,
once the kernel's buffers are full too: `buffer` (bytes) makes those small. An end of stream keeps its place behind the
bytes before it. Everything runs in callbacks of the running loop; leaving the context resets what is open.
"""

from __future__ import annotations

import asyncio
import socket
import struct
from collections import deque
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager, suppress
from enum import Enum
from typing import Literal, cast

HOST = "127.0.0.1"
LIMIT = 1 << 20
LIMIT_SLOW = 64 << 10
SLICES_PER_S = 50
CONNECT_TIMEOUT_S = 5.0
Way = Literal["up", "down", "both"]


class End(Enum):
    """How a sender stopped."""

    EOF = 1
    RESET = 2


class Direction:
    """One direction of all connections: its faults, and how much has passed."""

    def __init__(self) -> None:
        self.latency_s = 0.0
        self.stalled = False
        self.dropping = False
        self.bytes_per_s = 0
        """0: as fast as it goes."""
        self.bytes = 0
        """Passed on."""
        self._free_at = 0.0

    @property
    def limit(self) -> int:
        """Bytes that one connection may keep."""
        return LIMIT_SLOW if self.stalled or self.bytes_per_s else LIMIT

    def clear(self) -> None:
        """No fault is left."""
        self.latency_s, self.stalled, self.dropping, self.bytes_per_s = 0.0, False, False, 0

    def allowance(self, now: float) -> tuple[int, float]:
        """How many bytes may pass now, and when some more may."""
        if not self.bytes_per_s:
            return LIMIT, now
        if now < self._free_at:
            return 0, self._free_at
        return max(1, self.bytes_per_s // SLICES_PER_S), now

    def pass_on(self, size: int, now: float) -> None:
        """Count bytes as passed on."""
        self.bytes += size
        if self.bytes_per_s:
            self._free_at = now + size / self.bytes_per_s


class _Pipe(asyncio.Protocol):
    """What one end of a connection sends: received here, kept as the direction's faults want, written to `peer`."""

    def __init__(self, direction: Direction, link: _Link) -> None:
        self.direction = direction
        self.transport: asyncio.Transport | None = None
        self.peer: _Pipe | None = None
        self.dropped = False
        """Bytes were swallowed: the connection cannot go on once they flow again."""
        self.ended = False
        """The end of what this end sends has been passed on."""
        self._link = link
        self._loop = asyncio.get_running_loop()
        self._kept: deque[tuple[float, bytes | End]] = deque()
        self._size = 0
        self._reading = True
        self._may_write = True
        self._timer: asyncio.TimerHandle | None = None

    # -- asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See asyncio."""
        self.transport = cast(asyncio.Transport, transport)  # of uvloop's too, which are none by descent
        self._link.made(self)

    def data_received(self, data: bytes) -> None:
        """See asyncio."""
        if self.direction.dropping:
            self.dropped = True
            return
        self._keep(data, len(data))

    def eof_received(self) -> bool:
        """See asyncio: the other direction stays open."""
        self._keep(End.EOF, 0)
        return True

    def pause_writing(self) -> None:
        """See asyncio: this end reads slowly."""
        self._may_write = False

    def resume_writing(self) -> None:
        """See asyncio."""
        self._may_write = True
        if self.peer:
            self.peer.flush()

    def connection_lost(self, exc: Exception | None) -> None:
        """See asyncio."""
        self.transport = None
        if exc is not None:
            self._keep(End.RESET, 0)
        self._link.lost(self)

    # -- passing on

    def _keep(self, item: bytes | End, size: int) -> None:
        self._kept.append((self._loop.time() + self.direction.latency_s, item))
        self._size += size
        self.flush()

    def flush(self) -> None:
        """Pass on what may go now, and come back when more may."""
        if self._timer:
            self._timer.cancel()
            self._timer = None
        while self._kept and self.peer and self.peer._may_write and not self.direction.stalled:
            now = self._loop.time()
            due, item = self._kept[0]
            size, later = self.direction.allowance(now)
            if (due := max(due, later)) > now:
                self._timer = self._loop.call_at(due, self.flush)
                break
            self._kept.popleft()
            if isinstance(item, bytes):
                if len(item) > size:
                    self._kept.appendleft((due, item[size:]))
                    item = item[:size]
                self._size -= len(item)
                self.direction.pass_on(len(item), now)
                if self.peer.transport:
                    self.peer.transport.write(item)
            else:
                self._end(item)
        self._steer()

    def _end(self, how: End) -> None:
        self.ended = True
        other = self.peer.transport if self.peer else None
        if other is None:
            return
        if how is End.RESET:
            reset(other)
        elif self.peer and self.peer.ended:
            self._link.close()
        else:
            with suppress(OSError):  # it was reset, and the transport has not heard of that yet
                other.write_eof()

    def _steer(self) -> None:
        """Read on, or not, by how much is kept."""
        wanted = self._size < self.direction.limit and self.peer is not None
        if self.transport and wanted != self._reading and not self.transport.is_closing():
            self._reading = wanted
            (self.transport.resume_reading if wanted else self.transport.pause_reading)()

    def abandon(self) -> None:
        """Forget what is kept."""
        self._kept.clear()
        self._size = 0
        if self._timer:
            self._timer.cancel()
            self._timer = None


class _Link:
    """One connection: the client's half and the server's half."""

    def __init__(self, owner: Proxy) -> None:
        self._owner = owner
        self.client, self.server = _Pipe(owner.up, self), _Pipe(owner.down, self)
        self._connecting: asyncio.Task[None] | None = None

    def made(self, pipe: _Pipe) -> None:
        """Connect to the server when the client has come; join the halves when both are there."""
        assert pipe.transport is not None
        self._owner.tune(pipe.transport)
        if pipe is self.client:
            self._owner.remember(self)
            pipe._steer()  # nobody to pass it on to yet
            self._connecting = asyncio.get_running_loop().create_task(self._connect())
        else:
            self.client.peer, self.server.peer = self.server, self.client
            self.client.flush()

    async def _connect(self) -> None:
        host, _, port = self._owner.target.rpartition(":")
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(CONNECT_TIMEOUT_S):
                await loop.create_connection(lambda: self.server, host, int(port))
        except (OSError, TimeoutError):
            self.reset()

    def lost(self, pipe: _Pipe) -> None:
        """An end has gone; the other hears of it in its turn."""
        other = self.server if pipe is self.client else self.client
        if pipe is self.client and self._connecting and not self._connecting.done():
            self._connecting.cancel()
        if other.transport is None:
            self.client.abandon()
            self.server.abandon()
            self._owner.forget(self)

    def close(self) -> None:
        """Both directions have ended."""
        for pipe in (self.client, self.server):
            if pipe.transport:
                pipe.transport.close()

    def reset(self) -> None:
        """RST to both ends."""
        if self._connecting and not self._connecting.done():
            self._connecting.cancel()
        for pipe in (self.client, self.server):
            pipe.abandon()
            if pipe.transport:
                reset(pipe.transport)


class Proxy:
    """See the module."""

    def __init__(self, target: str, *, buffer: int | None = None) -> None:
        self.target = target
        """Where new connections go; may be changed."""
        self.up, self.down = Direction(), Direction()
        self.accepted = 0
        """Connections ever accepted."""
        self.links: set[_Link] = set()
        self._buffer = buffer
        self._idle = asyncio.Event()
        self._idle.set()
        self._server: asyncio.Server | None = None
        self._reserved: socket.socket | None = _bound(0)
        self.port: int = self._reserved.getsockname()[1]

    @property
    def address(self) -> str:
        """Where to connect to."""
        return f"{HOST}:{self.port}"

    @property
    def connections(self) -> int:
        """Open now."""
        return len(self.links)

    @property
    def refusing(self) -> bool:
        """New connections are refused."""
        return self._server is None

    def delay(self, seconds: float, way: Way = "both") -> None:
        """What is sent from now on arrives this much later."""
        for direction in self._directions(way):
            direction.latency_s = seconds

    def throttle(self, bytes_per_s: int, way: Way = "both") -> None:
        """At most so many bytes a second; 0 is no bound."""
        for direction in self._directions(way):
            direction.bytes_per_s = bytes_per_s
        self._flush()

    def stall(self, way: Way, *, drop: bool = False) -> None:
        """Nothing passes: it is held until `clear`, or swallowed."""
        for direction in self._directions(way):
            direction.stalled, direction.dropping = True, drop

    def cut(self) -> int:
        """Reset every open connection. Returns how many there were."""
        links = list(self.links)
        for link in links:
            link.reset()
        return len(links)

    def refuse(self) -> None:
        """Refuse new connections; the port stays reserved."""
        if self._server is not None:
            self._server.close()
            self._server = None
            self._reserved = _bound(self.port)

    async def accept(self) -> None:
        """Accept connections."""
        if self._server is None:
            listening = _bound(self.port)
            if self._buffer:
                listening.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, self._buffer)
            loop = asyncio.get_running_loop()
            self._server = await loop.create_server(lambda: _Link(self).client, sock=listening, backlog=1024)
            if self._reserved:
                self._reserved.close()
                self._reserved = None

    async def clear(self) -> None:
        """End every fault: deliver what was held, reset the connections that lost bytes, accept new ones."""
        self.up.clear()
        self.down.clear()
        for link in list(self.links):
            if link.client.dropped or link.server.dropped:
                link.reset()
        self._flush()
        await self.accept()

    async def close(self) -> None:
        """Stop listening and reset what is open."""
        self.refuse()
        if self._reserved:
            self._reserved.close()
        self.cut()
        await self._idle.wait()

    def remember(self, link: _Link) -> None:
        """A connection begins."""
        self.links.add(link)
        self.accepted += 1
        self._idle.clear()

    def forget(self, link: _Link) -> None:
        """Both its halves have gone."""
        self.links.discard(link)
        if not self.links:
            self._idle.set()

    def tune(self, transport: asyncio.Transport) -> None:
        """Socket options of either half."""
        sock = transport.get_extra_info("socket")
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if self._buffer:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, self._buffer)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, self._buffer)

    def _directions(self, way: Way) -> Iterable[Direction]:
        return {"up": (self.up,), "down": (self.down,), "both": (self.up, self.down)}[way]

    def _flush(self) -> None:
        for link in list(self.links):
            link.client.flush()
            link.server.flush()


def reset(transport: asyncio.Transport) -> None:
    """Close with RST instead of FIN, whatever is still to be sent."""
    if not transport.is_closing():
        transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    transport.abort()


def _bound(port: int) -> socket.socket:
    """A socket that has the port and does not listen; several may, as long as none listens."""
    sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    sock.setblocking(False)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    sock.bind((HOST, port))
    return sock


@asynccontextmanager
async def proxy(target: str, *, buffer: int | None = None) -> AsyncIterator[Proxy]:
    """A proxy to `target` (`host:port`), accepting; see the module. `buffer`: bytes of each kernel buffer."""
    running = Proxy(target, buffer=buffer)
    try:
        await running.accept()
        yield running
    finally:
        await running.close()
