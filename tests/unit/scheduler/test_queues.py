"""The queues file: how long, and how many, finished jobs a queue keeps."""

from __future__ import annotations

from pathlib import Path

import pytest
from headworks_scheduler.queues import QueuesFileError, load_queues


def load(folder: Path, text: str) -> dict[str, tuple[int, int]]:
    """What queues say of their finished jobs, by name."""
    file = folder / "queues.yaml"
    file.write_text(text)
    return {queue.name: (queue.retention_us, queue.max_finished) for queue in load_queues(str(file)).all()}


def test_a_queue_says_how_long_and_how_many_or_leaves_it_to_the_service(tmp_path: Path) -> None:
    found = load(tmp_path, "queues: {b: {retention: 2h}, a: {max_finished: 10}, c: {}}")
    assert found == {"a": (0, 10), "b": (7_200_000_000, 0), "c": (0, 0)}
    assert list(found) == ["a", "b", "c"]


@pytest.mark.parametrize(
    ("entry", "field"),
    [("retention: 999ms", "retention"), ("retention: 367d", "retention"), ("max_finished: 0", "max_finished")],
)
def test_what_is_out_of_bounds_is_named(tmp_path: Path, entry: str, field: str) -> None:
    with pytest.raises(QueuesFileError, match=rf"queues\.a\.{field}"):
        load(tmp_path, f"queues: {{a: {{{entry}}}}}")
