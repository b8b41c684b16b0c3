"""Stop a training between two steps, while it waits for data, or while it evaluates."""

import signal
import threading
from collections.abc import Generator, Iterable
from contextlib import contextmanager
from types import FrameType
from typing import TypeVar

Item = TypeVar("Item")


class StopRequested(BaseException):
    """A stop was requested inside of `Stop.at_once`. Like KeyboardInterrupt no Exception, so that nothing on the way
    takes it for a fault."""


class Stop:
    """Whether a stop was requested."""

    requested = False
    is_immediate = False
    """Whether a request raises `StopRequested` instead of waiting to be read."""

    @contextmanager
    def at_once(self) -> Generator[None]:
        """In this block a request raises `StopRequested`, also one that came before. For work that may take for ever,
        such as waiting for data, and that can be repeated."""
        self.is_immediate = True
        try:
            if self.requested:
                raise StopRequested
            yield
        finally:
            self.is_immediate = False

    def while_waiting(self, items: Iterable[Item]) -> Generator[Item]:
        """Yield the items; a request ends the wait for the next one."""
        iterator = iter(items)
        while True:
            with self.at_once():
                try:
                    item = next(iterator)
                except StopIteration:
                    return
            yield item


@contextmanager
def stop_on_interrupt() -> Generator[Stop]:
    """Let Ctrl-C or SIGTERM set a flag that the loop reads after each step, or end what is done `at_once`; a second
    Ctrl-C interrupts immediately.

    A second SIGTERM does not, because torchrun and batch systems send several, and the state is being saved.

    Without this, a KeyboardInterrupt could come in the middle of a save, and would be lost where Python cannot
    propagate an exception (in a finaliser, say). Outside the main thread, which alone receives signals, nothing
    changes.
    """
    stop = Stop()
    if threading.current_thread() is not threading.main_thread():
        yield stop
        return
    previous = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def request(number: int, frame: FrameType | None) -> None:
        stop.requested = True
        signal.signal(signal.SIGINT, previous[signal.SIGINT])
        if stop.is_immediate:
            raise StopRequested

    for number in previous:
        signal.signal(number, request)
    try:
        yield stop
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
