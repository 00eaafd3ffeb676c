"""The JetStream API over one connection."""

from __future__ import annotations

import asyncio
import json
import logging
from typing import TYPE_CHECKING, Any

from nats.errors import NoRespondersError

from pubsubkit.errors import ConfigurationError, PermissionDeniedError, TransientError
from pubsubkit_nats.connection import Connection
from pubsubkit_nats.failures import jetstream_error
from pubsubkit_nats.private import reply_inbox
from pubsubkit_nats.versions import check_server

if TYPE_CHECKING:
    from collections.abc import Callable

    from pubsubkit.driver import ConnectionState

__all__ = ["Link"]

logger: logging.Logger = logging.getLogger("pubsubkit.nats")


class Link(Connection):
    """A connection to an account with JetStream."""

    async def open(self, on_state: Callable[[ConnectionState, Exception | None], None]) -> None:
        """Connect, or adopt the caller's connection, and see that JetStream answers, all within ``connect_timeout``."""
        seconds = self.options.connect_timeout
        deadline = asyncio.get_running_loop().time() + seconds
        await super().open(on_state)
        check_server(self.server_version)
        try:
            async with asyncio.timeout_at(deadline):
                await self.check_jetstream()
        except TimeoutError as error:
            raise TransientError(f"JetStream did not answer within {seconds:g} s") from error

    async def call(self, subject: str, body: object = None) -> dict[str, Any]:
        """Ask the JetStream API and return its answer, which may hold an ``error``.

        :raises TransientError: no answer in time, or JetStream is not there at the moment.
        :raises PermissionDeniedError: the account may not ask this.
        """
        subject = f"{self._api}.{subject}"
        payload = b"" if body is None else json.dumps(body).encode()
        try:
            answer = await self.request(subject, payload)
        except NoRespondersError as error:
            raise TransientError(f"JetStream does not answer at the moment: nobody took {subject}") from error
        result: dict[str, Any] = json.loads(answer.data)
        return result

    async def ask(self, subject: str, body: object, doing: str) -> dict[str, Any]:
        """Like :meth:`call`, but raise what the answer calls an error."""
        answer = await self.call(subject, body)
        if "error" in answer:
            raise jetstream_error(answer["error"], doing)
        return answer

    def next_message_subject(self, stream: str, consumer: str) -> str:
        """Where pull requests of a consumer go."""
        return f"{self._api}.CONSUMER.MSG.NEXT.{stream}.{consumer}"

    async def check_jetstream(self) -> None:
        """Raise when the account has no JetStream; one that may not ask for its limits passes."""
        try:
            await self.ask("INFO", None, "ask for the account's limits")
        except (TransientError, ConfigurationError) as error:
            if isinstance(error, TransientError) and not isinstance(error.__cause__, NoRespondersError):
                raise
            raise ConfigurationError(
                "JetStream does not answer: start the server with JetStream on (nats-server -js), "
                "enable it for the account, or set the right ?domain= or ?api_prefix="
            ) from error
        except PermissionDeniedError:
            if self.denials.of("", reply_inbox(self.client)):
                raise
            logger.debug("not allowed to ask for the account's JetStream limits")

    async def streams_for(self, subject: str) -> list[str]:
        """The names of the streams that hold *subject*."""
        answer = await self.ask("STREAM.NAMES", {"subject": subject}, f"look for the stream of {subject!r}")
        return answer.get("streams") or []

    @property
    def _api(self) -> str:
        if self.options.api_prefix:
            return self.options.api_prefix
        return f"$JS.{self.options.domain}.API" if self.options.domain else "$JS.API"
