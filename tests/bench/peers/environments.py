"""What the peers are and where they are installed: each from its package index into an environment of its own."""

from __future__ import annotations

import asyncio
import shutil
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from headworks_devkit.processes import child

HOME = Path("build/peers").absolute()
PROGRAMS = Path(__file__).with_name("programs")
INSTALL_S = 300.0


@dataclass(frozen=True, slots=True)
class Environment:
    """A peer's packages, pinned."""

    name: str
    packages: tuple[str, ...]
    runtime: str = "python"
    """python or node."""

    @property
    def folder(self) -> Path:
        """Where it is installed."""
        return HOME / self.name

    def tool(self, name: str) -> str:
        """A program of it: python, arq, ...; for node the one on the path."""
        return str(self.folder / "bin" / name) if self.runtime == "python" else name

    @property
    def _pins(self) -> Path:
        return self.folder / ".pins"

    async def install(self) -> None:
        """Install what is not there yet. Raises ChildFailed; FileNotFoundError where node or npm is missing."""
        pins = "\n".join(self.packages)
        if self._pins.exists() and await asyncio.to_thread(self._pins.read_text) == pins:
            return
        print(f"  installing {self.name}: {' '.join(self.packages)}", flush=True)
        await asyncio.to_thread(shutil.rmtree, self.folder, ignore_errors=True)
        self.folder.mkdir(parents=True)
        if self.runtime == "python":
            await _run([sys.executable, "-m", "venv", str(self.folder)])
            options = ["--quiet", "--disable-pip-version-check"]
            await _run([self.tool("python"), "-m", "pip", "install", *options, *self.packages])
        else:
            if shutil.which("node") is None or shutil.which("npm") is None:
                raise FileNotFoundError(f"{self.name} needs node and npm on the path")
            await _run(["npm", "install", "--silent", "--no-fund", "--no-audit", *self.packages], self.folder)
        await asyncio.to_thread(self._pins.write_text, pins)


async def _run(argv: Sequence[str], folder: Path | None = None) -> None:
    async with child(Path(argv[0]).name, argv, cwd=folder) as process, asyncio.timeout(INSTALL_S):
        if await process.wait():
            raise process.failed("could not install")
