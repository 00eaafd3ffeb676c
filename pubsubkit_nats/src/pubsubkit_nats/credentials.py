"""Credentials files, a user's JWT with its NKey seed, read at every connection, so that they can be renewed in place.

nats-py's own reader fails with a TypeError at a file that is just being written, which ends its attempts to reconnect
without a word.
"""

from __future__ import annotations

import base64
import json
import re
from datetime import UTC, datetime
from importlib import import_module
from typing import TYPE_CHECKING, Any

from nats.errors import Error as NatsError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

__all__ = ["BadCredentialsError", "Credentials", "is_seed"]


class BadCredentialsError(NatsError):
    """The file is not there, or not whole."""


class Credentials:
    """A credentials file.

    :param path: looked at by each call.
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    @property
    def arguments(self) -> dict[str, Callable[..., bytes]]:
        """Arguments for nats-py's ``connect``."""
        return {"user_jwt_cb": self._jwt, "signature_cb": self._sign}

    def check(self) -> None:
        """Read the file.

        :raises BadCredentialsError: it is not there, or not whole.
        """
        self._read()

    @property
    def end(self) -> datetime | None:
        """When the JWT expires; None when it does not, or cannot be read."""
        try:
            body = self._jwt().split(b".")[1]
            claims: dict[str, int] = json.loads(base64.urlsafe_b64decode(body + b"=="))
            return datetime.fromtimestamp(claims["exp"], UTC)
        except (BadCredentialsError, ValueError, LookupError, TypeError):
            return None

    def _jwt(self) -> bytes:
        return self._read()[0]

    def _sign(self, nonce: str) -> bytes:
        nkeys: Any = import_module("nkeys")
        keys = nkeys.from_seed(bytearray(self._read()[1]))
        return base64.b64encode(keys.sign(nonce.encode()))

    def _read(self) -> tuple[bytes, bytes]:
        try:
            if not self._path.is_file():
                raise self._bad("no such file")
            content = self._path.read_bytes()
        except OSError as error:
            raise self._bad(f"cannot be read: {error.strerror}") from error
        token = re.search(rb"BEGIN NATS USER JWT.*\n([^\s-]\S*)", content)
        if not token:
            raise self._bad("it has no user JWT")
        seed = re.search(rb"BEGIN USER NKEY SEED.*\n(.*)", content)
        if not seed or not is_seed(seed[1]):
            raise self._bad("it has no user NKey seed")
        return token[1], seed[1].strip()

    def _bad(self, what: str) -> BadCredentialsError:
        return BadCredentialsError(f"creds={str(self._path)!r}: {what}")


def is_seed(seed: bytes) -> bool:
    """Whether *seed* is an NKey seed; it needs the package ``nkeys``."""
    nkeys: Any = import_module("nkeys")
    try:
        nkeys.from_seed(bytearray(seed.strip()))
    except Exception:  # noqa: BLE001 - the library raises many kinds
        return False
    return True
