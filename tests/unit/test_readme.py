"""The README shows the examples as they are; the examples themselves are run by the end-to-end tests."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SHOWN = re.findall(r"<!-- (\S+) -->\n```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)


def test_the_readme_shows_a_task_its_callers_and_a_subscriber() -> None:
    assert len(SHOWN) == 4


@pytest.mark.parametrize(("path", "shown"), SHOWN)
def test_the_readme_shows_an_example_as_it_is(path: str, shown: str) -> None:
    assert shown == (ROOT / path).read_text()


def test_every_document_that_the_readme_names_exists() -> None:
    links = re.findall(r"\]\(([^)#:]+)\)", (ROOT / "README.md").read_text())

    assert [link for link in links if not (ROOT / link).exists()] == []
