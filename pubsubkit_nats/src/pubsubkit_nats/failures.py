"""NATS's errors → portable errors: one table by exception class, one by JetStream's error code."""

from __future__ import annotations

import ssl
from typing import TYPE_CHECKING, Any

import nats.errors as core
import nats.js.errors as js

from pubsubkit.errors import (
    ConfigurationError,
    ConflictError,
    InvalidArgumentError,
    NotFoundError,
    PermissionDeniedError,
    PubSubError,
    StreamFullError,
    TransientError,
    UnsupportedError,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["ERROR_TABLE", "JetStreamError", "jetstream_error"]

ERROR_TABLE: Mapping[type[Exception], type[PubSubError]] = {
    core.Error: PubSubError,
    core.TimeoutError: TransientError,
    core.NoRespondersError: TransientError,
    core.StaleConnectionError: TransientError,
    core.UnexpectedEOF: TransientError,
    core.OutboundBufferLimitError: TransientError,
    core.FlushTimeoutError: TransientError,
    core.DrainTimeoutError: TransientError,
    core.ConnectionClosedError: TransientError,
    core.ConnectionDrainingError: TransientError,
    core.ConnectionReconnectingError: TransientError,
    core.NoServersError: TransientError,
    core.SlowConsumerError: TransientError,
    core.ProtocolError: TransientError,
    core.JsonParseError: TransientError,
    core.SecureConnRequiredError: ConfigurationError,
    core.SecureConnWantedError: ConfigurationError,
    core.SecureConnFailedError: ConfigurationError,
    core.ServerNotInPoolError: ConfigurationError,
    core.InvalidCallbackTypeError: ConfigurationError,
    core.AuthorizationError: PermissionDeniedError,
    core.InvalidUserCredentialsError: PermissionDeniedError,
    core.BadSubscriptionError: PubSubError,
    core.BadSubjectError: InvalidArgumentError,
    core.BadHeaderError: InvalidArgumentError,
    core.BadTimeoutError: InvalidArgumentError,
    core.MaxPayloadError: InvalidArgumentError,
    core.NotJSMessageError: PubSubError,
    core.MsgAlreadyAckdError: PubSubError,
    js.Error: PubSubError,
    js.APIError: PubSubError,
    js.ServiceUnavailableError: TransientError,
    js.ServerError: PubSubError,
    js.NotFoundError: NotFoundError,
    js.BadRequestError: InvalidArgumentError,
    js.NoStreamResponseError: TransientError,
    js.TooManyStalledMsgsError: TransientError,
    js.FetchTimeoutError: TransientError,
    js.ConsumerSequenceMismatchError: TransientError,
    ssl.SSLCertVerificationError: ConfigurationError,
    OSError: TransientError,
    TimeoutError: TransientError,
}
"""For ``Driver.error_table``.  Connections that the caller closed are caught before the driver is asked."""

_TRANSIENT = {10008, 10009, 10023, 10158, 10163, 10167}
"""No leader or quorum at the moment, too many requests, or a message with this id is being stored right now."""

_BY_CODE: Mapping[int, type[PubSubError]] = {
    **dict.fromkeys(_TRANSIENT, TransientError),
    **dict.fromkeys((10014, 10059, 10060), NotFoundError),
    **dict.fromkeys((10012, 10013, 10052, 10058, 10065, 10099, 10100, 10148), ConflictError),
    **dict.fromkeys((10070, 10071, 10164), ConflictError),
    **dict.fromkeys((10028, 10047, 10077, 10122), StreamFullError),
    **dict.fromkeys((10005, 10039, 10076, 10111, 10166, 10188), ConfigurationError),
    **dict.fromkeys((10035, 10074), UnsupportedError),
    10054: InvalidArgumentError,
}

_HINTS = {
    10111: "; Nats-Rollup is sub or all, and needs StreamOptions(native={'allow_rollup_hdrs': True})",
    10166: "; open the stream with StreamOptions(native={'allow_msg_ttl': True})",
    10188: "; open the stream with StreamOptions(native={'allow_msg_schedules': True})",
}


class JetStreamError(Exception):
    """An error answer of JetStream, as the server sent it."""

    def __init__(self, code: int, err_code: int, description: str) -> None:
        super().__init__(f"{description} (code {code}, JetStream error {err_code})")
        self.code = code
        self.err_code = err_code
        self.description = description


def jetstream_error(answer: Mapping[str, Any], doing: str) -> PubSubError:
    """Return the portable error for the ``error`` object of an answer; its cause is a :class:`JetStreamError`."""
    cause = JetStreamError(
        answer.get("code", 0), answer.get("err_code", 0), answer.get("description", "no reason given")
    )
    fallback = TransientError if cause.code == 503 else InvalidArgumentError if cause.code == 400 else PubSubError
    error = _BY_CODE.get(cause.err_code, fallback)(f"{doing}: {cause}{_HINTS.get(cause.err_code, '')}")
    error.__cause__ = cause
    return error
