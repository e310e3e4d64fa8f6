"""The loader of Lua scripts."""

from __future__ import annotations

import hashlib
import sys
from pathlib import Path

import pytest
from headworks_core.scripts import load


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A package with scripts: `top` includes `a` and `b`, and `b` includes `a` again."""
    include = tmp_path / "lua_of_a_test" / "scripts" / "include"
    include.mkdir(parents=True)
    (tmp_path / "lua_of_a_test" / "__init__.py").touch()
    (include / "a.lua").write_text("local a = 1\n")
    (include / "b.lua").write_text("--@include a\nlocal b = a\n")
    (include.parent / "top.lua").write_text("--@include a\n--@include b\nreturn b\n")
    monkeypatch.syspath_prepend(tmp_path)
    name = "lua_of_a_test"
    sys.modules.pop(name, None)
    return name


def test_shared_parts_are_put_in_once_and_in_order(package: str) -> None:
    text = load(package, "top").text

    assert text.count("local a = 1") == 1
    assert text.index("local a") < text.index("local b") < text.index("return b")


def test_the_hash_is_of_the_expanded_text(package: str) -> None:
    script = load(package, "top")

    assert script.sha == hashlib.sha1(script.text.encode()).hexdigest()


def test_a_script_that_does_not_exist_is_an_error(package: str) -> None:
    with pytest.raises(FileNotFoundError):
        load(package, "nothing")
