"""URLs: what is wrong with one is said at once, all of it, and without its secrets."""

from __future__ import annotations

import asyncio
import socket
from dataclasses import replace
from typing import TYPE_CHECKING

from pubsubkit import ConfigurationError, PubSubError, TransientError, connect
from pubsubkit.driver import Capability
from pubsubkit.params import describe
from pubsubkit.registry import create_driver, find_backend
from pubsubkit.url import BackendURL
from pubsubkit_contract.base import Cases
from pubsubkit_contract.case import case
from pubsubkit_contract.harness import Knob

if TYPE_CHECKING:
    from pubsubkit_contract.kit import Kit

__all__ = ["UrlCases"]

_SECRET = "correct-horse"  # noqa: S105 - made up
_TYPED = {"duration", "size", "boolean", "integer"}


class UrlCases(Cases):
    """A URL comes from a setting that somebody else has written."""

    @case("err.url_scheme", why="A backend that is not installed is the first mistake that everybody makes.")
    async def test_err_url_scheme(self, kit: Kit) -> None:
        """An unknown scheme is ConfigurationError that names it and the schemes that there are; nothing is opened."""
        scheme = BackendURL.parse(kit.harness.url()).scheme
        for wrong in ("nosuchscheme", f"{scheme}x"):
            with kit.raises(ConfigurationError, f"{wrong}.*{scheme}"):
                connect(f"{wrong}://somewhere")
        with kit.raises(ConfigurationError):
            connect(f"{scheme}+nosuchmodifier://somewhere")

    @case("err.url_parameter", why="A parameter that is misspelt and ignored leaves the default in force.")
    async def test_err_url_parameter(self, kit: Kit) -> None:
        """Unknown parameters are ConfigurationError that names each, in the URL and as keywords."""
        url = BackendURL.parse(kit.harness.url())
        wrong = replace(url, query=(*url.query, ("nosuchparameter", "1"), ("another_one", "x"))).reveal()
        with kit.raises(ConfigurationError) as caught:
            connect(wrong)
        assert all(_explains(caught[0], name) for name in ("nosuchparameter", "another_one")), caught[0]
        with kit.raises(ConfigurationError, "nosuchkeyword"):
            connect(url.reveal(), nosuchkeyword=1)

    @case("err.url_value", why="A timeout of 5 minutes that is read as 5 seconds shows on the worst day.")
    async def test_err_url_value(self, kit: Kit) -> None:
        """A value that a parameter cannot have is ConfigurationError that names the parameter."""
        url = BackendURL.parse(kit.harness.url())
        typed = [each.name for each in describe(find_backend(url).OPTIONS) if each.kind in _TYPED]
        for name in typed:
            others = tuple(pair for pair in url.query if pair[0].replace("-", "_") != name)
            for value in ("nonsense", "-1x"):
                with kit.raises(ConfigurationError) as caught:
                    connect(replace(url, query=(*others, (name, value))).reveal())
                assert _explains(caught[0], name), caught[0]
        kit.note(f"parameters with a type: {', '.join(typed) or 'none'}")

    @case("err.secrets", why="Errors are logged, and logs are read by many.")
    async def test_err_secrets(self, kit: Kit) -> None:
        """No password, token or value of an unknown parameter is in the text of an error."""
        scheme = BackendURL.parse(kit.harness.url()).scheme
        for wrong in (
            f"{scheme}://user:{_SECRET}@somewhere?nosuchparameter=1",
            f"{scheme}://{_SECRET}@somewhere?nosuchparameter=1",
            f"{scheme}://somewhere?token={_SECRET}&nosuchparameter=1",
            f"{scheme}://somewhere?pasword={_SECRET}",
            f"{scheme}://user:{_SECRET}@somewhere:port",
            f"nosuchscheme://user:{_SECRET}@somewhere",
        ):
            with kit.raises(ConfigurationError) as caught:
                connect(wrong)
            shown = f"{caught[0]} {caught[0]!r}"
            assert _SECRET not in shown, shown
        driver = create_driver(kit.harness.url(), {})
        password = BackendURL.parse(kit.harness.url()).password
        assert not password or password not in driver.address

    @case(
        "err.unreachable",
        why="At start-up the broker may not be there yet; a service must be able to wait for it.",
        needs={Capability.REMOTE},
        knobs={Knob.PROXY},
    )
    async def test_err_unreachable(self, kit: Kit) -> None:
        """Connecting where nobody listens is TransientError with the native cause, without the password; the same
        backend may try again.
        """
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", 0))
            url = BackendURL.parse(kit.harness.url_at(*taken.getsockname()[:2]))
        backend = connect(replace(url, user="user", password=_SECRET).reveal())
        for _ in range(2):
            with kit.raises(TransientError) as caught:
                async with asyncio.timeout(kit.cap):
                    await backend.open()
            cause = caught[0].__cause__
            assert isinstance(cause, Exception) and not isinstance(cause, PubSubError), repr(cause)
            assert _SECRET not in str(caught[0])
        await backend.aclose()


def _explains(error: Exception, name: str) -> bool:
    """Whether *error* speaks of a parameter, besides showing the URL that it is in."""
    return str(error).count(name) >= 2
