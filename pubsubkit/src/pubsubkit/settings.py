"""Where the brokers are, for applications that are configured by pydantic-settings.

::

    class Settings(PubSubSettings):
        billing_url: BrokerURL

    settings = Settings()  # of PUBSUBKIT_URL and PUBSUBKIT_BILLING_URL
    async with connect(settings.url) as backend, connect(settings.billing_url) as billing:
        ...

The module needs ``pip install 'pubsubkit[settings]'``; importing it without that raises :class:`ConfigurationError`.
"""

from __future__ import annotations

from typing import Annotated, ClassVar

from pubsubkit.errors import ConfigurationError
from pubsubkit.redaction import MASK
from pubsubkit.url import BackendURL

try:
    from pydantic import BeforeValidator, PlainSerializer, PlainValidator, WithJsonSchema
    from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict
except ImportError as _error:
    raise ConfigurationError(
        "pubsubkit.settings needs the package pydantic-settings: pip install 'pubsubkit[settings]'"
    ) from _error

__all__ = ["BrokerURL", "PubSubSettings"]


class _Hidden:
    """A value that a validation error does not show: it may have secrets in it."""

    def __init__(self, value: object) -> None:
        self.value = value

    def __repr__(self) -> str:
        return MASK


def _parse(hidden: _Hidden) -> BackendURL:
    value = hidden.value
    if isinstance(value, BackendURL):
        return value
    if not isinstance(value, str) or not ("://" in value or "${" in value):
        raise ValueError("expected a URL, as in nats://localhost:4222")
    try:
        return BackendURL.parse(value)
    except ConfigurationError as error:
        raise ValueError(str(error)) from None


BrokerURL = Annotated[
    BackendURL,
    PlainValidator(_parse),
    BeforeValidator(_Hidden),
    PlainSerializer(str, return_type=str),
    WithJsonSchema({"type": "string", "format": "uri"}),
    NoDecode,
]
"""The type of a field, in any model, that takes a URL as :func:`connect` does and is given to :func:`connect`.

``${NAME}`` stands for an environment variable here as well.  A field's ``repr`` and what is serialised have no secrets
in them, and so has the error for what is no URL; ``.reveal()`` is the whole URL.
"""


class PubSubSettings(BaseSettings):
    """The URL of ``PUBSUBKIT_URL``; derive from it for more brokers, each of a variable with the same prefix."""

    model_config: ClassVar[SettingsConfigDict] = SettingsConfigDict(
        env_prefix="PUBSUBKIT_", extra="ignore", hide_input_in_errors=True
    )

    url: BrokerURL
