"""Page tokens come back as they went, or not at all."""

from __future__ import annotations

import base64

import pytest
from headworks_core.errors import InvalidArgument
from headworks_core.names import uuid7
from headworks_scheduler import tokens
from headworks_scheduler.domain.jobs import Position
from hypothesis import given
from hypothesis import strategies as st

SCOPE = ["list", "ann", "default", 5, "", None, 0, ""]
PLACE = Position(1_763_800_000_123_457, uuid7())


@given(score=st.integers(0, 10**16 - 1), cutoff_us=st.integers(0, 10**16 - 1), scope=st.lists(st.text() | st.none()))
def test_a_token_gives_back_what_it_was_made_of(score: int, cutoff_us: int, scope: list[str | None]) -> None:
    place = Position(score, uuid7())
    assert tokens.decode(tokens.encode(scope, place, cutoff_us), scope) == (place, cutoff_us)


@pytest.mark.parametrize("other", [[], [*SCOPE, ""], ["list", "ann", "default", 5, "", "", 0, ""], [*SCOPE[:-1], "x"]])
def test_a_token_of_another_list_is_refused(other: list[object]) -> None:
    with pytest.raises(InvalidArgument) as caught:
        tokens.decode(tokens.encode(SCOPE, PLACE), other)
    assert [violation.field for violation in caught.value.violations] == ["page_token"]


@given(at=st.integers(0, 200), by=st.integers(1, 255))
def test_a_token_that_was_changed_anywhere_is_refused(at: int, by: int) -> None:
    token = bytearray(base64.urlsafe_b64decode(tokens.encode(SCOPE, PLACE, 7)))
    token[at % len(token)] ^= by
    with pytest.raises(InvalidArgument):
        tokens.decode(base64.urlsafe_b64encode(token).decode(), SCOPE)


@given(st.text(max_size=300))
def test_what_is_no_token_is_refused(text: str) -> None:
    with pytest.raises(InvalidArgument):
        tokens.decode(text, SCOPE)
