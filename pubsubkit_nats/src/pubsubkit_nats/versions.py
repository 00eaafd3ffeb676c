"""What older servers cannot do, or do wrong without a word: it is refused here.

``docs/reference/server-versions.md`` has what the whole contract came to on each version.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pubsubkit.errors import UnsupportedError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pubsubkit.driver import ConsumerSpec

__all__ = ["check_consumer", "check_server", "keeps_metadata", "takes_reasons"]

Version = tuple[int, ...]

_NAMED_CONSUMERS = (2, 9)
_METADATA = (2, 10)
_REASONS = (2, 11)
_UNKNOWN = (0, 0)


def check_server(version: Version) -> None:
    """Refuse a server on which no consumer can be created as it is done here.

    :raises UnsupportedError: it is older than 2.9.
    """
    if _older(version, _NAMED_CONSUMERS):
        raise UnsupportedError(
            f"{_name(version)} is too old: {_name(_NAMED_CONSUMERS)} is the oldest that works, and 2.10 the oldest "
            "that can do everything"
        )


def keeps_metadata(version: Version) -> bool:
    """Whether a consumer can have metadata."""
    return not _older(version, _METADATA)


def takes_reasons(version: Version) -> bool:
    """Whether a TERM may have a reason; before 2.10.4 the server ignores a TERM that has one."""
    return not _older(version, _REASONS)


def check_consumer(version: Version, spec: ConsumerSpec, current: Mapping[str, Any] | None = None) -> None:
    """Refuse a consumer that needs a newer server.

    Before 2.10 there is no place for the application's own ``max_deliver`` beside a raised one (see
    :mod:`pubsubkit_nats.pull`), and a consumer whose filter was changed gets nothing of what is stored already.

    :param current: the configuration of the consumer, when it is to be changed.
    :raises UnsupportedError: the message says for what, and which server is needed.
    """
    if keeps_metadata(version):
        return
    needs = f"needs {_name(_METADATA)}, this is {_name(version)}"
    if spec.max_deliver:
        raise UnsupportedError(f"max_deliver without dead_letter {needs}")
    if current is not None and current.get("filter_subject", "") != spec.filter_subject:
        raise UnsupportedError(
            f"another filter for consumer {spec.stream}/{spec.name} {needs}; delete the consumer, or make one of "
            "another name"
        )


def _older(version: Version, than: Version) -> bool:
    """Whether *version* is known, and lower."""
    return _UNKNOWN < version < than


def _name(version: Version) -> str:
    return "nats-server " + ".".join(map(str, version))
