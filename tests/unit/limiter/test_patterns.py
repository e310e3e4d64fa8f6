"""Patterns mean what people expect of routes, and no value makes matching slow."""

from __future__ import annotations

import re
import time

import pytest
from headworks_limiter.domain.patterns import Pattern
from hypothesis import given
from hypothesis import strategies as st


@pytest.mark.parametrize(
    ("pattern", "fitting", "other"),
    [
        ("*", ["", "a", "a/b", "*"], []),
        ("POST /analyses", ["POST /analyses"], ["POST /analyses/", "post /analyses", "POST /analysesx"]),
        ("premium-*", ["premium-", "premium-gold"], ["premium", "premium-a/b", "xpremium-a"]),
        ("/api/wallets/*/refresh", ["/api/wallets/7/refresh", "/api/wallets//refresh"], ["/api/wallets/7/8/refresh"]),
        ("GET /api/**", ["GET /api", "GET /api/", "GET /api/a/b"], ["GET /apix", "POST /api/a"]),
        ("**/health", ["health", "/health", "/a/b/health"], ["/healthy", "/health/x"]),
        ("/a/**/z/*", ["/a/z/1", "/a/z/z/1", "/a/b/c/z/1"], ["/a/z", "/a/b/1"]),
        ("*.example.org", ["a.example.org", "a.b.example.org"], ["example.org", "a.example.org.evil"]),
        ("10.*.1.*", ["10.2.1.3", "10.1.1.1"], ["11.2.1.3", "10.2.2.3"]),
    ],
)
def test_what_a_pattern_means(pattern: str, fitting: list[str], other: list[str]) -> None:
    assert [value for value in fitting if not Pattern(pattern).fits(value)] == []
    assert [value for value in other if Pattern(pattern).fits(value)] == []


def test_all_values_of_a_pattern_share_a_name_and_those_of_a_star_do_not() -> None:
    assert Pattern("/wallets/*").named("/wallets/7") == "/wallets/*"
    assert Pattern("*").named("alice") == "alice"
    assert Pattern("alice").named("alice") == "alice"


@pytest.mark.parametrize("text", ["a**", "/a/**b", "/***/"])
def test_two_stars_stand_alone_between_slashes(text: str) -> None:
    with pytest.raises(ValueError, match="means nothing"):
        Pattern(text)


parts = st.text("ab*", max_size=4).filter(lambda part: "**" not in part)


@given(st.lists(st.one_of(parts, st.just("**")), min_size=1, max_size=5), st.text("ab/", max_size=12))
def test_a_pattern_fits_as_the_regular_expression_that_says_the_same(wanted: list[str], value: str) -> None:
    pattern = "/".join(wanted)
    if pattern == "*":
        return
    expression = ""
    for part in wanted:  # every part with the slash before it; the value gets one in front too
        expression += "(?:/[^/]*)*" if part == "**" else "/" + "[^/]*".join(map(re.escape, part.split("*")))
    assert Pattern(pattern).fits(value) == (re.fullmatch(expression, "/" + value) is not None)


def test_no_value_makes_matching_slow() -> None:
    pattern = Pattern("/".join(["**", "*a*a*a*a*a*a*a*a*b"] * 8))
    began = time.perf_counter()
    assert not pattern.fits("/".join(["a" * 30] * 8))
    assert not pattern.fits("a" * 256)
    assert time.perf_counter() - began < 1
