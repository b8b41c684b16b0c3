"""Stopping a training between two steps."""

import signal
import threading
from collections.abc import Generator
from contextlib import contextmanager
from types import FrameType


class Stop:
    """Whether somebody asked to stop."""

    requested = False


@contextmanager
def stop_on_interrupt() -> Generator[Stop]:
    """Ctrl-C, or a SIGTERM, sets a flag, for the loop to see after its step; a second Ctrl-C acts at once.

    A second SIGTERM does not: torchrun and batch systems send several, and the state is being saved.

    A KeyboardInterrupt strikes anywhere, in the middle of a save too, and where Python cannot pass an exception on (in
    a finaliser, say) it is lost. Outside the main thread, which alone receives signals, nothing changes.
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
