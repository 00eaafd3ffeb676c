"""Streams and consumers over the JetStream API, as raw JSON so that nothing of an existing configuration is lost."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pubsubkit_nats import codec
from pubsubkit_nats.failures import jetstream_error

if TYPE_CHECKING:
    from collections.abc import Iterable

    from pubsubkit.driver import ConsumerInfo, ConsumerSpec, StreamInfo
    from pubsubkit.options import StreamOptions
    from pubsubkit_nats.link import Link

__all__ = ["StreamManager"]

_NO_CONSUMER, _NO_STREAM = 10014, 10059


class StreamManager:
    """Creates, reads, changes and deletes streams and consumers."""

    def __init__(self, link: Link) -> None:
        self._link = link

    async def stream_info(self, name: str) -> StreamInfo | None:
        """The stream, or None."""
        answer = await self._find(f"STREAM.INFO.{name}", f"look up stream {name!r}", {_NO_STREAM})
        return codec.stream_info(answer) if answer else None

    async def create_stream(self, options: StreamOptions) -> None:
        """Create it; the server takes the same configuration again."""
        name = options.name
        config = {**codec.stream_config(options), "retention": "limits"}
        await self._link.ask(f"STREAM.CREATE.{name}", config, f"create stream {name!r}")

    async def update_stream(self, options: StreamOptions) -> None:
        """Change what the options say and keep the rest."""
        name = options.name
        current = await self._link.ask(f"STREAM.INFO.{name}", None, f"look up stream {name!r}")
        config = {**current["config"], **codec.stream_config(options)}
        await self._link.ask(f"STREAM.UPDATE.{name}", config, f"update stream {name!r}")

    async def delete_stream(self, name: str) -> bool:
        """Delete it; False when there was none."""
        return bool(await self._find(f"STREAM.DELETE.{name}", f"delete stream {name!r}", {_NO_STREAM}))

    async def consumer_info(self, stream: str, name: str) -> ConsumerInfo | None:
        """The consumer, or None when it or its stream does not exist."""
        answer = await self._raw_consumer(stream, name)
        return codec.consumer_info(answer) if answer else None

    async def create_consumer(self, spec: ConsumerSpec) -> None:
        """Create it; the server takes the same configuration again."""
        await self._put_consumer(spec, codec.consumer_config(spec), "create")

    async def update_consumer(self, spec: ConsumerSpec) -> None:
        """Change what the spec says and keep the rest, where it started above all."""
        current = await self._raw_consumer(spec.stream, spec.name) or {"config": {}}
        await self._put_consumer(spec, codec.changed_consumer(current["config"], spec), "update")

    async def allow_deliveries(self, spec: ConsumerSpec, count: int) -> None:
        """Raise the consumer's ``max_deliver`` to at least *count*, beside the application's own number."""
        current = await self._raw_consumer(spec.stream, spec.name)
        config = codec.raised_consumer(current["config"], count) if current else None
        if config is not None:
            await self._put_consumer(spec, config, "update")

    async def delete_consumer(self, stream: str, name: str) -> bool:
        """Delete it; False when there was none."""
        subject, doing = f"CONSUMER.DELETE.{stream}.{name}", f"delete consumer {stream}/{name}"
        return bool(await self._find(subject, doing, {_NO_STREAM, _NO_CONSUMER}))

    async def _raw_consumer(self, stream: str, name: str) -> dict[str, Any] | None:
        subject, doing = f"CONSUMER.INFO.{stream}.{name}", f"look up consumer {stream}/{name}"
        return await self._find(subject, doing, {_NO_STREAM, _NO_CONSUMER})

    async def _put_consumer(self, spec: ConsumerSpec, config: dict[str, Any], action: str) -> None:
        body = {"stream_name": spec.stream, "config": config, "action": action}
        doing = f"{action} consumer {spec.stream}/{spec.name}"
        await self._link.ask(f"CONSUMER.CREATE.{spec.stream}.{spec.name}", body, doing)

    async def _find(self, subject: str, doing: str, absent: Iterable[int]) -> dict[str, Any] | None:
        answer = await self._link.call(subject)
        if "error" not in answer:
            return answer
        if answer["error"].get("err_code") in absent:
            return None
        raise jetstream_error(answer["error"], doing)
