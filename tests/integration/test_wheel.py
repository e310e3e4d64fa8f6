"""The wheel that a release ships: every package imports from it alone, and no data file is missing."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGES = {
    "headworks": ROOT / "libs/gen/headworks",
    "headworks_core": ROOT / "libs/core/headworks_core",
    "headworks_client": ROOT / "libs/client/headworks_client",
    "headworks_devkit": ROOT / "libs/devkit/headworks_devkit",
    "headworks_limiter": ROOT / "services/limiter/headworks_limiter",
    "headworks_scheduler": ROOT / "services/scheduler/headworks_scheduler",
    "headworks_worker": ROOT / "services/worker/headworks_worker",
}
IMPORT_ALL = """
import importlib, pkgutil, sys
home, *packages = sys.argv[1:]
sys.path.insert(0, home)
for name in packages:
    package = importlib.import_module(name)
    assert package.__file__.startswith(home), package.__file__
    for module in pkgutil.walk_packages(package.__path__, name + "."):
        if not module.name.endswith("__main__"):
            importlib.import_module(module.name)
            print(module.name)
"""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built from this checkout."""
    folder = tmp_path_factory.mktemp("wheel")
    options = ["--quiet", "--no-deps", "--disable-pip-version-check", "--wheel-dir", str(folder)]
    subprocess.run([sys.executable, "-m", "pip", "wheel", *options, str(ROOT)], check=True, timeout=110)
    (built,) = folder.glob("headworks-*.whl")
    return built


def test_every_source_and_data_file_is_in_the_wheel(wheel: Path) -> None:
    shipped = set(zipfile.ZipFile(wheel).namelist())
    expected = {
        (Path(package) / path.relative_to(folder)).as_posix()
        for package, folder in PACKAGES.items()
        for path in folder.rglob("*")
        if path.is_file() and path.suffix in {".py", ".pyi", ".lua", ".yaml", ".typed"}
    }
    assert expected - shipped == set()


def test_the_wheel_holds_nothing_but_the_packages(wheel: Path) -> None:
    tops = {name.split("/")[0] for name in zipfile.ZipFile(wheel).namelist()}
    assert {top for top in tops if not top.endswith(".dist-info")} == set(PACKAGES)


def test_every_module_imports_from_the_wheel_alone(wheel: Path, tmp_path: Path) -> None:
    zipfile.ZipFile(wheel).extractall(tmp_path)
    command = [sys.executable, "-I", "-c", IMPORT_ALL, str(tmp_path), *PACKAGES]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert "headworks_scheduler.app" in done.stdout
    assert "headworks.limiter.v1.limiter_pb2" in done.stdout
