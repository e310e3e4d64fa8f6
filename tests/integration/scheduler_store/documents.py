"""What docs/redis.md and docs/scheduler-states.md say, in a form that can be compared."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

DOCS = Path(__file__).parents[3] / "docs"
NAMES = {
    "cell": r"\d+",
    "ref": r"[a-z0-9_-]+/[a-z0-9_-]+/.+",
    "queue": r"[a-z0-9_-]+",
    "tenant": r"[a-z0-9_-]+",
    "level": r"\d",
    "lane": r"[A-Za-z0-9_.:@-]*",
}
Transition = tuple[str, str, str, str]


def rows(document: str, section: str) -> Iterator[list[str]]:
    """The cells of the tables of a section, without their heads."""
    text = (DOCS / document).read_text()
    (body,) = re.findall(rf"^#+ {section}\n(.*?)(?=^#|\Z)", text, re.MULTILINE | re.DOTALL)
    for table in re.findall(r"(?:^\|.*\n)+", body, re.MULTILINE):
        for line in table.splitlines()[2:]:
            yield [cell.strip() for cell in line.strip("|").split("|")]


def key_patterns(section: str) -> dict[str, re.Pattern[str]]:
    """The documented keys of a section, each as what it stands for."""
    return {row[0].strip("`"): re.compile(_expression(row[0].strip("`"))) for row in rows("redis.md", section)}


def _expression(key: str) -> str:
    parts = re.split(r"<(\w+)>", key)
    return "".join(NAMES[part] if n % 2 else re.escape(part) for n, part in enumerate(parts))


def job_fields() -> set[str]:
    """The documented fields of a job."""
    return {name for row in rows("redis.md", "Fields of a job") for name in re.findall(r"`(\w+)`", row[0])}


def transitions() -> set[Transition]:
    """The documented transitions: from, to, script, event; "" for none."""
    plain = [["" if cell == "–" else cell for cell in row] for row in rows("scheduler-states.md", "Transitions")]
    return {(before, after, script, event) for before, after, script, _, event, _ in plain}
