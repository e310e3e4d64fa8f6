"""TLS and client certificates, as Envoy does them."""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import grpc
import httpx
import pytest
import trustme
from headworks_limiter.settings import Settings
from pydantic import ValidationError

from tests.integration.limiter.fronts.serving import Front, front
from tests.integration.limiter.serving import Limiter, request

ASKED = {"request": {"namespace": "api", "descriptors": {"user": "ann"}}}


@dataclass(frozen=True)
class Secured:
    """A limiter that asks for certificates, and those to show."""

    front: Front
    authority: trustme.CA
    client: trustme.LeafCert


def files(folder: Path, authority: trustme.CA) -> dict[str, str]:
    """The limiter's certificate, key and CA as settings."""
    leaf = authority.issue_cert("localhost", "127.0.0.1")
    told = {"tls_cert": leaf.cert_chain_pems[0], "tls_key": leaf.private_key_pem, "tls_client_ca": authority.cert_pem}
    for name, pem in told.items():
        pem.write_to_path(str(folder / f"{name}.pem"))
    return {name: str(folder / f"{name}.pem") for name in told}


@pytest.fixture(scope="module")
async def secured(valkey_url: str, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Secured]:
    folder, authority = tmp_path_factory.mktemp("tls"), trustme.CA()
    async with front("envoy", valkey_url, folder, **files(folder, authority)) as served:
        yield Secured(served, authority, authority.issue_cert("client.test"))


def context(secured: Secured, shown: trustme.LeafCert | None) -> ssl.SSLContext:
    made = ssl.create_default_context()
    secured.authority.configure_trust(made)
    if shown is not None:
        shown.configure_cert(made)
    return made


async def test_a_caller_with_a_certificate_is_served_over_grpc_and_http(secured: Secured) -> None:
    credentials = grpc.ssl_channel_credentials(
        secured.authority.cert_pem.bytes(),
        secured.client.private_key_pem.bytes(),
        secured.client.cert_chain_pems[0].bytes(),
    )
    async with grpc.aio.secure_channel(f"localhost:{secured.front.port}", credentials) as channel:
        assert (await Limiter(channel).consume(request(user="ann"))).allowed
    async with httpx.AsyncClient(verify=context(secured, secured.client), timeout=30) as http:
        reply = await http.post(secured.front.url("Consume", "https"), json=ASKED)
    assert reply.json()["decision"]["allowed"]


async def test_a_caller_without_one_or_with_a_strangers_is_not(secured: Secured) -> None:
    for shown in (None, trustme.CA().issue_cert("client.test")):
        async with httpx.AsyncClient(verify=context(secured, shown), timeout=30) as http:
            with pytest.raises((httpx.ReadError, httpx.ConnectError, httpx.RemoteProtocolError)):
                await http.post(secured.front.url("Consume", "https"), json=ASKED)


async def test_plaintext_is_not_answered_where_tls_is_spoken(secured: Secured) -> None:
    async with httpx.AsyncClient(timeout=30) as http:
        with pytest.raises((httpx.ReadError, httpx.RemoteProtocolError)):
            await http.post(secured.front.url("Consume"), json=ASKED)


async def test_without_a_client_ca_nobody_is_asked_for_a_certificate(valkey_url: str, tmp_path: Path) -> None:
    authority = trustme.CA()
    told = {**files(tmp_path, authority), "tls_client_ca": ""}
    async with front("envoy", valkey_url, tmp_path, **told) as served:
        secured = Secured(served, authority, authority.issue_cert("unused.test"))
        async with httpx.AsyncClient(verify=context(secured, None), timeout=30) as http:
            reply = await http.post(served.url("Consume", "https"), json=ASKED)
        assert reply.json()["decision"]["allowed"]


@pytest.mark.parametrize(
    ("told", "said"),
    [
        ({"tls_cert": "a"}, "tls_cert and tls_key belong together"),
        ({"tls_cert": "a", "tls_key": "b", "front": "grpc"}, "tls_cert needs front envoy"),
        ({"tls_client_ca": "a"}, "tls_client_ca needs both"),
        ({"address": "0.0.0.0:1", "tls_cert": "a", "tls_key": "b"}, "leaves loopback"),
        ({"metrics_address": "0.0.0.0:1", "tls_cert": "a", "tls_key": "b", "tls_client_ca": "c"}, "leaves loopback"),
    ],
)
def test_settings_that_would_not_protect_are_refused(told: dict[str, str], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        Settings(**{"front": "envoy", **told})  # type: ignore[arg-type]


def test_callers_that_are_known_by_their_certificates_may_come_from_anywhere() -> None:
    told = {"tls_cert": "a", "tls_key": "b", "tls_client_ca": "c", "address": "0.0.0.0:50051"}
    assert Settings(front="envoy", **told).address == "0.0.0.0:50051"  # type: ignore[arg-type]
