"""Whatever a request holds, its descriptors are such as the limiter takes."""

from __future__ import annotations

from headworks_client.descriptors import MAX_BYTES, descriptors
from hypothesis import given
from hypothesis import strategies as st


def test_what_has_no_value_is_left_out_and_what_fits_stays() -> None:
    told = [("ip", "10.0.0.1"), ("user", None), ("key", ""), ("route", "é" * 128)]
    assert descriptors(told) == {"ip": "10.0.0.1", "route": "é" * 128}


def test_what_is_too_long_keeps_its_beginning_and_differs_from_others() -> None:
    long, other = descriptors([("a", "GET /" + "x" * 400), ("b", "GET /" + "x" * 401)]).values()
    assert long.startswith("GET /xxx")
    assert len(long) == len(other) == MAX_BYTES
    assert long != other
    assert descriptors([("a", "GET /" + "x" * 400)])["a"] == long


@given(st.text(st.characters(exclude_categories=()), min_size=1, max_size=600))
def test_every_value_becomes_one_that_can_be_sent(value: str) -> None:
    (sent,) = descriptors([("k", value)]).values()
    assert 1 <= len(sent.encode()) <= MAX_BYTES
