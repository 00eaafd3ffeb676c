"""The tables of native errors."""

import inspect

import nats.errors
import nats.js.errors
import pytest

from pubsubkit import ConflictError, NotFoundError, PubSubError, StreamFullError, TransientError
from pubsubkit.translate import portable
from pubsubkit_nats.driver import NatsDriver
from pubsubkit_nats.failures import ERROR_TABLE, JetStreamError, jetstream_error
from pubsubkit_nats.link import Link
from pubsubkit_nats.settings import NatsOptions

# Raised by parts of nats-py that this backend never calls: key-value buckets and object stores.
NOT_USED = {"Bucket", "Key", "Object", "Link", "Digest", "BadBucket", "InvalidBucket", "InvalidKey", "BadObjectMeta"}


def native_errors() -> list[type[Exception]]:
    modules = (nats.errors, nats.js.errors)
    found = {
        member
        for module in modules
        for _, member in inspect.getmembers(module, inspect.isclass)
        if issubclass(member, Exception) and member.__module__ == module.__name__
    }
    return sorted(found, key=lambda error: (error.__module__, error.__name__))


@pytest.mark.parametrize("error", native_errors(), ids=lambda error: f"{error.__module__}.{error.__name__}")
def test_every_native_error_is_in_the_table(error: type[Exception]):
    """nats-py has no exception that this backend can meet and that is not decided on in the table by itself."""
    named = error in ERROR_TABLE
    unused = any(word in error.__name__ for word in NOT_USED) or error is nats.js.errors.NoKeysError
    inherits = error is nats.js.errors.ConsumerInvalidResetError
    assert named or unused or inherits


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        (10059, NotFoundError),
        (10058, ConflictError),
        (10077, StreamFullError),
        (10158, TransientError),
        (1, PubSubError),
    ],
)
def test_jetstream_codes(code: int, kind: type[PubSubError]):
    """A JetStream error becomes the class of its code and keeps the server's words and the native cause."""
    error = jetstream_error({"code": 400 if code != 1 else 500, "err_code": code, "description": "the words"}, "do it")
    assert type(error) is kind
    assert "the words" in str(error)
    assert isinstance(error.__cause__, JetStreamError)


def test_nearest_class_counts():
    """A subclass that is not in the table takes the class of its nearest base; the original is the cause."""
    driver = NatsDriver(Link(NatsOptions(), None), "nats://h")

    class NewTimeoutError(nats.errors.TimeoutError):
        pass

    native = NewTimeoutError()
    error = portable(native, driver, "do it")
    assert type(error) is TransientError
    assert error.__cause__ is native
    assert str(error).startswith("do it on nats://h: ")


def test_the_private_part_is_there():
    """The installed nats-py has what pubsubkit_nats.private uses; without it closing is less exact."""
    from nats.aio.client import Client
    from nats.aio.subscription import Subscription

    assert inspect.iscoroutinefunction(Client._send_unsubscribe)
    assert "self._id" in inspect.getsource(Subscription.__init__)
