"""Where Redis is, as a URL says it: one server, a cluster, or what sentinels name.

    redis://[user:password@]host[:port][/db][?options]                 one server; unix:// too
    redis+cluster://[user:password@]host[:port],...[?options]          a cluster, by some of its servers
    redis+sentinel://[user:password@]host[:port],.../service[/db][?options]   the primary of a service

`rediss` in place of `redis` is TLS. User and password are those of the servers; those of the sentinels are the options
`sentinel_username` and `sentinel_password`. The options of TLS are in TLS_OPTIONS.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from urllib.parse import SplitResult, parse_qsl, quote, unquote, urlencode, urlsplit

TLS_FILES = ("ssl_ca_certs", "ssl_certfile", "ssl_keyfile")
TLS_OPTIONS = {*TLS_FILES, "ssl_ca_path", "ssl_password", "ssl_cert_reqs", "ssl_check_hostname"}
SENTINEL_OPTIONS = {"sentinel_username", "sentinel_password"}
MORE_TLS_OPTIONS = {
    "ssl_ca_data",
    "ssl_ciphers",
    "ssl_min_version",
    "ssl_include_verify_flags",
    "ssl_exclude_verify_flags",
}
PORT = 6379
SENTINEL_PORT = 26379


class Kind(Enum):
    """What is behind a URL."""

    SERVER = "server"
    CLUSTER = "cluster"
    SENTINEL = "sentinel"


@dataclass(frozen=True, slots=True)
class Address:
    """A URL, taken apart. Its text has credentials: not for logs."""

    kind: Kind
    url: str
    nodes: tuple[str, ...] = ()
    """`host:port` of servers of the cluster, or of the sentinels."""
    service: str = ""
    """What the sentinels call the primary."""
    db: int = 0

    def server_url(self, node: str) -> str:
        """The URL of one server, `host:port`, with the credentials and options that all servers share."""
        if self.kind is Kind.SERVER:
            return self.url
        parts, options = urlsplit(self.url), _options(urlsplit(self.url))
        shared = {name: value for name, value in options.items() if name not in SENTINEL_OPTIONS}
        return _url(parts, parts.netloc.rpartition("@")[0], node, self.db, shared)

    def sentinel_url(self, node: str) -> str:
        """The URL of one sentinel, `host:port`."""
        parts, options = urlsplit(self.url), _options(urlsplit(self.url))
        user, password = (quote(options.pop(name, ""), safe="") for name in ("sentinel_username", "sentinel_password"))
        return _url(parts, f"{user}:{password}" if user or password else "", node, 0, options)


def parse(url: str) -> Address:
    """Take a URL apart. Raises ValueError with what is wrong, without credentials."""
    scheme, _, rest = url.partition("://")
    if scheme in {"redis", "rediss", "unix"}:
        parts = urlsplit(url)
        if "," in parts.netloc.rpartition("@")[2]:
            raise ValueError(f"{scheme}:// names one server; several are {scheme}+cluster:// or {scheme}+sentinel://")
        _check_tls(_options(parts), scheme == "rediss", TLS_OPTIONS | MORE_TLS_OPTIONS)
        return Address(Kind.SERVER, url)
    if scheme not in {f"redis{s}+{kind}" for s in ("", "s") for kind in ("cluster", "sentinel")} or not rest:
        schemes = (
            "redis://, rediss://, unix://, redis+cluster://, rediss+cluster://, redis+sentinel:// or rediss+sentinel://"
        )
        raise ValueError(f"must begin with {schemes}")
    parts, kind = urlsplit(url), Kind(scheme.partition("+")[2])
    options = _options(parts)
    extra = SENTINEL_OPTIONS if kind is Kind.SENTINEL else set()
    unknown = sorted(options.keys() - TLS_OPTIONS - extra)
    if unknown:
        known = ", ".join(sorted(TLS_OPTIONS | extra))
        raise ValueError(f"has no option {', '.join(unknown)}; there are {known}")
    _check_tls(options, scheme.startswith("rediss"), TLS_OPTIONS)
    nodes = _nodes(parts.netloc.rpartition("@")[2], SENTINEL_PORT if kind is Kind.SENTINEL else PORT)
    if kind is Kind.CLUSTER:
        if parts.path not in {"", "/", "/0"}:
            raise ValueError(f"names database {parts.path[1:]}, but a cluster has only database 0")
        return Address(kind, url, nodes)
    service, db = _service(parts.path)
    return Address(kind, url, nodes, service, db)


def _service(path: str) -> tuple[str, int]:
    service, _, db = path.removeprefix("/").partition("/")
    if not service:
        raise ValueError("must name the sentinels' service: redis+sentinel://host:port,host:port/<service>")
    if db and not db.isdecimal():
        raise ValueError(f"has database {db!r} after the service, which is no number")
    return unquote(service), int(db or 0)


def _nodes(text: str, default_port: int) -> tuple[str, ...]:
    nodes = []
    for part in text.split(","):
        try:
            host = urlsplit(f"//{part}")
            name, port = host.hostname, host.port
        except ValueError as error:
            raise ValueError(f"has a server {part!r}: {error}") from None
        if not name or part.strip() != part:
            raise ValueError(f"has a server {part!r}, which is not host:port")
        nodes.append(node_of(name, port or default_port))
    return tuple(dict.fromkeys(nodes))


def node_of(host: str, port: int) -> str:
    """`host:port`, with brackets where the host is IPv6."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _options(parts: SplitResult) -> dict[str, str]:
    return dict(parse_qsl(parts.query, keep_blank_values=True))


def _check_tls(options: Mapping[str, str], tls: bool, known: set[str]) -> None:
    told = sorted(name for name in options if name.startswith("ssl_"))
    unknown = [name for name in told if name not in known]
    if unknown:
        raise ValueError(f"has no option {', '.join(unknown)}; there are {', '.join(sorted(known))}")
    if told and not tls:
        raise ValueError(f"has {', '.join(told)}, but does not ask for TLS: write rediss")
    if options.get("ssl_cert_reqs", "required") not in {"required", "optional", "none"}:
        raise ValueError("has an ssl_cert_reqs that is not required, optional or none")
    for name in TLS_FILES:
        if name in options and not Path(options[name]).is_file():
            raise ValueError(f"has {name}={options[name]}, which is no file")


def _url(parts: SplitResult, credentials: str, node: str, db: int, options: Mapping[str, str]) -> str:
    scheme = parts.scheme.partition("+")[0]
    query = f"?{urlencode(options)}" if options else ""
    return f"{scheme}://{credentials}{'@' if credentials else ''}{node}/{db}{query}"
