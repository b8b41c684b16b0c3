"""What each test costs in CPU time, its fixtures and child processes included; wall time would depend on the
neighbours.

Above 5 s a test of the default tier is listed at the end of a run, above 20 s it fails the run. What `made_once` makes
for the tests of all workers counts for itself, not for the test that came first. Works under pytest-xdist.
`--cpu-times FILE` writes the times of all tests, as benchmarks/results/test_times.json was made.
"""

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

LISTED_S, FAILED_S = 5.0, 20.0
TIERS = ("gpu", "network", "slow", "training", "backend")
KEY, MADE = "cpu time", "made once"


def tier_of(item: pytest.Item) -> str:
    """The marker by which a test is left out of the default tier, or "default"."""
    return next((name for name in TIERS if item.get_closest_marker(name)), "default")


def cpu_s() -> float:
    """Of this process and of its children that have ended."""
    return sum(os.times()[:4])


class CpuTimes:
    """Measures where a test runs, and collects where the run is controlled, which are two processes under
    pytest-xdist."""

    def __init__(self, path: str | None) -> None:
        self.path = path
        self.begun_s = 0.0
        self.made: list[tuple[str, tuple[float, str, str]]] = []
        self.seen: list[tuple[float, str, str]] = []  # CPU seconds, tier or MADE, test or what was made

    @contextmanager
    def making(self, name: str) -> Iterator[None]:
        """Around what is made for many tests."""
        begun_s = cpu_s()
        yield
        spent_s = cpu_s() - begun_s
        self.begun_s += spent_s
        self.made.append((KEY, (round(spent_s, 2), MADE, name)))

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_logstart(self) -> None:
        self.begun_s = cpu_s()

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(
        self, item: pytest.Item, call: pytest.CallInfo[None]
    ) -> Iterator[None]:  # the hook's own result goes through
        report = yield
        if call.when == "teardown":
            own = (round(cpu_s() - self.begun_s, 2), tier_of(item), item.nodeid)
            report.user_properties += [(KEY, own), *self.made]
            self.made.clear()
        return report

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        self.seen += [(*value,) for key, value in report.user_properties if key == KEY]  # type: ignore[misc]

    def too_slow(self, limit_s: float) -> list[tuple[float, str, str]]:
        """The slowest first."""
        return sorted((each for each in self.seen if each[1] == "default" and each[0] > limit_s), reverse=True)

    @pytest.hookimpl(trylast=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        if hasattr(session.config, "workerinput"):
            return
        if self.too_slow(FAILED_S) and session.exitstatus == pytest.ExitCode.OK:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED
        if self.path:
            Path(self.path).write_text(json.dumps(summary(self.seen), indent=1) + "\n")

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        if listed := self.too_slow(LISTED_S):
            terminalreporter.section(f"default tests above {LISTED_S:.0f} s of CPU time")
        for seconds, _, test in listed:
            over = f"  FAILED: more than {FAILED_S:.0f} s; make it faster, or mark it for make test-all"
            terminalreporter.line(f"{seconds:6.1f} s  {test}{over if seconds > FAILED_S else ''}")


def summary(seen: list[tuple[float, str, str]]) -> dict[str, object]:
    """Tests and CPU seconds of each tier, and every test above a second."""
    tiers = {
        name: {
            "tests": sum(tier == name for _, tier, _ in seen),
            "cpu_s": round(sum(seconds for seconds, tier, _ in seen if tier == name), 1),
        }
        for name in ("default", *TIERS, MADE)
    }
    return {"tiers": tiers, "above_1_s": [each for each in sorted(seen, reverse=True) if each[0] > 1]}
