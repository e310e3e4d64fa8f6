"""What Envoy is told about limits that are exceeded, quotas and headers."""

from __future__ import annotations

from typing import Any

from google.protobuf.json_format import MessageToDict
from headworks.limiter.envoy.v1 import rate_limit_pb2 as pb
from headworks_limiter.envoy.answers import Judged, Manner, answer
from headworks_limiter.envoy.limits import Limit
from headworks_limiter.envoy.windows import Count, Unit

PLAIN = Manner()
HEADERS = Manner(headers=True)


def judged(hits: int, limit: int = 10, /, *entries: tuple[str, str], negative: bool = False, **said: Any) -> Judged:
    """A descriptor whose counter says `hits`."""
    descriptor = pb.Descriptor(
        entries=[pb.Entry(key=key, value=value) for key, value in entries or [("k", str(hits))]],
        is_negative_hits=negative,
    )
    return Judged(descriptor, Limit(limit, Unit.HOUR, **said), Count(hits, 90))


def unlimited() -> Judged:
    return Judged(pb.Descriptor(entries=[pb.Entry(key="k")]), Limit(0, None), None)


def unmatched() -> Judged:
    return Judged(pb.Descriptor(entries=[pb.Entry(key="k")]), None, None)


def told(manner: Manner, *each: Judged) -> pb.ShouldRateLimitResponse:
    request = pb.ShouldRateLimitRequest(domain="d", descriptors=[one.descriptor for one in each])
    return answer(request, each, manner)


def headers(reply: pb.ShouldRateLimitResponse) -> dict[str, str]:
    return {header.key: header.value for header in reply.response_headers_to_add}


def test_statuses_are_filled_in_the_order_of_the_descriptors() -> None:
    reply = told(PLAIN, judged(3, name="mine"), unmatched(), judged(11), unlimited(), judged(10))

    assert [MessageToDict(status) for status in reply.statuses] == [
        {
            "code": "CODE_OK",
            "currentLimit": {"requestsPerUnit": 10, "unit": "UNIT_HOUR", "name": "mine"},
            "limitRemaining": 7,
            "durationUntilReset": "90s",
        },
        {"code": "CODE_OK"},
        {
            "code": "CODE_OVER_LIMIT",
            "currentLimit": {"requestsPerUnit": 10, "unit": "UNIT_HOUR"},
            "durationUntilReset": "90s",
        },
        {"code": "CODE_OK", "limitRemaining": 4_294_967_295},
        {
            "code": "CODE_OK",
            "currentLimit": {"requestsPerUnit": 10, "unit": "UNIT_HOUR"},
            "durationUntilReset": "90s",
        },
    ]
    assert reply.overall_code == pb.CODE_OVER_LIMIT
    assert not reply.response_headers_to_add
    assert not reply.HasField("dynamic_metadata")


def test_a_shadow_limit_is_told_but_never_exceeded() -> None:
    reply = told(PLAIN, judged(11, shadow=True))

    assert (reply.overall_code, reply.statuses[0].code) == (pb.CODE_OK, pb.CODE_OK)
    assert reply.statuses[0].limit_remaining == 0


def test_the_whole_service_in_shadow_lets_all_pass_and_says_which_limit_is_exceeded() -> None:
    reply = told(Manner(shadow=True), judged(11))

    assert (reply.overall_code, reply.statuses[0].code) == (pb.CODE_OK, pb.CODE_OVER_LIMIT)


def test_hits_given_back_are_never_over_the_limit() -> None:
    reply = told(PLAIN, judged(15, negative=True))

    assert (reply.overall_code, reply.statuses[0].code) == (pb.CODE_OK, pb.CODE_OK)


def test_quotas_refuse_only_when_all_are_exceeded() -> None:
    full, free = judged(11, quota=True), judged(3, quota=True)

    assert told(PLAIN, full, free).overall_code == pb.CODE_OK
    assert told(PLAIN, full).overall_code == pb.CODE_OVER_LIMIT
    assert told(PLAIN, full, judged(12, quota=True)).overall_code == pb.CODE_OVER_LIMIT
    assert told(PLAIN, free, judged(11)).overall_code == pb.CODE_OVER_LIMIT  # the other is no quota
    assert told(Manner(quota=True), judged(11), judged(3)).overall_code == pb.CODE_OK
    assert told(Manner(quota=True), judged(11), unlimited()).overall_code == pb.CODE_OVER_LIMIT


def test_quotas_of_one_backend_and_model_belong_together() -> None:
    a = (("backend_name", "a"), ("model_name_override", "m"))
    b = (("backend_name", "b"), ("model_name_override", "m"))
    tenant = (*a, ("tenant", "t"))

    both = told(PLAIN, judged(3, 10, *a, quota=True), judged(11, 10, *tenant, quota=True))
    other = told(
        PLAIN, judged(11, 10, *tenant, quota=True), judged(3, 10, *a, quota=True), judged(1, 9, *b, quota=True)
    )

    assert both.overall_code == pb.CODE_OVER_LIMIT  # one of the two is enough within a group
    assert other.overall_code == pb.CODE_OK


def test_headers_tell_the_limit_that_leaves_the_least_or_the_last_that_is_exceeded() -> None:
    assert headers(told(HEADERS, unmatched(), unlimited(), judged(3, 10), judged(3, 5), judged(3, 5))) == {
        "RateLimit-Limit": "5",
        "RateLimit-Remaining": "2",
        "RateLimit-Reset": "90",
    }
    exceeded = told(HEADERS, judged(11, 10), judged(21, 20), judged(1, 1))
    assert headers(exceeded)["RateLimit-Limit"] == "20"
    assert headers(told(HEADERS, unmatched(), unlimited())) == {}


def test_metadata_tells_what_was_asked_and_what_passed() -> None:
    limit = {"tier": {"name": "free"}, "n": 1}
    more = {"tier": {"name": "other", "rank": 2}, "n": 2}
    route = (("backend_name", "a"), ("model_name_override", "m"))

    reply = told(
        Manner(metadata=True),
        judged(3, 10, ("k", "v"), metadata=limit),
        judged(3, metadata=more),
        judged(11, metadata={"never": True}),
        judged(1, 10, *route, quota=True),
        unlimited(),
    )

    found = MessageToDict(reply.dynamic_metadata)
    assert found["domain"] == "d"
    assert found["descriptors"][0] == {"entries": ["k=v"]}
    assert found["metadata"] == {"tier": {"name": "free", "rank": 2}, "n": 1}
    assert found["passedBackends"] == [{"backend_name": "a", "model_name_override": "m"}]
    assert len(found["descriptors"]) == 5
