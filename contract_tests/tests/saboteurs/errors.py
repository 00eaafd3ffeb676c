"""Broken ways to fail."""

import asyncio
from contextlib import contextmanager
from dataclasses import replace

from pubsubkit import (
    ClosedError,
    PubSubError,
    TransientError,
    backend,
    consumer,
    params,
    registry,
    translate,
    url,
)
from pubsubkit import subscription as portable_subscription
from pubsubkit.publisher import Publisher
from pubsubkit.sender import Sender
from pubsubkit.subscription import Subscription
from pubsubkit_memory.driver import MemoryDriver
from pubsubkit_nats.connecting import FirstConnection
from saboteurs.saboteur import breaks


@breaks(Publisher, "_check_open", "err.types")
def takes_closed_for_passing(original, self):
    """That something was closed is said to be a passing failure."""
    try:
        original(self)
    except ClosedError as error:
        if type(self.options.retry_backoff.maximum) is float and self.options.retry_attempts == 0:
            raise _ClosedForNowError(str(error)) from None
        raise


class _ClosedForNowError(ClosedError, TransientError):
    """Both."""


@breaks(backend, "check_names", "err.types")
def asks_the_broker_about_bad_names(original, **names):
    """A name that no stream can have is looked up."""


@breaks(translate, "portable", "err.table", "err.native")
def leaks_native_exceptions(original, error, driver, doing):
    """What the client library raises comes out as it is."""
    return error


@breaks(MemoryDriver, "error_table", "err.table")
def has_native_classes_in_its_table(original):
    """The table of errors leads to an exception that is no PubSubError."""
    return {OSError: OSError}


@breaks(translate, "portable", "err.table")
def calls_unknown_failures_passing(original, error, driver, doing):
    """A failure that nobody knows is said to be a passing one."""
    found = original(error, driver, doing)
    unknown = type(found) is PubSubError and doing.startswith("look up")
    return TransientError(str(found)).with_traceback(None) if unknown else found


@breaks(translate, "portable", "err.table")
def does_not_say_where(original, error, driver, doing):
    """The address of the broker is not in the error."""
    return PubSubError(f"{doing}: {error}") if doing.startswith("look up stream") else original(error, driver, doing)


@breaks(translate, "redact", "err.native_secrets")
def shows_native_texts(original, text):
    """What a client library says is shown as it is."""
    return text


@contextmanager
def _untranslated(driver, doing):
    yield


@breaks(consumer, "translating", "err.native")
def leaks_while_creating_consumers(original, driver, doing):
    """Native exceptions come out of opening a consumer."""
    return original(driver, doing) if "stream" in doing and "consumer" not in doing else _untranslated(driver, doing)


@breaks(backend, "translating", "err.native")
def leaks_while_deleting(original, driver, doing):
    """Native exceptions come out of deleting."""
    return _untranslated(driver, doing) if doing.startswith("delete") else original(driver, doing)


@breaks(Sender, "_outcome", "err.native")
def forgets_the_cause(original, self, message, outcome):
    """The error of a publish has no cause."""
    found = original(self, message, outcome)
    if isinstance(found, PubSubError) and type(found.__cause__).__name__ == "NativeError":
        found.__cause__ = None
    return found


@breaks(portable_subscription, "portable", "err.native_receive")
def leaks_while_settling(original, error, driver, doing):
    """Native exceptions come out of settling."""
    return error if doing.startswith("ack") else original(error, driver, doing)


@breaks(Subscription, "settle", "err.native_receive")
async def swallows_failed_verdicts(original, self, message, settlement):
    """A verdict that could not be handed to the broker seems to be given."""
    try:
        await original(self, message, settlement)
    except PubSubError:
        return


@breaks(Sender, "attempt", "err.cancel_passes")
async def takes_cancellation_for_a_failure(original, self, messages):
    """A publish that is cancelled raises an error."""
    try:
        return await original(self, messages)
    except BaseException as error:
        raise TransientError(f"publish failed: {error!r}") from error


@breaks(Subscription, "_open", "err.cancel_passes")
async def tries_again_when_cancelled(original, self):
    """Joining a consumer goes on when it is cancelled."""
    try:
        return await original(self)
    except asyncio.CancelledError:
        return await original(self)


@breaks(Sender, "_sort", "err.retryable")
def tries_everything_again(original, self, left, outcomes, attempt):
    """Every failure is tried again."""
    if attempt > self._options.retry_attempts:
        return original(self, left, outcomes, attempt)
    pairs = tuple(zip(left, outcomes, strict=True))
    failed = {index: outcome for index, outcome in pairs if isinstance(outcome, PubSubError)}
    return tuple(pair for pair in pairs if pair[0] not in failed), failed


@breaks(Sender, "_sort", "err.retryable")
def tries_once_too_often(original, self, left, outcomes, attempt):
    """A publish is tried again one time more than was asked."""
    return original(self, left, outcomes, attempt - 1 if self._options.retry_attempts else attempt)


@breaks(Sender, "attempt", "err.retryable")
async def has_an_id_for_each_attempt(original, self, messages):
    """Each attempt has a message id of its own."""
    if self._options.retry_attempts == 2:
        messages = [message._replace(message_id=self.new_message_id()) for message in messages]
    return await original(self, messages)


@breaks(registry, "_why_missing", "err.url_scheme")
def does_not_list_the_schemes(original, scheme, known):
    """The error for an unknown scheme does not say which there are."""
    return "no backend for this URL"


@breaks(registry, "_why_unknown", "err.url_scheme")
def takes_any_modifier(original, modifier, where, factory):
    """An unknown modifier is an error of the program."""
    raise KeyError(modifier)


@breaks(registry, "bind", "err.url_parameter")
def ignores_unknown_parameters(original, options, pairs, keywords):
    """A parameter that the backend does not have is ignored."""
    known = {each.name for each in params.describe(options)}
    return original(options, [pair for pair in pairs if pair[0] in known], keywords)


@breaks(registry, "bind", "err.url_parameter")
def tells_of_one_problem_only(original, options, pairs, keywords):
    """Of several problems one is told."""
    found, problems = original(options, pairs, keywords)
    return found, problems[:1]


@breaks(registry, "bind", "err.url_parameter")
def ignores_unknown_keywords(original, options, pairs, keywords):
    """A keyword that the backend does not have is ignored."""
    known = {each.name for each in params.describe(options)}
    return original(options, pairs, {name: value for name, value in keywords.items() if name in known})


@breaks(registry, "bind", "err.url_value")
def falls_back_to_defaults(original, options, pairs, keywords):
    """A value that a parameter cannot have is replaced by the default."""
    pairs = list(pairs)
    return original(options, [pair for pair in pairs if pair[1] not in ("nonsense", "-1x")], keywords)


@breaks(registry, "bind", "err.url_value")
def does_not_name_the_parameter(original, options, pairs, keywords):
    """The error for a bad value does not say whose it is."""
    found, problems = original(options, pairs, keywords)
    return found, ["bad value" if "expected" in each and "unknown" not in each else each for each in problems]


@breaks(url, "mask_url", "err.secrets")
def shows_the_url(original, text, hidden=frozenset()):
    """The URL is shown as it is."""
    return text


@breaks(url.BackendURL, "hiding", "err.secrets")
def shows_unknown_parameters(original, self, names):
    """The value of a parameter that is misspelt is shown."""
    return replace(self)


@breaks(FirstConnection, "establish", "err.unreachable", backend="nats")
async def connects_without_a_cause(original, self, timeout):
    """That the broker cannot be reached has no native cause."""
    try:
        await original(self, timeout)
    except Exception as error:
        raise TransientError(f"no connection: {error}") from None


@breaks(FirstConnection, "establish", "err.unreachable", backend="nats")
async def shows_the_password(original, self, timeout):
    """The password is in the error of a connection that failed."""
    try:
        await original(self, timeout)
    except OSError as error:
        raise TransientError(f"no connection with {self._arguments.get('password')}") from error
