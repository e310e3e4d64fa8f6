"""The table between error kinds and statuses."""

from __future__ import annotations

from pathlib import Path

import grpc
import pytest
from headworks_core import errors, grpc_errors

DOCUMENTED = (Path(__file__).parents[3] / "docs" / "errors.md").read_text()
KINDS = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, errors.ServiceError)]


@pytest.mark.parametrize("reason", list(errors.Reason))
def test_every_reason_is_documented(reason: errors.Reason) -> None:
    assert f"| `{reason.value}` |" in DOCUMENTED


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind is not errors.ServiceError])
def test_every_kind_has_a_status_of_its_own(kind: type[errors.ServiceError]) -> None:
    assert grpc_errors.KIND_OF[grpc_errors.code_of(kind("no")).value[0]] is kind


def test_a_subclass_has_the_status_of_its_kind() -> None:
    class QueueGone(errors.NotFound):
        pass

    assert grpc_errors.code_of(QueueGone("gone")) is grpc.StatusCode.NOT_FOUND


def test_an_error_of_an_item_comes_back_as_it_was() -> None:
    error = errors.invalid([errors.Violation("spec.task", "required"), errors.Violation("spec.level", "0 to 9")])

    back = grpc_errors.from_item(grpc_errors.item_error(error))

    assert type(back) is errors.InvalidArgument
    assert (back.reason, back.message, back.violations) == (error.reason, error.message, error.violations)


def test_a_reason_from_a_newer_service_does_not_break_the_client() -> None:
    item = grpc_errors.item_error(errors.NotFound("gone", reason=errors.Reason.JOB_NOT_FOUND))
    item.reason = "FROM_THE_FUTURE"

    assert type(grpc_errors.from_item(item)) is errors.NotFound
