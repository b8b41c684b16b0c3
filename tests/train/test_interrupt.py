"""Ctrl-C in a training."""

import signal
import threading

import pytest

from nextvit.train.interrupt import stop_on_interrupt

pytestmark = pytest.mark.serial


def test_the_first_interrupt_is_a_request_and_the_second_stops_at_once():
    # A shell without job control starts its background processes with Ctrl-C ignored, this one perhaps.
    found = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with stop_on_interrupt() as stop:
            assert not stop.requested
            signal.raise_signal(signal.SIGINT)
            assert stop.requested
            with pytest.raises(KeyboardInterrupt):
                signal.raise_signal(signal.SIGINT)
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    finally:
        signal.signal(signal.SIGINT, found)


def test_another_thread_trains_without_touching_signals():
    before = signal.getsignal(signal.SIGINT)
    seen: list[bool] = []

    def train() -> None:
        with stop_on_interrupt() as stop:
            seen.append(stop.requested)

    thread = threading.Thread(target=train)
    thread.start()
    thread.join()
    assert seen == [False]
    assert signal.getsignal(signal.SIGINT) is before
