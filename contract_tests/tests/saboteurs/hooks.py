"""Broken ways to call plugins and to be disturbed by them."""

from pubsubkit import ClosedError, InvalidArgumentError, hooks, subscription
from pubsubkit import backend as portable_backend
from pubsubkit.backend import Backend
from pubsubkit.driver import ConnectionState, Verdict
from pubsubkit.publisher import Publisher
from pubsubkit.sender import Sender
from saboteurs.saboteur import breaks


@breaks(Sender, "report", "hook.publish_ok", "hook.publish_error", "hook.on_publish")
def reports_twice(original, self, message, error, started):
    """The end of a publish is told twice."""
    original(self, message, error, started)
    original(self, message, error, started)


@breaks(Sender, "report", "hook.publish_ok")
def does_not_report_empty_messages(original, self, message, error, started):
    """A message without a payload is not told."""
    if message.data or error is not None:
        original(self, message, error, started)


@breaks(Sender, "report", "hook.publish_ok")
def reports_the_start_as_latency(original, self, message, error, started):
    """The latency is a reading of a clock."""
    original(self, message, error, started if self._options.on_publish else 0.0)


@breaks(Publisher, "_full", "hook.on_publish")
def reports_without_prefix(original, self, subject):
    """The subject of a publish that was refused is told without its prefix."""
    return original(self, subject) if " " not in subject else subject


@breaks(Sender, "report", "hook.publish_error")
def does_not_report_what_was_refused(original, self, message, error, started):
    """A message that was refused before it was sent is not told."""
    if not isinstance(error, InvalidArgumentError) or self._options.on_publish:
        original(self, message, error, started)


@breaks(Sender, "report", "hook.publish_error")
def does_not_report_after_close(original, self, message, error, started):
    """A publish after closing is not told."""
    if not self._closing.is_set():
        original(self, message, error, started)


@breaks(Sender, "report", "hook.on_publish")
def lets_on_publish_raise(original, self, message, error, started):
    """What on_publish raises reaches the publisher."""
    if self._options.on_publish is not None:
        self._options.on_publish(message.subject, error, 0.0)
    original(self, message, error, started)


@breaks(Sender, "report", "hook.on_publish")
def skips_the_last_of_a_batch(original, self, message, error, started):
    """on_publish is not called for the last message of a batch."""
    if not message.subject.endswith(".c") or self._options.on_publish is None:
        original(self, message, error, started)


@breaks(hooks, "_call", "hook.raises")
def lets_plugins_raise(original, implementation, values):
    """What a plugin raises reaches the application."""
    _, function, names = implementation
    return function(*[values[name] for name in names])


@breaks(hooks, "_notify", "hook.raises")
def stops_at_the_first_that_raises(original, implementations, **values):
    """After a plugin that raised no other one is told."""
    for implementation in implementations:
        _, function, names = implementation
        try:
            function(*[values[name] for name in names])
        except Exception:
            return


@breaks(hooks, "_implementations", "hook.order", "hook.middleware_order")
def calls_the_last_one_first(original, manager, name):
    """The plugin that was given last is called first."""
    return tuple(reversed(original(manager, name)))


@breaks(hooks, "_implementations", "hook.order")
def publishes_in_another_order(original, manager, name):
    """One hook is called in another order than the others."""
    found = original(manager, name)
    return tuple(reversed(found)) if name == "published" else found


@breaks(hooks, "_implementations", "hook.middleware_order")
def wraps_settling(original, manager, name):
    """Of two plugins the inner one is told first of a verdict."""
    found = original(manager, name)
    return tuple(reversed(found)) if name == "settled" and len(found) == 2 else found


_everybody: list[object] = []


@breaks(portable_backend, "load_hooks", "hook.own_connection")
def plugins_hear_of_all_connections(original, plugins, address):
    """A plugin that was given to one connection is told of those that are opened later too."""
    given = tuple(plugins)
    before = [plugin for plugin in _everybody if type(plugin).__name__ == "Recorder"][-1:]
    _everybody.extend(given)
    return original((*before, *given) if len(given) == 1 else given, address)


@breaks(subscription, "report_received", "hook.received_settled")
def tells_no_headers(original, hook, delivery):
    """Received messages are told without their headers."""
    original(lambda **values: hook(**{**values, "headers": {}}), delivery)


@breaks(subscription, "report_settled", "hook.received_settled")
def tells_of_settling_twice(original, hook, delivery, settlement, error, started):
    """An ack is told twice."""
    if settlement.verdict is Verdict.ACK and delivery.metadata.num_delivered == 1 and len(delivery.data) == 4:
        original(hook, delivery, settlement, error, started)
    original(hook, delivery, settlement, error, started)


@breaks(subscription, "report_received", "hook.middleware_order")
def redeliveries_pass_by(original, hook, delivery):
    """Redeliveries are not told."""
    if delivery.metadata.num_delivered == 1:
        original(hook, delivery)


@breaks(subscription, "report_settled", "hook.verdicts")
def tells_final_verdicts_only(original, hook, delivery, settlement, error, started):
    """Extending a lease is not told."""
    if settlement.verdict is not Verdict.IN_PROGRESS:
        original(hook, delivery, settlement, error, started)


@breaks(subscription, "report_settled", "hook.verdicts")
def takes_term_for_ack(original, hook, delivery, settlement, error, started):
    """A terminated message is told as acked."""
    told = settlement._replace(verdict=Verdict.ACK) if settlement.verdict is Verdict.TERM else settlement
    original(hook, delivery, told, error, started)


@breaks(Publisher, "_headers", "hook.before_send", "hook.before_send_protected")
def adds_no_headers(original, self, subject, headers):
    """What plugins add is asked for and dropped."""
    original(self, subject, headers)
    return headers or None


@breaks(Publisher, "_headers", "hook.before_send")
def asks_twice(original, self, subject, headers):
    """Plugins are asked for headers twice for one message when it may be tried again."""
    if self.options.retry_attempts:
        original(self, subject, headers)
    return original(self, subject, headers)


@breaks(Sender, "report", "hook.before_send")
def reports_without_headers(original, self, message, error, started):
    """The end of a publish is told without the headers that were sent."""
    original(self, message._replace(headers=None), error, started)


@breaks(Publisher, "_headers", "hook.before_send_protected")
def plugins_decide(original, self, subject, headers):
    """What plugins say counts for more than what the publisher says."""
    added = original(self, subject, None)
    return {**(original(self, subject, headers) or {}), **(added or {})} or None


@breaks(hooks, "_merge_headers", "hook.before_send_protected")
def the_first_plugin_decides(original, implementations, **values):
    """Of two plugins the first one decides about a header."""
    added = {}
    for implementation in implementations:
        added = {**original((implementation,), **values), **added}
    return added


@breaks(Backend, "_on_state", "hook.connection_changed")
def tells_each_state_again(original, self, state, error):
    """That the connection is closed is told twice."""
    if state is ConnectionState.CLOSED:
        original(self, state, error)
        self._state = None
    original(self, state, error)


@breaks(Backend, "_on_state", "hook.connection_changed")
def takes_closing_for_a_failure(original, self, state, error):
    """That a connection was closed is told with an error."""
    original(self, state, ClosedError("closed") if state is ConnectionState.CLOSED else error)


@breaks(Backend, "_on_state", "hook.connection_changed")
def does_not_tell_of_the_opening(original, self, state, error):
    """Only the loss and the end of a connection are told."""
    changed = self._connection.hooks.connection_changed
    if state is not ConnectionState.CONNECTED or changed is None or len(changed.args[0]) > 1:
        original(self, state, error)
