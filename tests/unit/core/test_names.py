"""Ids and resource names."""

from __future__ import annotations

import uuid

import pytest
from headworks_core.errors import InvalidArgument
from headworks_core.names import JobName, job_of_ref, parse_job, uuid7


def test_a_new_id_is_a_uuid_of_version_7() -> None:
    made = uuid.UUID(uuid7())

    assert (made.version, made.variant) == (7, uuid.RFC_4122)
    assert str(made) == str(made).lower()


def test_ids_of_later_milliseconds_sort_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    ids = []
    for now_ns in (1_700_000_000_000_000_000, 1_700_000_000_001_000_000, 1_800_000_000_000_000_000):
        monkeypatch.setattr("time.time_ns", lambda now_ns=now_ns: now_ns)
        ids.append(uuid7())

    assert ids == sorted(ids)
    assert uuid.UUID(ids[0]).int >> 80 == 1_700_000_000_000


def test_a_name_survives_being_taken_apart_and_put_together() -> None:
    name = f"tenants/acme/queues/mail/jobs/12-{uuid7()}"

    parsed = parse_job(name)

    assert str(parsed) == name
    assert (parsed.tenant, parsed.queue, parsed.cell) == ("acme", "mail", 12)
    assert job_of_ref(parsed.ref, parsed.cell) == name


@pytest.mark.parametrize(
    "name",
    [
        "",
        "jobs/1",
        str(JobName("acme", "mail", 0, "not-a-uuid")),
        str(JobName("Acme", "mail", 0, uuid7())),
        str(JobName("acme", "ma/il", 0, uuid7())),
        str(JobName("acme", "mail", 0, uuid7())) + "/more",
        str(JobName("acme", "mail", 0, uuid7().upper())),
        str(JobName("a{b}", "mail", 0, uuid7())),
    ],
)
def test_anything_else_is_refused_with_the_fields_name(name: str) -> None:
    with pytest.raises(InvalidArgument) as caught:
        parse_job(name, field="names")

    assert caught.value.violations[0].field == "names"
