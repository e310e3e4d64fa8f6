"""What docs/limiter.md shows: its blocks, links and tables."""

from __future__ import annotations

import re
import textwrap
from pathlib import Path

PAGE = Path(__file__).parents[2] / "docs" / "limiter.md"
TEXT = PAGE.read_text()
LINES = "namespaces:\n  page:\n    rules:\n"


def blocks(language: str) -> list[str]:
    """Every block of a language, none: of the shell. Rules that stand alone are put into a namespace."""
    found = [
        text
        for named, text in re.findall(r"^```(\w*)\n(.*?)^```$", TEXT, re.DOTALL | re.MULTILINE)
        if named == language
    ]
    return [LINES + textwrap.indent(text, "      ") if text.startswith("- ") else text for text in found]


def anchors(text: str) -> set[str]:
    """What can be linked to within a page: its headings, as GitHub names them."""
    titles = re.findall(r"^#+ (.+)$", re.sub(r"```.*?```", "", text, flags=re.DOTALL), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


def section(title: str) -> str:
    """A section, without its heading."""
    return TEXT.split(f"\n## {title}\n")[1].split("\n## ")[0]
