"""Streams and consumers over the JetStream API, as raw JSON so that nothing of an existing configuration is lost."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any

from pubsubkit.errors import ConflictError, InvalidArgumentError, NotFoundError, PubSubError
from pubsubkit.native import differences, merged
from pubsubkit_nats import codec, native
from pubsubkit_nats.failures import jetstream_error
from pubsubkit_nats.versions import check_consumer, keeps_metadata

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Iterable, Mapping, Sequence

    from pubsubkit.driver import ConsumerInfo, ConsumerSpec, StreamInfo
    from pubsubkit.options import StreamOptions
    from pubsubkit_nats.link import Link

__all__ = ["StreamManager"]

_NO_CONSUMER, _NO_STREAM, _OVERLAP = 10014, 10059, 10065


class StreamManager:
    """Creates, reads, changes and deletes streams and consumers."""

    def __init__(self, link: Link) -> None:
        self._link = link

    async def stream_info(self, name: str) -> StreamInfo | None:
        """The stream, or None."""
        answer = await self._find(f"STREAM.INFO.{name}", f"look up stream {name!r}", {_NO_STREAM})
        return codec.stream_info(answer) if answer else None

    async def list_streams(self) -> Sequence[StreamInfo]:
        """All streams of the account."""
        pages = self._pages("STREAM.LIST", "streams", "list the streams")
        return [codec.stream_info(answer) async for answer in pages]

    async def list_consumers(self, stream: str) -> Sequence[ConsumerInfo] | None:
        """All consumers of a stream, or None."""
        pages = self._pages(f"CONSUMER.LIST.{stream}", "consumers", f"list the consumers of stream {stream!r}")
        try:
            return [codec.consumer_info(answer) async for answer in pages]
        except NotFoundError:
            return None

    async def create_stream(self, options: StreamOptions) -> None:
        """Create it; the server takes the same configuration again."""
        await self._put_stream(options, {"retention": "limits", **codec.stream_config(options)}, "create")

    async def update_stream(self, options: StreamOptions) -> None:
        """Change what the options say and keep the rest."""
        name = options.name
        current = (await self._link.ask(f"STREAM.INFO.{name}", None, f"look up stream {name!r}"))["config"]
        if lossy := native.lossy(options.native, current):
            diff = "".join(f"\n- {line}" for line in lossy)
            raise ConflictError(f"stream {name!r} could lose messages, so this is not changed (is -> wanted):{diff}")
        await self._put_stream(options, merged(current, codec.stream_config(options)), "update")

    async def delete_stream(self, name: str) -> bool:
        """Delete it; False when there was none."""
        return bool(await self._find(f"STREAM.DELETE.{name}", f"delete stream {name!r}", {_NO_STREAM}))

    async def consumer_info(self, stream: str, name: str) -> ConsumerInfo | None:
        """The consumer, or None when it or its stream does not exist."""
        answer = await self._raw_consumer(stream, name)
        return codec.consumer_info(answer) if answer else None

    async def create_consumer(self, spec: ConsumerSpec) -> None:
        """Create it; the server takes the same configuration again.

        One without a durable name would have a single replica, and stand still while its node is away.
        """
        check_consumer(self._link.server_version, spec)
        config = codec.consumer_config(spec)
        if not spec.durable and (stream := await self.stream_info(spec.stream)):
            config.setdefault("num_replicas", stream.options.replicas)
        answer = await self._put_consumer(spec, config, "create")
        _check_taken(spec.native, answer, f"create consumer {spec.stream}/{spec.name}")

    async def update_consumer(self, spec: ConsumerSpec) -> None:
        """Change what the spec says and keep the rest, where it started above all."""
        current = await self._raw_consumer(spec.stream, spec.name) or {"config": {}}
        check_consumer(self._link.server_version, spec, current["config"])
        answer = await self._put_consumer(spec, codec.changed_consumer(current["config"], spec), "update")
        _check_taken(spec.native, answer, f"update consumer {spec.stream}/{spec.name}")

    async def allow_deliveries(self, spec: ConsumerSpec, count: int) -> None:
        """Raise the consumer's ``max_deliver`` to at least *count*, beside the application's own number."""
        if not keeps_metadata(self._link.server_version):
            return
        current = await self._raw_consumer(spec.stream, spec.name)
        config = codec.raised_consumer(current["config"], count) if current else None
        if config is not None:
            await self._put_consumer(spec, config, "update")

    async def delete_consumer(self, stream: str, name: str) -> bool:
        """Delete it; False when there was none."""
        subject, doing = f"CONSUMER.DELETE.{stream}.{name}", f"delete consumer {stream}/{name}"
        return bool(await self._find(subject, doing, {_NO_STREAM, _NO_CONSUMER}))

    async def _put_stream(self, options: StreamOptions, config: dict[str, Any], action: str) -> None:
        doing = f"{action} stream {options.name!r}"
        try:
            answer = await self._link.ask(f"STREAM.{action.upper()}.{options.name}", config, doing)
        except ConflictError as error:
            if getattr(error.__cause__, "err_code", 0) != _OVERLAP:
                raise
            raise await self._overlap(options, error) from error.__cause__
        _check_taken(options.native, answer, doing)

    async def _overlap(self, options: StreamOptions, error: ConflictError) -> ConflictError:
        """The error that names the stream which holds a subject of *options* already, as far as it can be asked for."""
        with suppress(PubSubError):
            for subject in options.subjects:
                if others := [name for name in await self._link.streams_for(subject) if name != options.name]:
                    held = f"stream {others[0]!r} holds it, or a part of it, and a subject belongs to one stream"
                    return ConflictError(f"stream {options.name!r} cannot hold {subject!r}: {held}")
        return error

    async def _raw_consumer(self, stream: str, name: str) -> dict[str, Any] | None:
        subject, doing = f"CONSUMER.INFO.{stream}.{name}", f"look up consumer {stream}/{name}"
        return await self._find(subject, doing, {_NO_STREAM, _NO_CONSUMER})

    async def _put_consumer(self, spec: ConsumerSpec, config: dict[str, Any], action: str) -> dict[str, Any]:
        body = {"stream_name": spec.stream, "config": config, "action": action}
        doing = f"{action} consumer {spec.stream}/{spec.name}"
        return await self._link.ask(f"CONSUMER.CREATE.{spec.stream}.{spec.name}", body, doing)

    async def _pages(self, subject: str, key: str, doing: str) -> AsyncGenerator[dict[str, Any]]:
        """What a list holds; the server gives out some hundreds at a time."""
        offset, total = 0, 1
        while offset < total:
            answer = await self._link.ask(subject, {"offset": offset}, doing)
            items: list[dict[str, Any]] = answer.get(key) or []
            for item in items:
                yield item
            offset, total = offset + len(items), answer["total"] if items else 0

    async def _find(self, subject: str, doing: str, absent: Iterable[int]) -> dict[str, Any] | None:
        answer = await self._link.call(subject)
        if "error" not in answer:
            return answer
        if answer["error"].get("err_code") in absent:
            return None
        raise jetstream_error(answer["error"], doing)


def _check_taken(settings: Mapping[str, Any], answer: Mapping[str, Any], doing: str) -> None:
    """Servers before 2.12 say nothing of a setting that they do not know."""
    if ignored := differences(settings, answer["config"]):
        diff = "".join(f"\n- {line}" for line in ignored)
        raise InvalidArgumentError(
            f"{doing}: done, but the server did not take all native settings; are their names right "
            f"(is -> wanted)?{diff}"
        )
