"""Stop a training between two steps."""

import signal
import threading
from collections.abc import Generator
from contextlib import contextmanager
from types import FrameType


class Stop:
    """Whether a stop was requested."""

    requested = False


@contextmanager
def stop_on_interrupt() -> Generator[Stop]:
    """Let Ctrl-C or SIGTERM set a flag that the loop reads after each step; a second Ctrl-C interrupts immediately.

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

    for number in previous:
        signal.signal(number, request)
    try:
        yield stop
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
