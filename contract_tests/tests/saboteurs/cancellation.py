"""Backends that do not bear being cancelled."""

import asyncio

from pubsubkit.closing import Closing
from pubsubkit.publisher import Publisher
from pubsubkit.subscription import Subscription
from pubsubkit.window import Window
from pubsubkit_memory.driver import MemoryDriver
from pubsubkit_memory.subscription import MemorySubscription
from saboteurs.saboteur import breaks

_kept = []


@breaks(MemorySubscription, "receive", "can.receive", "can.timeout")
async def drops_what_it_took(original, self):
    """A receive that is cancelled in the moment in which it has its message drops the message."""
    delivery = await original(self)
    await asyncio.sleep(0)
    return delivery


@breaks(MemorySubscription, "_wait", "can.receive", "can.timeout")
async def leaves_its_place_in_the_queue(original, self, *, first):
    """A receive that was cancelled stays in the queue, and the next message is given to it."""
    waiter = self._consumer.waiters.join(first=first)
    self._blocked.add(waiter)
    await asyncio.shield(waiter)
    self._consumer.waiters.leave(waiter)
    return None if self._closed else self._consumer.take()


@breaks(MemorySubscription, "receive", "can.receive")
async def keeps_it_for_the_task(original, self):
    """What arrives as its receive is cancelled is kept for the next call of the same task."""
    kept, task = self.__dict__.setdefault("kept", {}), asyncio.current_task()
    if task not in kept:
        delivery = await original(self)
        if delivery is None:
            return None
        kept[task] = delivery
        await asyncio.sleep(0)
    delivery = kept.pop(task)
    if self._closed:
        self._consumer.give_back(delivery, 0)
        return None
    return delivery


@breaks(MemorySubscription, "receive", "can.receive")
async def does_not_let_go(original, self):
    """A receive that is cancelled once goes on waiting for its message."""
    try:
        return await original(self)
    except asyncio.CancelledError:
        return await original(self)


@breaks(MemorySubscription, "receive", "can.receive", "can.timeout")
async def ends_when_cancelled(original, self):
    """A receive that is cancelled ends the iteration instead."""
    try:
        return await original(self)
    except asyncio.CancelledError:
        return None


@breaks(MemorySubscription, "receive", "can.timeout")
async def has_forty_slots(original, self):
    """Each receive takes one of forty slots, which one that is cancelled never gives back."""
    slots = self.__dict__.setdefault("slots", asyncio.Semaphore(40))
    await slots.acquire()
    delivery = await original(self)
    slots.release()
    return delivery


@breaks(MemorySubscription, "receive", "can.timeout")
async def is_cancelled_once_more(original, self):
    """The receive after one that was cancelled raises CancelledError, although nobody cancelled it."""
    if self.__dict__.pop("stale", False):
        raise asyncio.CancelledError
    try:
        return await original(self)
    except asyncio.CancelledError:
        self.stale = True
        raise


@breaks(Publisher, "__getattribute__", "can.pre_cancelled")
def begins_with_the_call(original, self, name):
    """Publishing begins when publish is called, in a task of its own, and not when it is awaited."""
    found = original(self, name)
    if name != "publish":
        return found
    return lambda *message, **options: asyncio.shield(asyncio.ensure_future(found(*message, **options)))


@breaks(Subscription, "__getattribute__", "can.pre_cancelled")
def takes_with_the_call(original, self, name):
    """A message is taken when the next one is asked for, and not when it is awaited."""
    found = original(self, name)
    if name != "__anext__":
        return found
    return lambda: asyncio.shield(asyncio.ensure_future(found()))


@breaks(Subscription, "__aiter__", "can.break_resume")
def is_a_generator(original, self):
    """Iterating is done by a generator, which closes the subscription when the loop is left."""

    async def generate():
        try:
            while True:
                try:
                    yield await self.__anext__()
                except StopAsyncIteration:
                    return
        finally:
            await self.aclose()

    return generate()


@breaks(Subscription, "__aiter__", "can.break_resume")
def reads_one_ahead(original, self):
    """While the body of a loop runs the next message is fetched, which is lost when the loop is left."""

    async def generate():
        ahead = asyncio.ensure_future(self.__anext__())
        while True:
            try:
                message = await ahead
            except StopAsyncIteration:
                return
            ahead = asyncio.ensure_future(self.__anext__())
            yield message

    return generate()


@breaks(Closing, "__aexit__", "can.iteration_break")
async def closes_after_success_only(original, self, kind, error, trace):
    """Leaving a block by an error closes nothing."""
    if error is None:
        await original(self, kind, error, trace)


@breaks(Closing, "__aexit__", "can.iteration_break")
async def hides_the_error(original, self, kind, error, trace):
    """Leaving a block swallows the error that it was left by."""
    await original(self, kind, error, trace)
    return isinstance(error, Exception)


@breaks(Subscription, "_open", "can.open")
async def tries_to_open_once(original, self):
    """An opening that was cancelled is not tried again."""
    if "opening" not in self.__dict__ or (self.opening.done() and not self.opening.cancelled()):
        self.opening = asyncio.ensure_future(original(self))
    return await self.opening


@breaks(Subscription, "_open", "can.open")
async def leaves_the_lock(original, self):
    """An opening that is cancelled leaves its lock behind."""
    await self._opening.acquire()
    await asyncio.sleep(0)
    self._opening.release()
    return await original(self)


@breaks(MemoryDriver, "subscribe", "can.open_phantom")
async def joins_all_the_same(original, self, spec, buffer):
    """A member whose opening is cancelled has joined, and takes a message."""
    subscription = await original(self, spec, buffer)
    try:
        await asyncio.sleep(0)
    except asyncio.CancelledError:
        consumer = subscription._consumer
        waiter = consumer.waiters.join(first=False)
        waiter.add_done_callback(lambda done: done.cancelled() or (consumer.waiters.leave(waiter), consumer.take()))
        raise
    return subscription


@breaks(Closing, "aclose", "can.close")
async def is_not_shielded(original, self):
    """Cancelling a close cancels the closing."""
    self._close_begun = True
    if self._close_task is None:
        self._close_task = asyncio.ensure_future(self._close())
    await self._close_task


@breaks(Window, "acquire", "can.task_group")
async def leaves_an_error_unseen(original, self):
    """A publish_soon that is cancelled while it waits for room leaves a future with an error that nobody looks at."""
    try:
        return await original(self)
    except asyncio.CancelledError:
        asyncio.get_running_loop().create_future().set_exception(RuntimeError("cancelled"))
        raise


@breaks(Subscription, "settle", "can.verdict")
async def is_settled_by_the_attempt(original, self, message, settlement):
    """A verdict that was cancelled counts as given, although the broker was not told."""
    given = False
    try:
        await asyncio.sleep(0)
        given = await original(self, message, settlement)
    except asyncio.CancelledError:
        message.settled = True
        raise
    return given


@breaks(MemoryDriver, "open", "can.connect")
async def goes_on_connecting(original, self, on_state):
    """Connecting that is cancelled leaves a task that goes on with it."""
    try:
        await asyncio.sleep(0)
    except asyncio.CancelledError:
        _kept.append(asyncio.ensure_future(asyncio.Event().wait()))
        raise
    await original(self, on_state)
