"""What of an answer is told to the limiter."""

from __future__ import annotations

from headworks_client.outcomes import limit_fields


def test_only_fields_that_speak_of_limits_are_told() -> None:
    headers = {"Content-Type": "text/plain", "Set-Cookie": "secret", "Date": "now", "Retry-After": "1"}
    headers |= {"RateLimit-Policy": "p", "X-Rate-Limit-Reset": "2", "anthropic-ratelimit-requests-limit": "3"}
    assert limit_fields(headers) == {
        "retry-after": "1",
        "ratelimit-policy": "p",
        "x-rate-limit-reset": "2",
        "anthropic-ratelimit-requests-limit": "3",
        "date": "now",
    }
    assert limit_fields({"Date": "now", "Server": "x"}) == {}


def test_no_more_is_told_than_a_limiter_takes() -> None:
    many = {f"x-ratelimit-{number}": "1" for number in range(40)} | {"date": "now"}
    assert len(limit_fields(many)) == 32
    assert limit_fields(many)["date"] == "now"
    odd = {"retry-after": "1" * 1_025, "x-ratelimit-" + "x" * 64: "1", "x-ratelimit-reset": "\udcff"}
    assert limit_fields(odd) == {}
