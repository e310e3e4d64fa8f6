"""What a caller sees who speaks Connect over HTTP/1.1, or gRPC-Web."""

from __future__ import annotations

import asyncio
import base64
import gzip
import itertools
import json
import re
import struct
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from google.rpc import error_details_pb2
from headworks.limiter.v1.limiter_service_pb2 import ConsumeRequest, ConsumeResponse
from headworks_core.store import redis_client

from tests.integration.limiter.fronts.serving import Front, framed, front
from tests.integration.limiter.serving import request

DOCS = Path(__file__).parents[4] / "docs/limiter.md"
_USERS = (f"person-{number}" for number in itertools.count())


@pytest.fixture(scope="module")
async def served(valkey_url: str, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Front]:
    async with front("envoy", valkey_url, tmp_path_factory.mktemp("rules")) as running:
        yield running


@pytest.fixture(scope="module")
async def http() -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(timeout=30) as client:
        yield client


@pytest.fixture
def user() -> str:
    """Somebody whose buckets are full."""
    return next(_USERS)


def asking(user: str, namespace: str = "api", **more: Any) -> dict[str, Any]:
    return {"request": {"namespace": namespace, "descriptors": {"user": user}, **more}}


async def test_json_is_answered_with_json(served: Front, http: httpx.AsyncClient, user: str) -> None:
    reply = await http.post(served.url("Consume"), json=asking(user, permits=60))
    assert (reply.status_code, reply.headers["content-type"]) == (200, "application/json")
    decision = reply.json()["decision"]
    assert (decision["allowed"], decision["governing"]["remaining"]) == (True, "40")
    refused = (await http.post(served.url("Consume"), json=asking(user, permits=60))).json()["decision"]
    assert (refused["allowed"], refused["refusal"]) == (False, "REFUSAL_LIMITED")
    assert refused["retryAfter"].endswith("s")


async def test_a_batch_as_json_has_its_errors_in_its_items(served: Front, http: httpx.AsyncClient, user: str) -> None:
    asked = {"requests": [asking(user)["request"], asking(user, "nowhere")["request"]]}
    results = (await http.post(served.url("ConsumeBatch"), json=asked)).json()["results"]
    assert results[0]["decision"]["governing"]["remaining"] == "99"
    assert results[1]["error"]["reason"] == "NAMESPACE_NOT_FOUND"


async def test_protobuf_is_answered_with_protobuf(served: Front, http: httpx.AsyncClient, user: str) -> None:
    body = ConsumeRequest(request=request(user=user)).SerializeToString()
    told = {"content-type": "application/proto", "connect-protocol-version": "1"}
    for content, more in ((body, {}), (gzip.compress(body), {"content-encoding": "gzip"})):
        reply = await http.post(served.url("Consume"), content=content, headers={**told, **more})
        assert (reply.status_code, reply.headers["content-type"]) == (200, "application/proto")
    assert ConsumeResponse.FromString(reply.content).decision.governing.remaining == 98


async def test_a_tenant_is_named_in_a_header(served: Front, http: httpx.AsyncClient, user: str) -> None:
    for tenant in ("one", "two"):
        reply = await http.post(
            served.url("Consume"), json=asking(user, permits=100), headers={"headworks-tenant": tenant}
        )
        assert reply.json()["decision"]["allowed"]


async def test_errors_are_those_of_connect_with_reason_and_fields(served: Front, http: httpx.AsyncClient) -> None:
    reply = await http.post(served.url("Consume"), json=asking("ann", "nowhere"))
    assert reply.status_code == 404
    assert (reply.json()["code"], reply.json()["message"]) == ("not_found", "namespace nowhere has no rules here")
    assert unpacked(reply.json(), error_details_pb2.ErrorInfo).reason == "NAMESPACE_NOT_FOUND"

    bad = await http.post(served.url("Consume"), json=asking("ann", permits=-1))
    assert (bad.status_code, bad.json()["code"]) == (400, "invalid_argument")
    (violation,) = unpacked(bad.json(), error_details_pb2.BadRequest).field_violations
    assert violation.field == "request.permits"


def unpacked(error: dict[str, Any], kind: Any) -> Any:
    """The detail of this kind."""
    (value,) = [each["value"] for each in error["details"] if each["type"] == kind.DESCRIPTOR.full_name]
    return kind.FromString(base64.b64decode(value + "=" * (-len(value) % 4)))


@pytest.mark.parametrize(
    ("body", "said"),
    [(b"{", "cannot be decoded"), (b'{"request": {"permit": 5}}', "permit"), (b"\xff\xfe", "cannot be decoded")],
)
async def test_json_that_is_none_or_names_no_field_is_a_mistake(
    served: Front, http: httpx.AsyncClient, body: bytes, said: str
) -> None:
    reply = await http.post(served.url("Consume"), content=body, headers={"content-type": "application/json"})
    assert (reply.status_code, reply.json()["code"]) == (400, "invalid_argument")
    assert said in reply.json()["message"]


async def test_who_waits_for_less_time_than_the_store_needs_is_told_so(
    served: Front, http: httpx.AsyncClient, valkey_url: str, user: str
) -> None:
    async with redis_client(valkey_url, timeout_s=30) as redis:
        await redis.client_pause(20_000, all=False)
        try:
            reply = await http.post(served.url("Consume"), json=asking(user), headers={"connect-timeout-ms": "200"})
        finally:
            await redis.client_unpause()
    assert (reply.status_code, reply.json()["code"]) == (504, "deadline_exceeded")


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        ({"connect-timeout-ms": "soon"}, 400),
        ({"content-encoding": "br"}, 400),
        ({"content-encoding": "gzip"}, 400),
        ({"content-type": "text/html"}, 415),
        ({"content-type": "application/connect+json"}, 415),
        ({"x-large": "x" * 9_000}, 431),
    ],
)
async def test_what_is_not_understood_is_refused(
    served: Front, http: httpx.AsyncClient, sent: dict[str, str], status: int
) -> None:
    told = {"content-type": "application/json", **sent}
    reply = await http.post(served.url("Consume"), content=b"{}", headers=told)
    assert reply.status_code == status


async def test_other_methods_and_paths_are_refused(served: Front, http: httpx.AsyncClient) -> None:
    json_type = {"content-type": "application/json"}
    assert (await http.get(served.url("Check"), headers=json_type)).status_code == 405
    assert (await http.get(f"http://{served.address}/")).status_code == 415
    for path in ("Forget", "ConsumeStream"):
        reply = await http.post(served.url(path), json={})
        assert (reply.status_code, reply.json()["code"]) == (501, "unimplemented")


async def test_messages_have_a_largest_size_packed_or_not(served: Front, http: httpx.AsyncClient) -> None:
    large = b" " * (5 << 20)
    for content, more in ((large, {}), (gzip.compress(large), {"content-encoding": "gzip"})):
        reply = await http.post(
            served.url("Check"), content=content, headers={"content-type": "application/json", **more}
        )
        assert (reply.status_code, reply.json()["code"]) == (429, "resource_exhausted")


async def test_health_is_told_as_json(served: Front, http: httpx.AsyncClient) -> None:
    url = f"http://{served.address}/grpc.health.v1.Health/Check"
    assert (await http.post(url, json={"service": "readiness"})).json() == {"status": "SERVING"}
    assert (await http.post(url, json={"service": "other"})).status_code == 404


@pytest.mark.parametrize("kind", ["application/grpc-web+proto", "application/grpc-web-text+proto"])
async def test_grpc_web_is_answered_in_its_own_way(
    served: Front, http: httpx.AsyncClient, user: str, kind: str
) -> None:
    def packed(body: bytes) -> bytes:
        return base64.b64encode(body) if "text" in kind else body

    def parts(body: bytes) -> list[tuple[int, bytes]]:
        raw, found = base64.b64decode(body) if "text" in kind else body, []
        while raw:
            flags, size = struct.unpack_from(">BI", raw)
            found.append((flags, raw[5 : 5 + size]))
            raw = raw[5 + size :]
        return found

    told = {"content-type": kind, "accept": kind, "x-grpc-web": "1"}
    asked = framed(ConsumeRequest(request=request(user=user)).SerializeToString())
    reply = await http.post(served.url("Consume"), content=packed(asked), headers=told)
    assert (reply.status_code, reply.headers["content-type"]) == (200, kind)
    message, trailers = parts(reply.content)
    assert ConsumeResponse.FromString(message[1]).decision.governing.remaining == 99
    assert trailers[0] == 0x80
    assert b"grpc-status:0" in trailers[1].replace(b" ", b"")

    unknown = framed(ConsumeRequest(request=request("nowhere", user=user)).SerializeToString())
    failed = await http.post(served.url("Consume"), content=packed(unknown), headers=told)
    assert (failed.headers["grpc-status"], failed.headers["grpc-message"]) == (
        "5",
        "namespace nowhere has no rules here",
    )
    assert "grpc-status-details-bin" in failed.headers


async def test_the_curl_line_of_the_docs_works(served: Front) -> None:
    (block,) = re.findall(r"```sh\n(curl .*?)```", DOCS.read_text(), flags=re.DOTALL)
    line = block.replace("127.0.0.1:50051", served.address)
    assert line != block
    process = await asyncio.create_subprocess_shell(line, stdout=asyncio.subprocess.PIPE)
    said, _ = await process.communicate()
    assert process.returncode == 0
    assert json.loads(said)["decision"]["allowed"] is True
