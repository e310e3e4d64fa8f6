"""TLS in front of a server that has none, as production has it inside: certificates of an authority of our own."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlencode

import trustme

from tests.support.listening import HOST, listening


@dataclass(frozen=True)
class Certificates:
    """Files: an authority, a client certificate it has signed, and one that a stranger has signed."""

    authority: Path
    client: Path
    stranger: Path
    server: ssl.SSLContext
    """For a server on loopback that lets in whom the authority has signed."""

    def options(self, client: Path | None = None) -> str:
        """The options of a URL, for those who trust the authority and come with a certificate."""
        of_client = {} if client is None else {"ssl_certfile": str(client), "ssl_keyfile": str(client)}
        return "?" + urlencode({"ssl_ca_certs": str(self.authority), **of_client})


def certificates(folder: Path, *, name: str = HOST) -> Certificates:
    """Made anew, in `folder`; the server's is for `name`."""
    authority, other = trustme.CA(), trustme.CA()
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert(name).configure_cert(context)
    authority.configure_trust(context)
    context.verify_mode = ssl.CERT_REQUIRED
    made = Certificates(folder / "ca.pem", folder / "client.pem", folder / "stranger.pem", context)
    authority.cert_pem.write_to_path(str(made.authority))
    authority.issue_cert("limiter.example").private_key_and_cert_chain_pem.write_to_path(str(made.client))
    other.issue_cert("limiter.example").private_key_and_cert_chain_pem.write_to_path(str(made.stranger))
    return made


@asynccontextmanager
async def tls_front(context: ssl.SSLContext, target: Callable[[], tuple[str, int]]) -> AsyncIterator[int]:
    """The port of a front that speaks TLS, and passes on to `target`, asked at each connection."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        behind_reader, behind_writer = await asyncio.open_connection(*target())
        try:
            async with asyncio.TaskGroup() as both:
                both.create_task(_pass_on(reader, behind_writer))
                both.create_task(_pass_on(behind_reader, writer))
        finally:
            behind_writer.transport.abort()
            with contextlib.suppress(ConnectionError):
                await behind_writer.wait_closed()

    async with listening(serve, context=context) as port:
        yield port


async def _pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(ConnectionError, ssl.SSLError):
        while data := await reader.read(1 << 16):
            writer.write(data)
            await writer.drain()
    writer.close()
