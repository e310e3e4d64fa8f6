"""Settings: read once, wrong ones are listed together."""

from __future__ import annotations

import pytest
from headworks_core.settings import is_loopback, load
from headworks_scheduler.settings import Settings


def test_every_mistake_is_listed_at_once(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("HEADWORKS_SCHEDULER_LEASE_S", "soon")
    monkeypatch.setenv("HEADWORKS_SCHEDULER_CELLS", "0")
    monkeypatch.setenv("HEADWORKS_SCHEDULER_COLOUR", "blue")
    monkeypatch.setenv("HEADWORKS_SCHEDULER_ADDRESS", "0.0.0.0:50052")

    with pytest.raises(SystemExit) as ended:
        load(Settings, [])

    said = capsys.readouterr().err
    assert ended.value.code == 2
    for variable in ("LEASE_S", "CELLS", "COLOUR", "ADDRESS"):
        assert f"HEADWORKS_SCHEDULER_{variable}: " in said


def test_a_flag_wins_over_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HEADWORKS_SCHEDULER_LEASE_S", "5")

    assert load(Settings, ["--lease-s", "7"]).lease_s == 7
    assert load(Settings, []).lease_s == 5


def test_other_addresses_than_loopback_need_insecure() -> None:
    assert load(Settings, ["--insecure", "--address", "0.0.0.0:1"]).address == "0.0.0.0:1"


@pytest.mark.parametrize(
    ("address", "loopback"),
    [
        ("127.0.0.1:1", True),
        ("127.8.8.8:1", True),
        ("[::1]:1", True),
        ("localhost:1", True),
        ("unix:/tmp/x", True),
        ("0.0.0.0:1", False),
        ("[::]:1", False),
        ("example.org:1", False),
    ],
)
def test_loopback_is_what_only_this_machine_reaches(address: str, loopback: bool) -> None:
    assert is_loopback(address) is loopback


def test_a_scheduler_does_not_take_a_cluster_for_one_server(capsys: pytest.CaptureFixture[str]) -> None:
    for url in ("redis+cluster://a:1,b:2", "rediss+sentinel://a:1/main"):
        with pytest.raises(SystemExit):
            load(Settings, ["--redis-url", url])
        assert "HEADWORKS_SCHEDULER_REDIS_URL: must name one server, redis:// or rediss://" in capsys.readouterr().err
