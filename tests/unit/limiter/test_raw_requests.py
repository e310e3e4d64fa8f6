"""Requests that are read from their bytes, which are mostly remembered, mean what they mean when they are parsed."""

from __future__ import annotations

from pathlib import Path

import pytest
from headworks.limiter.v1 import limiter_pb2
from headworks_core.cells import Meta
from headworks_core.errors import InvalidArgument, Reason, ServiceError
from headworks_limiter import rules
from headworks_limiter.domain.ask import Ask
from headworks_limiter.domain.decision import Mode
from headworks_limiter.requests import RequestReader
from hypothesis import given
from hypothesis import strategies as st

RULES = """
namespaces:
  api:
    rules:
      - {name: per-user, match: {user: "*"}, limit: 10/minute}
      - {name: trial, match: {user: "*", path: "*"}, limit: 5/minute, shadow: true}
      - {name: slots, match: {job: "*"}, algorithm: concurrency, limit: 3, ttl: 30s}
"""
IDS = [f"{number:08x}-0000-4000-8000-000000000000" for number in range(3)]
TRICKY = [f'x"${IDS[0]}', f'"${IDS[1]}', IDS[2]]  # as if a request id followed

texts = st.sampled_from(["", "ann", "bob", *TRICKY])
requests = st.builds(
    limiter_pb2.PermitRequest,
    namespace=st.sampled_from(["api", "none", *TRICKY]),
    descriptors=st.dictionaries(st.sampled_from(["user", "path", "job"]), texts, max_size=3),
    permits=st.none() | st.sampled_from([0, 1, 3, 7, 11]),
    request_id=st.sampled_from(["", "7", *IDS, IDS[0].upper().replace("0", "A")]),
    detail=st.sampled_from([0, 1, 9]),
    allow_partial=st.booleans(),
)


@pytest.fixture(scope="module")
def reader(tmp_path_factory: pytest.TempPathFactory) -> RequestReader:
    return of(tmp_path_factory.mktemp("rules"))


def of(folder: Path) -> RequestReader:
    path = folder / "rules.yaml"
    path.write_text(RULES)
    return RequestReader(rules.load(str(path)), Meta())


def parsed(reader: RequestReader, raw: bytes) -> tuple[Ask, int] | str:
    try:
        request = limiter_pb2.PermitRequest.FromString(raw)
        return told(reader.ask(request, "default", Mode.TAKE)), request.detail
    except ServiceError as error:
        return error.message


def taken(reader: RequestReader, raw: bytes) -> tuple[Ask, int] | str:
    try:
        ask, detail = reader.take(raw, "default")
        return told(ask), detail
    except ServiceError as error:
        return error.message


def told(ask: Ask) -> Ask:
    """A holder that the reader made up is another one each time."""
    if ask.terms.holder and ask.terms.holder not in IDS:
        ask.record, ask.terms = "", ask.terms._replace(holder="made up")
    return ask


@given(st.lists(requests, min_size=1, max_size=5))
def test_remembered_or_not_it_is_the_same(reader: RequestReader, several: list[limiter_pb2.PermitRequest]) -> None:
    for request in (*several, *several):
        raw = request.SerializeToString()
        assert taken(reader, raw) == parsed(reader, raw)


@given(st.lists(requests, min_size=2, max_size=3))
def test_so_it_is_for_messages_that_follow_one_another(
    reader: RequestReader, parts: list[limiter_pb2.PermitRequest]
) -> None:
    raw = b"".join(part.SerializeToString() for part in parts)  # the last of each field holds
    for _ in range(2):
        assert taken(reader, raw) == parsed(reader, raw)


def test_what_is_no_message_is_told(reader: RequestReader) -> None:
    tail = limiter_pb2.PermitRequest(request_id=IDS[0]).SerializeToString()
    for raw in (b"\xff", b"\xff" + tail, tail[:-1], b"\x0a\x40api" + tail):
        with pytest.raises(InvalidArgument):
            reader.take(raw, "default")


def test_more_than_a_rule_holds_is_looked_up_only_by_those_with_an_id(reader: RequestReader) -> None:
    wanted = limiter_pb2.PermitRequest(namespace="api", descriptors={"user": "ann"}, permits=11)
    with pytest.raises(InvalidArgument) as caught:
        reader.take(wanted.SerializeToString(), "default")
    assert caught.value.reason == Reason.PERMITS_EXCEED_LIMIT
    wanted.request_id = IDS[0]
    assert reader.take(wanted.SerializeToString(), "default")[0].mode is Mode.RECALL


def test_a_request_that_came_before_shares_its_buckets(tmp_path: Path) -> None:
    reader = of(tmp_path)
    first, second = (
        reader.take(
            limiter_pb2.PermitRequest(
                namespace="api", descriptors={"user": "ann"}, request_id=request_id
            ).SerializeToString(),
            "default",
        )[0]
        for request_id in IDS[:2]
    )
    assert first.buckets is second.buckets
    assert (first.fingerprint, first.record) == (second.fingerprint, first.record)
    assert first.record != second.record
