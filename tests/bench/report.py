"""`python -m tests.bench.report`: what the two files of measurements say, as tables for docs/performance.md."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from tests.bench.figures import OUT, OWN, PEERS, PEERS_OUT, read, show


def own(written: Mapping[str, Any]) -> Iterator[str]:
    """The figures of `make bench`, in their order."""
    yield from _conditions(written)
    yield "| figure | measured | aim | what it is |"
    yield "|---|---|---|---|"
    for name in OWN:
        if name in written["figures"]:
            figure = written["figures"][name]
            unit = "" if figure["unit"] == "ratio" else f" {figure['unit']}"
            yield f"| `{name}` | {show(figure['value'])}{unit} | {_aim(figure)} | {figure['meaning']} |"
    yield from bucket_memory(written)


def bucket_memory(written: Mapping[str, Any]) -> Iterator[str]:
    """What a bucket costs, by algorithm."""
    figure = written["figures"].get("limiter_bytes_per_bucket")
    if figure is not None:
        yield ""
        yield "| bucket | bytes | of which its value | by `MEMORY USAGE` | buckets |"
        yield "|---|---|---|---|---|"
        for name, of in figure["conditions"]["by_algorithm"].items():
            yield f"| {name} | {of['bytes']:,} | {of['value']:,} | {of['memory_usage']:,} | {of['buckets']:,} |"


def peers(written: Mapping[str, Any]) -> Iterator[str]:
    """The tables of `make bench-peers`."""
    yield from _conditions(written)
    yield "| job system | submits/s | drains/s | packages | setting |"
    yield "|---|---|---|---|---|"
    for name, found in sorted(written.get("jobs", {}).items(), key=lambda item: -int(item[1]["drain_per_s"])):
        packages = ", ".join(found.get("packages", ()))
        yield f"| {name} | {found['submit_per_s']:,} | {found['drain_per_s']:,} | {packages} | {found['setting']} |"
    yield ""
    yield "| limiter | decisions/s of one process | how |"
    yield "|---|---|---|"
    for name, found in written.get("limiters", {}).items():
        if name == "headworks":
            for kind in ("stream", "unary"):
                yield f"| headworks, {kind} | {round(found[kind]):,} | through the service, gRPC on both sides |"
        else:
            yield f"| {name} | {found['per_s']:,} | {found['way']}; {', '.join(found['packages'])} |"
    yield ""
    yield "| figure | measured | aim |"
    yield "|---|---|---|"
    for name in PEERS:
        if name in written["figures"]:
            figure = written["figures"][name]
            yield f"| `{name}` | {show(figure['value'])} | {_aim(figure)} |"


def _aim(figure: Mapping[str, Any]) -> str:
    if "aim" not in figure:
        return ""
    return f"{figure['aim']}: {'met' if figure['met'] else '**missed**'}"


def _conditions(written: Mapping[str, Any]) -> Iterator[str]:
    run = written["run"]
    machine = f"{run['cpus']} cores ({run['machine']})"
    yield f"{run['date']}, commit {run['commit']}, {machine}, Python {run['python']}; a fixed"
    yield f"loop took {' and '.join(map(str, run['spin_ms']))} ms on them before the run (`spin_ms`)."
    yield ""


def main(paths: Sequence[Path] = (OUT, PEERS_OUT)) -> int:
    """Print what is there."""
    for path, tables in zip(paths, (own, peers), strict=True):
        written = read(path)
        if written:
            print("\n".join(tables(written)) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
