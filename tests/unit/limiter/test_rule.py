"""Which requests a rule meets, and where its buckets are."""

from __future__ import annotations

import re

import pytest
from headworks_limiter.domain.fixed_window import FixedWindow
from headworks_limiter.domain.gcra import Gcra
from headworks_limiter.domain.matching import Match
from headworks_limiter.domain.patterns import Pattern
from headworks_limiter.domain.periods import Period
from headworks_limiter.domain.rule import Override, Rule, bucket_key, fingerprint, record_key

MINUTE = Period(us=60_000_000)
PARAMS = Gcra(10, 60_000_000, 10)


def matching(*pairs: tuple[str, str]) -> Match:
    return tuple((key, Pattern(text)) for key, text in pairs)


def made(*match: tuple[str, str], params: Gcra | FixedWindow = PARAMS) -> Rule:
    return Rule("api", "uploads", matching(*match), params)


def test_a_rule_meets_requests_that_have_all_its_keys_with_matching_values() -> None:
    rule = made(("plan", "free"), ("user", "*"))
    assert rule.meets({"plan": "free", "user": "ann", "ip": "::1"})
    assert not rule.meets({"plan": "paid", "user": "ann"})
    assert not rule.meets({"plan": "free"})
    assert made().meets({"anything": "x"})


def test_a_literal_star_in_a_request_is_a_value_like_any_other() -> None:
    assert not made(("plan", "free")).meets({"plan": "*"})


def test_keys_hold_no_value_in_clear_and_128_bits_of_all_of_them() -> None:
    key = bucket_key("{hw:3}", "acme", made(("user", "*")), {"user": "ann@example.org", "ip": "::1"})
    assert re.fullmatch(r"\{hw:3\}:lim:acme:api/uploads/gcra:[0-9a-f]{32}", key)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"a": "b_c", "d": "e"}, {"a": "b", "d": "c_e"}),
        ({"a": "1:x", "d": "y"}, {"a": "1", "d": "x1:y"}),
        ({"a": "x", "d": "y"}, {"a": "y", "d": "x"}),
    ],
)
def test_other_values_are_another_bucket(one: dict[str, str], other: dict[str, str]) -> None:
    rule = made(("a", "*"), ("d", "*"))
    assert bucket_key("p", "t", rule, one) != bucket_key("p", "t", rule, other)


def test_descriptors_that_a_rule_does_not_name_do_not_part_its_buckets() -> None:
    rule = made(("user", "*"))
    assert bucket_key("p", "t", rule, {"user": "a", "ip": "1"}) == bucket_key("p", "t", rule, {"ip": "2", "user": "a"})


def test_tenants_rules_and_windows_have_buckets_of_their_own_and_limits_do_not() -> None:
    descriptors = {"user": "ann"}
    match = (("user", "*"),)
    keys = [
        bucket_key("p", "t", made(*match), descriptors),
        bucket_key("p", "u", made(*match), descriptors),
        bucket_key("p", "t", Rule("api", "other", matching(*match), PARAMS), descriptors),
        bucket_key("p", "t", Rule("web", "uploads", matching(*match), PARAMS), descriptors),
        *(
            bucket_key("p", "t", made(*match, params=params), descriptors)
            for params in (
                FixedWindow(10, MINUTE),
                FixedWindow(10, MINUTE, first_hit=True),
                FixedWindow(10, Period(months=1)),
                FixedWindow(10, Period(us=1)),
            )
        ),
    ]
    assert len(set(keys)) == len(keys)
    assert bucket_key("p", "t", made(*match, params=Gcra(99, 1_000_000, 5)), descriptors) == keys[0]
    assert bucket_key("p", "t", made(*match, params=FixedWindow(99, MINUTE)), descriptors) == keys[4]


def test_no_rule_has_its_buckets_where_grants_are_recorded() -> None:
    assert record_key("{hw:0}", "acme", "id") == "{hw:0}:lim:acme:grant:id"
    assert "/" in made().id


def test_a_fingerprint_tells_every_part_of_a_request_apart() -> None:
    prints = {
        fingerprint("api", {"a": "x"}, 1),
        fingerprint("api", {"a": "x"}, 2),
        fingerprint("web", {"a": "x"}, 1),
        fingerprint("api", {"a": "y"}, 1),
        fingerprint("api", {"b": "x"}, 1),
        fingerprint("api", {"a": "x", "b": "x"}, 1),
    }
    assert len(prints) == 6
    assert fingerprint("api", {"a": "1", "b": "2"}, 1) == fingerprint("api", {"b": "2", "a": "1"}, 1)


def test_all_values_of_a_pattern_share_a_bucket() -> None:
    rule = made(("route", "/wallets/*/refresh"), ("user", "*"))
    keys = [bucket_key("p", "t", rule, {"user": "ann", "route": f"/wallets/{n}/refresh"}) for n in range(2)]
    assert keys[0] == keys[1] != bucket_key("p", "t", rule, {"user": "bob", "route": "/wallets/0/refresh"})


def test_the_first_override_that_fits_stands_for_its_rule_and_keeps_its_bucket() -> None:
    match = matching(("user", "*"))
    more = Rule("api", "uploads", match, Gcra(100, 60_000_000, 100))
    most = Rule("api", "uploads", match, Gcra(1_000, 60_000_000, 1_000))
    overrides = [
        Override(Pattern("acme-*"), matching(("plan", "premium")), [most]),
        Override(Pattern("*"), matching(("plan", "premium")), [more]),
        Override(Pattern("internal"), (), []),
    ]
    rule = Rule("api", "uploads", match, PARAMS, overrides=overrides)
    premium = {"user": "ann", "plan": "premium"}

    assert rule.for_caller("acme-1", premium) == [most]
    assert rule.for_caller("other", premium) == [more]
    assert rule.for_caller("other", {"user": "ann"}) == (rule,)
    assert rule.for_caller("internal", {"user": "ann"}) == []
    assert bucket_key("p", "t", most, premium) == bucket_key("p", "t", rule, premium)
