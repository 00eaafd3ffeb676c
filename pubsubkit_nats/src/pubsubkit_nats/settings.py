"""What a ``nats://`` URL can say, and the arguments of nats-py's ``connect`` that follow from it."""

from __future__ import annotations

import math
import ssl
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pubsubkit.params import duration, param, text
from pubsubkit.subjects import check_subject
from pubsubkit.url import Host
from pubsubkit_nats.credentials import BadCredentialsError, Credentials, is_seed

if TYPE_CHECKING:
    from pubsubkit.url import BackendURL

__all__ = ["NatsOptions", "client_arguments", "connect_arguments", "embedded_store"]

_SCHEMES: dict[tuple[str, ...], str] = {(): "nats", ("tls",): "tls", ("ws",): "ws", ("wss",): "wss"}
_DEFAULT_PORTS = {"nats": 4222, "tls": 4222, "ws": 80, "wss": 443}
_HERE = (Host("localhost"),)
"""Without a host; with no server at all nats-py would look for one without end, and let nothing else run."""
_PENDING_BYTES = 64 * 1024 * 1024
_REMOTE_ONLY = (
    *("token", "nkey_seed", "creds", "tls_ca", "tls_cert", "tls_key", "tls_hostname"),
    *("domain", "api_prefix"),
)


@dataclass(frozen=True, kw_only=True)
class NatsOptions:
    """The parameters of a ``nats://`` URL.  The user and password, or the token, belong before the ``@``.

    ``nats+embedded:///path/to/store`` starts a local server, or shares it with other processes, and takes no
    parameters of authentication, TLS or domain.
    """

    name: str = param("pubsubkit", doc="name of the connection in the server's monitoring", parse=text)
    connect_timeout: float = param(5.0, doc="time for the first connection, over all servers", parse=duration)
    request_timeout: float = param(5.0, doc="time for one answer of the JetStream API", parse=duration)
    reconnect_wait: float = param(0.25, doc="wait between attempts to reconnect to one server", parse=duration)
    ping_interval: float = param(20.0, doc="time between pings; two without an answer end a connection", parse=duration)
    heartbeat: float = param(
        2.0, doc="sign of life expected from a consumer's server; two missed: ask again", parse=duration
    )
    token: str | None = param(None, doc="token to authenticate with", parse=text, secret=True)
    nkey_seed: str | None = param(None, doc="NKey seed (SU...) to authenticate with", parse=text, secret=True)
    creds: str | None = param(None, doc="path of a credentials file (JWT and seed)", parse=text)
    tls_ca: str | None = param(None, doc="path of a PEM file with the CA to trust instead of the system's", parse=text)
    tls_cert: str | None = param(None, doc="path of a PEM file with the client certificate", parse=text)
    tls_key: str | None = param(None, doc="path of the PEM file with its key, if not in tls_cert", parse=text)
    tls_hostname: str | None = param(None, doc="name that the server's certificate must have", parse=text)
    inbox_prefix: str = param(
        "_INBOX", doc="first tokens of reply subjects, for accounts with narrow permissions", parse=text
    )
    domain: str | None = param(None, doc="JetStream domain, for leaf nodes", parse=text)
    api_prefix: str | None = param(
        None, doc="first tokens of the JetStream API, where it is imported from another account", parse=text
    )

    def __post_init__(self) -> None:
        for name in ("connect_timeout", "request_timeout", "ping_interval", "heartbeat"):
            value: object = getattr(self, name)
            if not isinstance(value, int | float) or not 0 < value < math.inf:
                raise ValueError(f"{name}={value!r}: expected seconds above 0")
        if self.domain and self.api_prefix:
            raise ValueError("domain and api_prefix both say where the JetStream API is; give one")
        if self.api_prefix:
            check_subject(self.api_prefix)


def connect_arguments(url: BackendURL, options: NatsOptions) -> dict[str, Any]:
    """Return the keyword arguments for ``nats.aio.client.Client.connect``.

    :raises ConfigurationError: a file is missing or unreadable, a needed extra is not installed, or two ways to
        authenticate are given; all problems in one error.
    """
    problems: list[str] = []
    if url.modifiers not in _SCHEMES:
        raise url.fail([f"{' and '.join(url.modifiers)} do not go together: give one of them"])
    scheme, hosts = _SCHEMES[url.modifiers], url.hosts or _HERE
    arguments: dict[str, Any] = {
        **client_arguments(options),
        "servers": [_server(scheme, host) for host in hosts],
        "connect_timeout": options.connect_timeout / len(hosts),  # nats-py's is for each server
        **_credentials(url, options, problems),
    }
    if url.path.strip("/"):
        problems.append(f"a path has no meaning here: {url.path!r}")
    if scheme in ("ws", "wss") and find_spec("aiohttp") is None:
        problems.append("websockets need aiohttp; install it with: pip install 'pubsubkit-nats[ws]'")
    if scheme in ("tls", "wss"):
        arguments["tls"] = _tls_context(options, problems)
        if options.tls_hostname:
            arguments["tls_hostname"] = options.tls_hostname
    elif options.tls_ca or options.tls_cert or options.tls_key or options.tls_hostname:
        problems.append("tls_… parameters need nats+tls:// or nats+wss://")
    if problems:
        raise url.fail(problems)
    return arguments


def client_arguments(options: NatsOptions) -> dict[str, Any]:
    """The keyword arguments for ``Client.connect`` that do not say where and as who."""
    return {
        "name": options.name,
        "connect_timeout": options.connect_timeout,
        "reconnect_time_wait": options.reconnect_wait,
        "ping_interval": options.ping_interval,
        "max_reconnect_attempts": -1,
        "pending_size": _PENDING_BYTES,
        "inbox_prefix": options.inbox_prefix,
    }


def embedded_store(url: BackendURL, options: NatsOptions) -> Path:
    """Return the folder of ``nats+embedded:///folder``.

    :raises ConfigurationError: there is no folder, or something is given that an embedded server has no use for.
    """
    problems: list[str] = []
    if url.modifiers != ("embedded",):
        problems.append(f"{' and '.join(url.modifiers)} do not go together: an embedded server is reached directly")
    if url.hosts:
        problems.append("an embedded server has no host: write the path after three slashes, nats+embedded:///path")
    if not url.path.strip("/"):
        problems.append("the path of its store is missing: nats+embedded:///path/to/store")
    if "\0" in url.path:
        problems.append("a path holds no NUL")
    given = [name for name in _REMOTE_ONLY if getattr(options, name)]
    if url.user is not None:
        given.insert(0, "a user")
    if given:
        problems.append(f"an embedded server makes its own credentials and has no use for {', '.join(given)}")
    if find_spec("fcntl") is None:
        problems.append("it needs the file locks of Unix, which Windows does not have; run nats-server yourself")
    if problems:
        raise url.fail(problems)
    return Path(url.path)


def _server(scheme: str, host: Host) -> str:
    name = f"[{host.name}]" if ":" in host.name else host.name or "localhost"
    return f"{scheme}://{name}:{host.port or _DEFAULT_PORTS[scheme]}"


def _credentials(url: BackendURL, options: NatsOptions, problems: list[str]) -> dict[str, Any]:
    token = options.token or (url.user if url.password is None else None)
    ways = {
        "a user in the URL": url.user,
        "token": options.token,
        "nkey_seed": options.nkey_seed,
        "creds": options.creds,
    }
    found: dict[str, Any] = {"nkeys_seed_str": options.nkey_seed, "token": token}
    given = [name for name, value in ways.items() if value]
    if len(given) > 1:
        problems.append(f"several ways to authenticate: {', '.join(given)}; give one")
    if not (options.nkey_seed or options.creds):
        pass
    elif find_spec("nkeys") is None:
        problems.append("nkey_seed and creds need nkeys; install it with: pip install 'pubsubkit-nats[nkeys]'")
    else:
        if options.nkey_seed and not is_seed(options.nkey_seed.encode()):
            problems.append("nkey_seed: expected a seed, which begins with S")
        if options.creds:
            found |= _credentials_file(options.creds, problems)
    if url.password is not None:
        found |= {"user": url.user, "password": url.password}
    return {name: value for name, value in found.items() if value}


def _credentials_file(path: str, problems: list[str]) -> dict[str, Any]:
    credentials = Credentials(Path(path))
    try:
        credentials.check()
    except BadCredentialsError as error:
        problems.append(str(error))
    return {**credentials.arguments}


def _tls_context(options: NatsOptions, problems: list[str]) -> ssl.SSLContext:
    context = ssl.create_default_context()
    try:
        if options.tls_ca:
            context = ssl.create_default_context(cafile=options.tls_ca)
        if options.tls_cert:
            context.load_cert_chain(options.tls_cert, options.tls_key)
        elif options.tls_key:
            problems.append("tls_key needs tls_cert")
    except (OSError, ssl.SSLError) as error:
        problems.append(f"cannot load the TLS files ({', '.join(_tls_files(options))}): {error}")
    return context


def _tls_files(options: NatsOptions) -> list[str]:
    return [path for path in (options.tls_ca, options.tls_cert, options.tls_key) if path]
