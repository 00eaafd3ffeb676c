"""Hiding the secrets of URLs wherever text is shown: in errors, logs and the command line."""

from __future__ import annotations

import re
import string
from urllib.parse import unquote

__all__ = ["MASK", "PARAMETER", "PARTS", "PLACEHOLDER", "is_secret", "mask_url", "plain", "redact"]

_NAME = r"[A-Za-z_][A-Za-z0-9_]*"
_NESTED = rf"\$\{{{_NAME}(?::-[^${{}}]*)?\}}"
PLACEHOLDER = re.compile(rf"\$\$|\$\{{({_NAME})(?::-((?:\$\$|{_NESTED}|[^$}}]|\$(?!\{{))*+))?\}}")
PARTS = re.compile(r"([^/?#\s]*)([^?#]*)(?:\?([^#]*))?(#.*)?", re.DOTALL)
_SHOWN_HOST = rf"(?:\[[0-9A-Fa-f:.%]*\]|[^:,\[\]]*)(?::(?:[0-9]{{1,5}}|\$\{{{_NAME}\}})(?![^,]))?"
_SHOWN_HOSTS = re.compile(rf"(?:{_SHOWN_HOST},)*{_SHOWN_HOST}")
_URL_START = re.compile(r"(?<=\s)(?=['\"(<\[{]*[\w.+-]+://)")
_SCHEME_CHARACTERS = string.ascii_letters + string.digits + "_.+-"
PARAMETER = re.compile(r"[A-Za-z_][\w.-]*")
_SECRET_KEY = re.compile("pass|token|secret|seed|jwt|key|cred", re.IGNORECASE)
_QUERY = re.compile(r"\?.*=", re.DOTALL)
MASK = "***"


def redact(text: str) -> str:
    """Return *text* without the secrets of the URLs in it, well-formed or not; in doubt it hides too much.

    Everything up to the last ``@`` counts as user info, so that no raw ``/`` or blank in a password lets it out.  Only
    white space before another ``scheme://`` ends a URL.
    """
    return "".join(map(_mask_piece, _URL_START.split(text)))


def _mask_piece(text: str) -> str:
    """Mask text with one URL at the most; of its prose, words that look like credentials without a scheme."""
    before, separator, _ = text.partition("://")
    prose = before.rstrip(_SCHEME_CHARACTERS) if separator else text
    masked = re.sub(r"\S+", lambda word: _mask_word(word[0]), prose)
    return masked + (mask_url(text[len(prose) :]) if separator else "")


def _mask_word(word: str) -> str:
    before, at, after = word.rpartition("@")
    shown = f"{MASK}@{after}" if at and ":" in before else word
    return _mask_rest(shown, frozenset()) if _QUERY.search(shown) else shown


def mask_url(text: str, hidden: frozenset[str] = frozenset()) -> str:
    """Return *text*, all of which is one URL or meant to be one, without secrets."""
    shown = PLACEHOLDER.sub(lambda found: f"${{{found[1]}}}" if found[1] else found[0], text)
    scheme, separator, rest = shown.partition("://")
    if not separator:
        scheme, separator, rest = shown.partition(":/")
    if not separator:
        scheme, rest = "", shown
    if re.search("[/?#]", scheme):
        return MASK  # what looks like the end of a scheme may stand in a secret
    if not re.fullmatch(r"[\w.+${}-]*", scheme):
        scheme = MASK
    if "${" in PLACEHOLDER.sub("", text):
        return f"{scheme}{separator}{MASK}"
    userinfo, at, rest = rest.rpartition("@")
    user, _, password = userinfo.partition(":")
    known = f"{user}:" if password and re.fullmatch(r"[\w.%${}~-]+", user) else ""
    if re.search("[/?#]", userinfo):
        return f"{scheme}{separator}{known}{MASK}"  # what follows the '@' may be the rest of a secret
    return f"{scheme}{separator}{known}{MASK + at if at else ''}{_mask_rest(rest, hidden)}"


def _mask_rest(rest: str, hidden: frozenset[str]) -> str:
    """Mask what follows the user info; a port that is no number may be a password without its ``@host``."""
    parts = PARTS.fullmatch(rest)
    authority, path, query, fragment = parts.groups() if parts else ("", "", None, None)
    hosts = authority.rstrip(":;,.)'\"]>") if not authority.endswith("]") else authority
    good = _SHOWN_HOSTS.match(hosts)
    if good is None or good.end() < len(hosts):
        return f"{good[0] if good else ''}:{MASK}"
    items = "" if query is None else "?" + "&".join(_mask_item(item, hidden) for item in query.split("&"))
    return f"{authority}{path}{items}{'#' + MASK if fragment else ''}"


def _mask_item(item: str, hidden: frozenset[str]) -> str:
    key, equals, value = item.partition("=")
    name = unquote(key)
    if item and not (equals and PARAMETER.fullmatch(name)):
        return MASK  # as likely as not the rest of a value with a raw '&'
    return f"{key}{equals}{MASK if is_secret(name, hidden) else value}"


def is_secret(key: str, hidden: frozenset[str]) -> bool:
    """Whether the value of the query parameter *key* is not to be shown."""
    return plain(key) in hidden or _SECRET_KEY.search(key) is not None


def plain(name: str) -> str:
    """A parameter's name with ``-`` and ``_`` made equal."""
    return name.replace("-", "_")
