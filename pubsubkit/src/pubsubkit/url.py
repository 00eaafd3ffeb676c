"""The URL that chooses a backend and says where it is.

::

    scheme[+modifier…]://[user[:password]@][host[:port][,host[:port]…]][/path][?name=value[&name=value…]]

``${NAME}`` stands for an environment variable, ``${NAME:-default}`` for one that may be unset or empty, and ``$$`` for
a ``$``.  The URL is split and percent-decoded first and the values are put in afterwards, so they need no
encoding and cannot alter its structure.  Only a URL that is nothing but one placeholder is expanded before it is split.

This is not :func:`urllib.parse.urlsplit`, which knows one host only, refuses ``[`` in a password and ``_`` in a scheme.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, field, replace
from ipaddress import IPv6Address
from typing import TYPE_CHECKING, Self
from urllib.parse import quote, unquote

from pubsubkit.errors import ConfigurationError
from pubsubkit.redaction import MASK, PARAMETER, PARTS, PLACEHOLDER, is_secret, mask_url, plain

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

__all__ = ["BackendURL", "Host", "Reading", "read_url"]

_STASHED = re.compile(r"\x00([0-9]+)\x00")
_HOST = re.compile(r"(\[[^\[\]]*\]|[^:\[\]]*)(?::(.*))?", re.DOTALL)
_VALUE_SAFE = "/:,*>"  # what subjects and nested addresses need, so that a shown URL stays readable


@dataclass(frozen=True)
class Host:
    """One server: its name or address (IPv6 without brackets) and its port, None for the backend's default."""

    name: str
    port: int | None = None

    def __str__(self) -> str:
        name = f"[{self.name.replace('%', '%25')}]" if ":" in self.name else self.name
        return name if self.port is None else f"{name}:{self.port}"


@dataclass(frozen=True, repr=False)
class BackendURL:
    """The parts of a URL, decoded, with the environment's values put in.

    ``str`` and ``repr`` never show the password, a user without a password (a token, on NATS) or the value of a query
    parameter whose name speaks of a secret; :meth:`reveal` does.
    """

    scheme: str
    """In lower case, without modifiers: ``nats`` of ``nats+tls://``."""
    modifiers: tuple[str, ...] = ()
    """What follows the scheme, in lower case: ``("tls",)`` of ``nats+tls://``."""
    user: str | None = None
    password: str | None = None
    hosts: tuple[Host, ...] = ()
    """Empty when the URL names none, as in ``memory://``."""
    path: str = ""
    """With its leading slash, or empty."""
    query: tuple[tuple[str, str], ...] = ()
    """Names and values in their order; a ``+`` is a plus."""
    hidden: frozenset[str] = field(default=frozenset(), compare=False)
    """Names of further query parameters whose values are not shown."""

    @classmethod
    def parse(cls, text: str, environ: Mapping[str, str] | None = None) -> BackendURL:
        """Read *text*, with the placeholders' values from *environ*, by default the process's environment.

        :raises ConfigurationError: it is no such URL or a variable is not set; the message lists all problems.
        """
        reading = read_url(text, environ)
        if reading.url is None or reading.problems:
            raise reading.fail(reading.problems)
        return reading.url

    def hiding(self, names: Iterable[str]) -> Self:
        """Return a copy that does not show the query parameters *names* either; ``-`` and ``_`` are equal."""
        return replace(self, hidden=self.hidden | {plain(name) for name in names})

    def fail(self, problems: Sequence[str]) -> ConfigurationError:
        """Return the one error that lists *problems* of this URL; the caller raises it."""
        return _error(str(self), problems)

    def reveal(self) -> str:
        """Return the whole URL, secrets included, percent-encoded so that :meth:`parse` gives an equal one."""
        return self._compose(hide=False)

    def __str__(self) -> str:
        return self._compose(hide=True)

    def __repr__(self) -> str:
        return f"BackendURL({str(self)!r})"

    def _compose(self, *, hide: bool) -> str:
        scheme = "+".join((self.scheme, *self.modifiers))
        hosts = ",".join(map(str, self.hosts))
        query = "&".join(f"{_quote(key)}={self._value(key, value, hide=hide)}" for key, value in self.query)
        return f"{scheme}://{self._userinfo(hide=hide)}{hosts}{_quote(self.path, '/')}{'?' if query else ''}{query}"

    def _userinfo(self, *, hide: bool) -> str:
        if self.user is None:
            return ""
        if hide:
            return f"{_quote(self.user)}:{MASK}@" if self.password else f"{MASK}@"
        return f"{_quote(self.user)}{'' if self.password is None else ':' + _quote(self.password)}@"

    def _value(self, key: str, value: str, *, hide: bool) -> str:
        secret = is_secret(key, self.hidden) or "@" in value
        return MASK if hide and secret else _quote(value, _VALUE_SAFE)


@dataclass(frozen=True)
class Reading:
    """A URL as far as it could be read, for a caller that has more problems to add before it raises."""

    text: str = field(repr=False)
    """What was read, unexpanded except that it is not a lone placeholder."""
    url: BackendURL | None
    """None when the text cannot be split into parts with certainty."""
    problems: tuple[str, ...]
    unread: tuple[str, ...]
    """Names of query parameters that are not in ``url``, because their values could not be read."""

    def fail(self, problems: Sequence[str], hidden: Iterable[str] = ()) -> ConfigurationError:
        """Return the one error that lists *problems*, without the values of the query parameters *hidden*."""
        return _error(mask_url(self.text, frozenset(map(plain, hidden))), problems)


def read_url(text: str | BackendURL, environ: Mapping[str, str] | None = None) -> Reading:
    """Read *text* as :meth:`BackendURL.parse` does, but return the problems instead of raising them."""
    given: object = text.reveal() if isinstance(text, BackendURL) else text
    if not isinstance(given, str | None):
        kind = type(given).__name__  # its value may hold a secret
        return Reading(kind, None, (f"expected a str, got {kind}",), ())
    reader = _Reader(os.environ if environ is None else environ)
    text = (given or "").strip()  # an unset setting is often None
    whole = PLACEHOLDER.fullmatch(text)
    source = reader.indirect(whole) if whole and whole[1] else text
    url = None if source is None else reader.read(source)
    return Reading(text if source is None else source, url, tuple(dict.fromkeys(reader.problems)), tuple(reader.unread))


class _Reader:
    """Takes one URL apart and notes what is wrong with it."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        self.problems: list[str] = []
        self.unread: list[str] = []
        self._environ = environ
        self._stashed: list[re.Match[str]] = []

    def indirect(self, placeholder: re.Match[str]) -> str | None:
        """Return the URL that a lone placeholder stands for; None, with the problem noted, when it is none."""
        name, default = placeholder.groups()
        value = self._environ.get(name)
        if default is not None and not value:
            return str(default).strip()
        if value is None:
            self._lookup(placeholder, "used as the URL")
        elif not value.strip():
            self.problems.append(f"environment variable {name} is empty: expected scheme://host")
        elif "://" not in value:
            # It is not shown: it may be a secret that was put in the wrong place.
            self.problems.append(f"environment variable {name} does not hold a URL: expected scheme://host")
        return value.strip() if value and "://" in value else None

    def read(self, text: str) -> BackendURL | None:
        if problem := _why_unreadable(text):
            self.problems.append(problem)
            return None
        scheme, _, rest = PLACEHOLDER.sub(self._stash, text).partition("://")
        parts = PARTS.fullmatch(rest)
        authority, path, query, fragment = parts.groups("") if parts else ("", "", "", "")
        if problem := _why_ambiguous(authority, path + query + fragment):
            self.problems.append(problem)
            return None
        if fragment:
            self.problems.append("a '#' has no meaning here: encode it as %23 or use ${VAR}")
        return self._assemble(scheme, authority, path, query)

    def _assemble(self, scheme: str, authority: str, path: str, query: str) -> BackendURL:
        userinfo, at, hosts = authority.rpartition("@")
        user, colon, password = userinfo.partition(":")
        base, *modifiers = self._scheme(scheme)
        return BackendURL(
            scheme=base,
            modifiers=tuple(modifiers),
            user=self._expand(user, "in the user") if at else None,
            password=self._expand(password, "in the password") if colon else None,
            hosts=self._hosts(hosts),
            path=self._expand(path, "in the path") or "",
            query=self._query(query),
        )

    def _scheme(self, raw: str) -> list[str]:
        scheme = self._expand(raw, "in the scheme")
        if scheme is not None and not re.fullmatch(r"[a-z][a-z0-9_.-]*(\+[a-z0-9_.-]+)*", scheme.lower()):
            self.problems.append("bad scheme: expected a name, or name+modifier, of letters, digits, '_', '.' and '-'")
            return [""]
        return (scheme or "").lower().split("+")

    def _hosts(self, raw: str) -> tuple[Host, ...]:
        hosts = [self._host(item) for item in raw.split(",")] if raw else []
        return tuple(host for host in hosts if host is not None)

    def _host(self, raw: str) -> Host | None:
        found = _HOST.fullmatch(raw)
        name = self._expand(found[1], "in the host") if found else ""
        if name is None:
            return None
        if not _is_host(name):
            self.problems.append("bad host: expected a name or address (IPv6 in brackets); a port needs its own ${VAR}")
            return None
        port = self._port(found[2], name) if found and found[2] is not None else None
        return Host(name.strip("[]"), port)

    def _port(self, raw: str, name: str) -> int | None:
        port = self._expand(raw, "in the port")
        if port is None or (re.fullmatch("[0-9]{1,5}", port) and 0 < int(port) < 65536):
            return None if port is None else int(port)
        hint = " (an IPv6 address goes in brackets)" if ":" in port else ""
        self.problems.append(f"the port of host {name!r} is not a number from 1 to 65535{hint}")
        return None

    def _query(self, raw: str) -> tuple[tuple[str, str], ...]:
        pairs: list[tuple[str, str]] = []
        for item in filter(None, raw.split("&")):
            raw_key, equals, raw_value = item.partition("=")
            key = self._decode(raw_key, "in the query") if equals else ""
            if not key or not PARAMETER.fullmatch(key):
                self.problems.append("a query parameter is not of the form name=value (encode '&' in a value as %26)")
                continue
            value = self._expand(raw_value, f"in ?{key}")
            if value is None:
                self.unread.append(key)
            else:
                pairs.append((key, value))
        return tuple(pairs)

    def _stash(self, placeholder: re.Match[str]) -> str:
        self._stashed.append(placeholder)
        return f"\x00{len(self._stashed) - 1}\x00"

    def _expand(self, raw: str, where: str) -> str | None:
        """Decode *raw* and put the values in; None when that has failed, with the problems noted."""
        pieces = [
            self._lookup(self._stashed[int(piece)], f"used {where}") if odd % 2 else self._decode(piece, where)
            for odd, piece in enumerate(_STASHED.split(raw))
        ]
        good = [piece for piece in pieces if piece is not None]
        return "".join(good) if len(good) == len(pieces) else None

    def _lookup(self, placeholder: re.Match[str], where: str) -> str | None:
        name, default = placeholder.groups()
        if name is None:
            return "$"
        value = self._environ.get(name)
        if default is not None and not value:
            before = len(self.problems)
            value = PLACEHOLDER.sub(lambda inner: self._lookup(inner, where) or "", default)
            return value if len(self.problems) == before else None
        if value is None:
            self.problems.append(f"environment variable {name} ({where}) is not set")
        return value

    def _decode(self, piece: str, where: str) -> str | None:
        if not re.search("%(?![0-9A-Fa-f]{2})", piece):
            try:
                return unquote(piece, errors="strict")
            except UnicodeDecodeError:
                pass
        self.problems.append(f"bad percent-encoding {where}: expected UTF-8, and %25 for a '%'")
        return None


def _quote(text: str, safe: str = "") -> str:
    return quote(text, safe, errors="surrogatepass")


def _error(shown: str, problems: Sequence[str]) -> ConfigurationError:
    shown = shown or "''"
    if len(problems) == 1:
        return ConfigurationError(f"bad URL {shown}: {problems[0]}")
    return ConfigurationError("\n- ".join((f"bad URL {shown}:", *problems)))


def _why_unreadable(text: str) -> str | None:
    bare = PLACEHOLDER.sub("_", text)
    if not text:
        return "it is empty; expected something like 'nats://localhost:4222'"
    if "${" in bare:
        return "a '${' does not begin a placeholder: expected ${NAME} or ${NAME:-default}, or $${ for the text"
    if re.search(r"[\s\x00-\x1f\x7f]", bare):
        return "white space or a control character: percent-encode it or use ${VAR}"
    if "://" not in bare:
        return f"expected scheme://host; did you mean {_guess(mask_url(text))!r}?"
    if bare.startswith("://"):
        return f"the scheme before '://' is missing; did you mean {'nats' + mask_url(text)!r}?"
    return None


def _guess(shown: str) -> str:
    """Return the likely URL for a text without ``://``."""
    if shown.rstrip(":/") == "memory":
        return "memory://"
    if shown.endswith(MASK):
        return "nats://localhost:4222"
    slip = re.fullmatch(r"([a-z][a-z0-9+.-]*):/([^/?#]+)(.*)", shown)
    if slip is None:
        return f"nats://{shown}"
    scheme, first, rest = slip.groups()
    is_path = rest.startswith("/") and ":" not in first
    return f"{scheme}:{'///' if is_path else '//'}{first}{rest}"


def _why_ambiguous(authority: str, rest: str) -> str | None:
    if re.search(r",[\w.+-]+:$", authority) and rest.startswith("//"):
        return "the scheme is given twice: write it once, as in scheme://host1,host2"
    if "@" in rest:
        return "an '@' after a '/', '?' or '#': encode them as %40, %2F, %3F and %23 or use ${VAR}"
    if re.search(r"@.*,.*@", authority, re.DOTALL):
        return "user info is given twice: write it once before the first host (encode '@' in a password as %40)"
    return None


def _is_host(name: str) -> bool:
    if not name.startswith("["):
        return re.fullmatch(r"[\w.~-]+", name) is not None
    try:
        return bool(IPv6Address(name[1:-1]))
    except ValueError:
        return False
