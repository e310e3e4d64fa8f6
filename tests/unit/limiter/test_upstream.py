"""What upstreams' answers say, in the shapes that are met."""

from __future__ import annotations

import pytest
from headworks_limiter.domain import http_fields
from headworks_limiter.domain.upstream import MAX_BLOCK_US, MAX_RESET_US, Feedback, Kind, read
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

NOW_S = 1_772_323_199
"""Sat, 28 Feb 2026 23:59:59 GMT."""
NOW_US = NOW_S * 1_000_000
S = 1_000_000


def told(status: int, **headers: str) -> Feedback:
    """The feedback of an answer; `_` in the names of headers is `-`."""
    return read(status, {name.replace("_", "-"): value for name, value in headers.items()}, now_us=NOW_US)


@pytest.mark.parametrize(
    ("status", "headers", "kind"),
    [
        (200, {}, Kind.OK),
        (301, {}, Kind.OK),
        (204, {"retry_after": "5"}, Kind.OK),
        (429, {}, Kind.OVERLOAD),
        (420, {}, Kind.OVERLOAD),
        (529, {}, Kind.OVERLOAD),
        (503, {}, Kind.FAILURE),
        (503, {"retry_after": "5"}, Kind.OVERLOAD),
        (500, {}, Kind.FAILURE),
        (500, {"retry_after": "5"}, Kind.FAILURE),
        (502, {}, Kind.FAILURE),
        (504, {}, Kind.FAILURE),
        (599, {}, Kind.FAILURE),
        (408, {}, Kind.FAILURE),
        (0, {}, Kind.FAILURE),
        (400, {}, Kind.IGNORED),
        (404, {}, Kind.IGNORED),
        (403, {}, Kind.IGNORED),
        (403, {"x_ratelimit_remaining": "12", "x_ratelimit_reset": "60"}, Kind.IGNORED),
        (403, {"x_ratelimit_remaining": "0", "x_ratelimit_reset": "60"}, Kind.OVERLOAD),
        (403, {"retry_after": "60"}, Kind.OVERLOAD),
        (600, {}, Kind.IGNORED),
        (-1, {}, Kind.IGNORED),
        (99, {}, Kind.IGNORED),
    ],
)
def test_what_an_answer_says_of_the_upstreams_health(status: int, headers: dict[str, str], kind: Kind) -> None:
    assert told(status, **headers).kind is kind


@pytest.mark.parametrize(
    ("value", "block_us"),
    [
        ("120", 120 * S),
        (" 120 ", 120 * S),
        ('"120"', 120 * S),
        ("+3", 3 * S),
        ("2.0", 2 * S),
        ("0.2504", 250_400),
        ("0.0000001", 1),
        ("1.", S),
        ("0", 0),
        ("60s", 60 * S),
        ("1 seconds", S),
        ("6m0s", 360 * S),
        ("1h2m3.5s", 3_723_500_000),
        ("86400", 86_400 * S),
        ("315360000", MAX_BLOCK_US),  # ten years
        ("999999999999999999", MAX_BLOCK_US),
        (str(NOW_S + 90), 90 * S),  # a point in time where seconds belong
        (f"{NOW_S + 90}.25", 90_250_000),
        (str(NOW_S * 1000 + 1_500), 1_500_000),
        (str(NOW_US + 7), 7),
        (str(NOW_S - 90), 0),
        ("Sun, 01 Mar 2026 00:00:29 GMT", 30 * S),
        ("Sunday, 01-Mar-26 00:00:29 GMT", 30 * S),
        ("Sun Mar  1 00:00:29 2026", 30 * S),
        ("sun, 1 mar 2026 00:00:29 gmt", 30 * S),
        ("Sun, 01 Mar 2026 00:00:29 UTC", 30 * S),
        ("Sun, 01 Mar 2026 00:00:29", 30 * S),
        ("01 Mar 2026 00:00:29 GMT", 30 * S),
        ("Sun, 01 Mar 2026 01:00:29 +0100", 30 * S),
        ("Sat, 28 Feb 2026 19:00:29 EST", 30 * S),
        ("Mon, 01 Mar 2026 00:00:29 GMT", 30 * S),  # the wrong day of the week
        ("2026-03-01T00:00:29Z", 30 * S),
        ("2026-03-01T01:00:29+01:00", 30 * S),
        ("2026-03-01 00:00:29", 30 * S),
        ("2026-03-01T00:00:29.250Z", 30_250_000),
        ("Sat, 28 Feb 2026 23:00:00 GMT", 0),
        ("Thu, 01 Jan 1970 00:00:00 GMT", 0),
        ("Mon, 01 Mar 2036 00:00:00 GMT", MAX_BLOCK_US),
        ("-1", 0),
        ("-86400", 0),
        ("", 0),
        ("soon", 0),
        ("1e9", 0),
        ("0x10", 0),
        ("١٢٠", 0),  # digits, but not those of HTTP
        ("NaN", 0),
        ("inf", 0),
        ("120, 240", 240 * S),
        ("soon, 5", 5 * S),
        ("soon, later", 0),
        ("Sun, 99 Foo 2026 00:00:29 GMT", 0),
        ("5" * 2000, 0),
    ],
)
def test_retry_after(value: str, block_us: int) -> None:
    assert told(429, Retry_After=value).block_us == block_us
    assert told(503, RETRY_AFTER=value).block_us == block_us


def test_retry_after_in_milliseconds_is_the_more_exact() -> None:
    assert told(429, retry_after_ms="1250", retry_after="2").block_us == 1_250_000
    assert told(429, x_ms_retry_after_ms="30", retry_after="1").block_us == 30_000
    assert told(429, retry_after_ms="soon", retry_after="2").block_us == 2 * S


def test_retry_after_elsewhere_is_about_something_else() -> None:
    for status in (200, 202, 301, 404, 413):
        assert told(status, retry_after="60").block_us == 0
    assert told(500, retry_after="60").block_us == 60 * S


def test_an_upstream_whose_clock_is_wrong_is_taken_at_its_own_time() -> None:
    slow = "Sat, 28 Feb 2026 23:50:00 GMT"
    assert told(429, date=slow, retry_after="Sat, 28 Feb 2026 23:50:30 GMT").block_us == 30 * S
    assert told(429, date="Thu, 01 Jan 1970 00:00:00 GMT", retry_after="Sun, 01 Mar 2026 00:00:29 GMT").block_us == (
        30 * S
    )
    assert told(429, date=slow, retry_after="30").block_us == 30 * S


EPOCH = str(NOW_S + 60)
SEVERAL = '"burst";r=0;t=2, "hour";r=812;t=900, "day";r=90000;t=40000'
POLICIES = '"burst";q=10;w=1, "hour";q=1000;w=3600, "day";q=100000;w=86400;pk=:c2VjcmV0:'


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        # GitHub: seconds since the epoch
        ({"X-RateLimit-Limit": "60", "X-RateLimit-Remaining": "56", "X-RateLimit-Reset": EPOCH}, (56, 60, 60)),
        # milliseconds since the epoch (Linear, ClickUp)
        ({"x-ratelimit-remaining": "9", "x-ratelimit-reset": f"{EPOCH}000"}, (9, None, 60)),
        # seconds from now (Kong, slowapi's peers)
        ({"X-RateLimit-Limit": "5", "X-RateLimit-Remaining": "4", "X-RateLimit-Reset": "60"}, (4, 5, 60)),
        # Reddit: decimals
        ({"X-Ratelimit-Remaining": "98.0", "X-Ratelimit-Used": "2", "X-Ratelimit-Reset": "60"}, (98, None, 60)),
        # Discord: both, of which the wait is to be believed
        (
            {
                "X-RateLimit-Limit": "5",
                "X-RateLimit-Remaining": "3",
                "X-RateLimit-Reset": "1470173023.123",
                "X-RateLimit-Reset-After": "60.0",
                "X-RateLimit-Bucket": "abcd1234",
            },
            (3, 5, 60),
        ),
        # X, Okta
        ({"x-rate-limit-limit": "900", "x-rate-limit-remaining": "8", "x-rate-limit-reset": EPOCH}, (8, 900, 60)),
        # Vimeo: ISO 8601
        ({"X-RateLimit-Remaining": "9", "X-RateLimit-Reset": "2026-03-01T00:00:59+00:00"}, (9, None, 60)),
        # an HTTP date has a comma
        ({"X-RateLimit-Remaining": "9", "X-RateLimit-Reset": "Sun, 01 Mar 2026 00:00:59 GMT"}, (9, None, 60)),
        # OpenAI: durations, and tokens beside requests
        (
            {
                "x-ratelimit-limit-requests": "60",
                "x-ratelimit-remaining-requests": "59",
                "x-ratelimit-reset-requests": "1m0s",
                "x-ratelimit-remaining-tokens": "0",
            },
            (59, 60, 60),
        ),
        # Anthropic
        (
            {
                "anthropic-ratelimit-requests-limit": "50",
                "anthropic-ratelimit-requests-remaining": "49",
                "anthropic-ratelimit-requests-reset": "2026-03-01T00:00:59Z",
            },
            (49, 50, 60),
        ),
        ({"X-Discogs-Ratelimit": "60", "X-Discogs-Ratelimit-Remaining": "58"}, (58, 60, None)),
        # draft 3, with the policies beside the limit
        (
            {"RateLimit-Limit": "100, 100;w=60", "RateLimit-Remaining": "50", "RateLimit-Reset": "60"},
            (50, 100, 60),
        ),
        ({"RateLimit-Limit": '10, 10;w=1;name="per-ip", 100;w=60', "RateLimit-Remaining": "5"}, (5, 10, None)),
        # GitLab: draft 3, but a point in time
        ({"RateLimit-Limit": "60", "RateLimit-Remaining": "5", "RateLimit-Reset": EPOCH}, (5, 60, 60)),
        # draft 7
        ({"RateLimit": "limit=100, remaining=50, reset=60", "RateLimit-Policy": "100;w=60"}, (50, 100, 60)),
        # drafts 8 to 11
        ({"RateLimit": '"default";r=50;t=60', "RateLimit-Policy": '"default";q=100;w=60'}, (50, 100, 60)),
        ({"RateLimit": "default; r=50 ; t=60", "RateLimit-Policy": "default; q=100; w=60"}, (50, 100, 60)),
        ({"RateLimit": '"a,b;c";r=50;t=60', "RateLimit-Policy": '"a,b;c";q=100'}, (50, 100, 60)),
        ({"RateLimit": '"day";r=7', "RateLimit-Policy": '"day";q=10;qu="requests"'}, (7, 10, None)),
        ({"RateLimit": SEVERAL, "RateLimit-Policy": POLICIES}, (0, 10, 2)),
        ({"RateLimit-Policy": POLICIES}, (None, 10, None)),
        # the same field twice, joined
        ({"X-RateLimit-Limit": "10, 99", "X-RateLimit-Remaining": "9, 0", "X-RateLimit-Reset": "1, 60"}, (0, 99, 60)),
        ({"X-RateLimit-Limit": "10", "X-RateLimit-Remaining": "9, 4", "X-RateLimit-Reset": "60"}, (4, 10, 60)),
        # two dialects: the tighter counts
        ({"X-RateLimit-Remaining": "9", "RateLimit-Remaining": "3", "RateLimit-Reset": "60"}, (3, None, 60)),
        # nonsense
        ({"X-RateLimit-Limit": "-1", "X-RateLimit-Remaining": "-1", "X-RateLimit-Reset": "-1"}, (None, None, None)),
        ({"X-RateLimit-Limit": "unlimited", "X-RateLimit-Remaining": "", "X-RateLimit-Reset": "never"}, (None,) * 3),
        ({"RateLimit": '"open;r=1', "RateLimit-Policy": ";;=,,;q"}, (None, None, None)),
        ({"X-RateLimit-Remaining": "9" * 40}, (None, None, None)),
        ({"X-RateLimit-Remaining": "1", "X-RateLimit-Reset": "900000000"}, (1, None, MAX_RESET_US // S)),
        ({}, (None, None, None)),
    ],
)
def test_what_remains(headers: dict[str, str], expected: tuple[int | None, int | None, int | None]) -> None:
    feedback = read(200, headers, now_us=NOW_US)
    remaining, limit, reset_s = expected
    assert feedback[2:5] == (remaining, limit, None if reset_s is None else reset_s * S)
    assert read(200, {name.upper(): value for name, value in headers.items()}, now_us=NOW_US) == feedback


def test_nothing_left_blocks_until_there_is_something() -> None:
    used_up = {"x_ratelimit_limit": "5", "x_ratelimit_remaining": "0", "x_ratelimit_reset": "30"}
    assert told(200, **used_up) == (Kind.OK, 30 * S, 0, 5, 30 * S, None)
    assert told(404, **used_up).block_us == 30 * S
    assert told(429, **used_up).block_us == 30 * S
    assert told(429, **used_up, retry_after="7").block_us == 7 * S  # it takes precedence
    assert told(429, **used_up, retry_after="0").block_us == 30 * S
    assert told(200, RateLimit=SEVERAL).block_us == 2 * S
    assert told(200, RateLimit='"a";r=0;t=2, "b";r=0;t=9').block_us == 9 * S


def test_a_429_that_says_no_time_waits_for_the_reset_unless_something_is_left() -> None:
    assert told(429, x_ratelimit_reset="30").block_us == 30 * S
    assert told(429, x_ratelimit_remaining="3", x_ratelimit_reset="30").block_us == 0
    assert told(200, x_ratelimit_reset="30").block_us == 0
    assert told(429).block_us == 0


def test_only_sane_latencies_are_passed_on() -> None:
    for latency_us, passed in [(0, 0), (250_000, 250_000), (-1, None), (10**15, None), (None, None)]:
        assert read(200, {}, now_us=NOW_US, latency_us=latency_us).latency_us == passed


def test_no_more_fields_are_read_than_an_answer_can_have() -> None:
    many = {f"x-{number}": "1" for number in range(1_000)} | {"retry-after": "5"}
    assert read(429, many, now_us=NOW_US).block_us == 0


NAMES = st.sampled_from(
    [
        "Retry-After",
        "retry-after-ms",
        "Date",
        "RateLimit",
        "RateLimit-Policy",
        *(f"{of}-{what}" for of in ("RateLimit", "X-RateLimit", "x-rate-limit") for what in ("Limit", "Remaining")),
        *(f"{of}-{what}" for of in ("RateLimit", "X-RateLimit", "x-rate-limit") for what in ("Reset", "Reset-After")),
        "x-ratelimit-reset-requests",
    ]
)
PIECES = r"Sun Mar GMT 2026 00:00:29 99:99:99 +9999 - \ ; , = r t q 1 0 limit reset 1772323199 12h d T Z W01 . ٣ 1e5"
WORDS = st.sampled_from([*PIECES.split(), '"', " ", "9" * 30])
VALUES = st.one_of(
    st.text(max_size=40),
    st.lists(WORDS, max_size=12).map("".join),
    st.lists(WORDS, max_size=12).map(" ".join),
    st.integers(-(10**20), 10**20).map(str),
    st.decimals(allow_nan=True, allow_infinity=True).map(str),
    st.datetimes().map(lambda moment: moment.strftime("%a, %d %b %Y %H:%M:%S GMT")),
)


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.integers(-10, 1_000), st.dictionaries(NAMES, VALUES, max_size=8), st.none() | st.integers(), st.integers())
@example(503, {"Retry-After": "Mon, 0 Jan 0000 00:00:00 -9999"}, None, 0)
@example(200, {"RateLimit": '"' * 1024, "X-RateLimit-Reset": "," * 1024}, None, NOW_US)
def test_whatever_comes_is_read_and_bounded(
    status: int, headers: dict[str, str], latency_us: int | None, now_us: int
) -> None:
    feedback = read(status, headers, now_us=now_us, latency_us=latency_us)
    assert 0 <= feedback.block_us <= MAX_BLOCK_US
    assert feedback.reset_us is None or 0 <= feedback.reset_us <= MAX_RESET_US
    assert feedback.remaining is None or feedback.remaining >= 0
    assert feedback.limit is None or feedback.limit >= 0
    assert feedback.latency_us is None or feedback.latency_us == latency_us


@settings(deadline=None)
@given(VALUES)
def test_the_parts_of_a_list_come_back_whole(value: str) -> None:
    for item in http_fields.items(f'"name, with; all";r=1, {value}')[:1]:
        assert (item.name, item.parameters) == ("name, with; all", {"r": "1"})


@given(st.integers(0, 10**9 - 1), st.integers(0, 10**6))
def test_a_point_in_time_and_a_wait_mean_the_same_moment(wait_s: int, past_s: int) -> None:
    wait_us = http_fields.wait_us(str(wait_s), now_us=NOW_US)
    assert wait_us == wait_s * S
    for scale in (1, 1_000, 1_000_000):
        assert http_fields.wait_us(str((NOW_S + wait_s) * scale), now_us=NOW_US) == wait_us
        assert http_fields.wait_us(str((NOW_S - past_s) * scale), now_us=NOW_US) == 0
