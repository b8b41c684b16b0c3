"""Ctrl-C in a training."""

import signal
import threading

import pytest

from nextvit.train.interrupt import stop_on_interrupt


def test_the_first_interrupt_is_a_request_and_the_second_stops_at_once():
    before = signal.getsignal(signal.SIGINT)
    with stop_on_interrupt() as stop:
        assert not stop.requested
        signal.raise_signal(signal.SIGINT)
        assert stop.requested
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) is before


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
