"""The worker's settings."""

from __future__ import annotations

from typing import Any

import pytest
from headworks_worker.settings import Settings, parse_queues
from pydantic import ValidationError


def test_queues_have_weights_and_keep_their_order() -> None:
    assert list(parse_queues("b=3, a ,c=1000").items()) == [("b", 3), ("a", 1), ("c", 1000)]


@pytest.mark.parametrize("text", ["", "a,,b", "a,a", "a=0", "a=1001", "a=x", "A", ",".join(map(str, range(65)))])
def test_what_is_no_list_of_queues_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"queue|weight"):
        parse_queues(text)


def made(**told: Any) -> Settings:
    """Settings as they would be loaded."""
    return Settings(**told)


def test_a_worker_is_called_by_its_name_or_by_its_host_and_process() -> None:
    assert made(name="w-1").worker_id == "w-1"
    assert made().worker_id == made().replica_id


def test_health_beyond_loopback_needs_to_be_wanted() -> None:
    assert made(health_address="").health_address == ""
    assert made(health_address="0.0.0.0:1", insecure=True).insecure
    with pytest.raises(ValidationError, match="leaves loopback"):
        made(health_address="0.0.0.0:1")
