"""Operators with accounts and users, as ``nsc`` would make them, of throw-away keys."""

import base64
import json
import os
from collections.abc import Mapping
from pathlib import Path

import nkeys

_UNLIMITED = dict.fromkeys(("subs", "data", "payload", "conn", "leaf", "imports", "exports"), -1)
_JETSTREAM = dict.fromkeys(("mem_storage", "disk_storage", "streams", "consumer"), -1)


class _Key:
    def __init__(self, prefix: int) -> None:
        self.seed = bytes(nkeys.encode_seed(os.urandom(32), prefix))
        self._pair = nkeys.from_seed(bytearray(self.seed))
        self.public = self._pair.public_key.decode()

    def sign(self, subject: str, nats: Mapping[str, object], **claims: object) -> str:
        """A JWT about *subject*."""
        body = {"jti": "x", "iat": 1, "iss": self.public, "name": subject[:4], "sub": subject, "nats": nats, **claims}
        text = f"{_part({'typ': 'JWT', 'alg': 'ed25519-nkey'})}.{_part(body)}"
        return f"{text}.{_part(bytes(self._pair.sign(text.encode())))}"


class Operator:
    """One account with JetStream, and one for the system.

    :ivar config: lines for the configuration of a server, with the accounts in the resolver's memory.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._account = _Key(nkeys.PREFIX_BYTE_ACCOUNT)
        operator, system = _Key(nkeys.PREFIX_BYTE_OPERATOR), _Key(nkeys.PREFIX_BYTE_ACCOUNT)
        account = {"type": "account", "version": 2, "limits": _UNLIMITED | _JETSTREAM | {"wildcards": True}}
        accounts = {
            self._account.public: operator.sign(self._account.public, {**account, "default_permissions": {}}),
            system.public: operator.sign(system.public, {**account, "limits": _UNLIMITED}),
        }
        top = operator.sign(operator.public, {"type": "operator", "version": 2, "system_account": system.public})
        preload = "\n".join(f'{name}: "{text}"' for name, text in accounts.items())
        self.config = (
            f'operator: "{top}"\nresolver: MEMORY\nsystem_account: {system.public}\nresolver_preload {{ {preload} }}'
        )

    def credentials(self, **claims: object) -> Path:
        """Write the credentials file of a new user; ``exp=seconds`` says when they expire."""
        user = _Key(nkeys.PREFIX_BYTE_USER)
        limits = {"type": "user", "version": 2, "subs": -1, "data": -1, "payload": -1, "pub": {}, "sub": {}}
        file = self._folder / f"{user.public}.creds"
        file.write_text(
            f"-----BEGIN NATS USER JWT-----\n{self._account.sign(user.public, limits, **claims)}\n"
            "------END NATS USER JWT------\n\n"
            f"-----BEGIN USER NKEY SEED-----\n{user.seed.decode()}\n------END USER NKEY SEED------\n"
        )
        return file


def _part(value: object) -> str:
    raw = value if isinstance(value, bytes) else json.dumps(value, separators=(",", ":")).encode()
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()
