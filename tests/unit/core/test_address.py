"""What a Redis URL says, and what is told of one that cannot be read."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from headworks_core.address import Kind, parse


def test_a_cluster_is_named_by_some_of_its_servers() -> None:
    address = parse("redis+cluster://me:p%40ss@one:7001,two,[::1]:7003/")
    assert (address.kind, address.nodes) == (Kind.CLUSTER, ("one:7001", "two:6379", "[::1]:7003"))
    assert address.server_url("three:7004") == "redis://me:p%40ss@three:7004/0"
    assert address.server_url("[::2]:7004") == "redis://me:p%40ss@[::2]:7004/0"


def test_sentinels_name_the_primary_of_a_service(tmp_path: Path) -> None:
    (tmp_path / "ca.pem").touch()
    ca = str(tmp_path / "ca.pem")
    url = f"rediss+sentinel://me:secret@s1,s2:26380/limits/3?ssl_ca_certs={ca}&sentinel_password=p/w"
    address = parse(url)
    assert (address.kind, address.nodes) == (Kind.SENTINEL, ("s1:26379", "s2:26380"))
    assert (address.service, address.db) == ("limits", 3)
    query = f"?ssl_ca_certs={ca.replace('/', '%2F')}"
    assert address.server_url("db:6379") == f"rediss://me:secret@db:6379/3{query}"
    assert address.sentinel_url("s1:26379") == f"rediss://:p%2Fw@s1:26379/0{query}"


def test_one_server_is_left_as_it_is() -> None:
    for url in ("redis://h:1/2?socket_keepalive=yes", "rediss://u:p@h", "unix:///run/redis.sock?db=1"):
        address = parse(url)
        assert (address.kind, address.server_url("whoever:1")) == (Kind.SERVER, url)


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("http://h", "must begin with redis://, "),
        ("", "must begin with redis://, "),
        ("redis+cluster:h", "must begin with redis://, "),
        ("redis+clusters://h", "must begin with redis://, "),
        ("redis://a:1,b:2/0", "redis:// names one server; several are redis+cluster:// or redis+sentinel://"),
        ("redis+cluster:///", "has a server '', which is not host:port"),
        ("redis+cluster://a:1,,b:2", "has a server '', which is not host:port"),
        ("redis+cluster://a:1, b:2", "has a server ' b:2', which is not host:port"),
        ("redis+cluster://a:one", "has a server 'a:one'"),
        ("redis+cluster://a:70000", "has a server 'a:70000'"),
        ("redis+cluster://a:1/2", "names database 2, but a cluster has only database 0"),
        ("redis+cluster://a:1?ssl_ca_cert=x", "has no option ssl_ca_cert; there are "),
        ("redis+cluster://a:1?sentinel_password=x", "has no option sentinel_password"),
        ("redis+sentinel://a:1", "must name the sentinels' service"),
        ("redis+sentinel://a:1/limits/x", "has database 'x' after the service"),
        ("redis://a?ssl_ca_certs=x", "has ssl_ca_certs, but does not ask for TLS"),
        ("rediss://a?ssl_ca_certs=/none.pem", "has ssl_ca_certs=/none.pem, which is no file"),
        ("rediss://a?ssl_certs=x", "has no option ssl_certs"),
        ("rediss+cluster://a?ssl_cert_reqs=maybe", "has an ssl_cert_reqs that is not"),
    ],
)
def test_what_cannot_be_read_is_told(url: str, why: str) -> None:
    with pytest.raises(ValueError, match=re.escape(why)) as raised:
        parse(url.replace("://", "://u:secret@"))
    assert "secret" not in str(raised.value)
