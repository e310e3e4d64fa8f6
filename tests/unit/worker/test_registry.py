"""Which tasks a worker runs."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from headworks_worker import RegistrationError, task
from headworks_worker.registry import load, register

MODULE = """
from headworks_worker import task

@task
async def one() -> None: ...

@task(name="second")
def two() -> None: ...
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder that modules are imported from; they are forgotten afterwards."""
    monkeypatch.syspath_prepend(tmp_path)
    before = set(sys.modules)
    yield tmp_path
    for name in set(sys.modules) - before:
        del sys.modules[name]


def test_the_tasks_of_a_module_are_found_by_their_names(folder: Path) -> None:
    (folder / "some_tasks.py").write_text(MODULE)

    registered = register(load(["some_tasks"]))

    assert {name: entry.is_async for name, entry in registered.items()} == {"some_tasks.one": True, "second": False}


def test_a_missing_module_is_named_with_where_it_was_looked_for(folder: Path) -> None:
    with pytest.raises(RegistrationError, match=rf"there is no module nowhere.*{folder}"):
        load(["nowhere"])


def test_a_missing_import_of_a_module_is_its_own_error(folder: Path) -> None:
    (folder / "needy_tasks.py").write_text("import not_installed_here")

    with pytest.raises(ModuleNotFoundError, match="not_installed_here"):
        load(["needy_tasks"])


def test_two_tasks_of_one_name_are_refused_but_one_may_be_seen_twice() -> None:
    @task(name="same")
    def one() -> None: ...

    @task(name="same")
    def other() -> None: ...

    assert list(register([one, one.options(level=1)])) == ["same"]
    with pytest.raises(RegistrationError, match="two tasks are called same"):
        register([one, other])


def test_a_generator_is_no_task() -> None:
    @task(name="g")
    def numbers() -> Iterator[int]:
        yield 1

    @task(name="a")
    async def later() -> AsyncIterator[int]:
        yield 1

    for generator in (numbers, later):
        with pytest.raises(RegistrationError, match="is a generator"):
            register([generator])
