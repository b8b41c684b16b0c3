"""Our own verbs as a user would call them, for the benchmarks that go the whole way."""

import json
import subprocess
import sys
import time
from dataclasses import dataclass
from typing import Any

from nextvit.machine.environment import without_place


@dataclass(frozen=True)
class Done:
    """What a verb gave."""

    command: str
    seconds: float
    code: int
    document: dict[str, Any]
    """Its JSON; empty where it refused."""
    message: str
    """What it said to people in the end: the reason, where it refused."""

    def record(self) -> dict[str, Any]:
        return {"command": self.command, "seconds": self.seconds, **self.document}


def call(*arguments: str) -> Done:
    """Run a verb with --json in a process of its own."""
    started = time.perf_counter()
    command = [sys.executable, "-m", "nextvit", *arguments, "--json"]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    if done.returncode not in (0, 1, 2, 3) or "Traceback" in done.stderr:
        raise RuntimeError(f"{' '.join(command)}: {done.stderr}")
    told = [line for line in done.stderr.splitlines() if line.startswith("nextvit: ")]
    return Done(
        command=" ".join(["nextvit", *map(without_place, arguments)]),
        seconds=round(time.perf_counter() - started, 1),
        code=done.returncode,
        document=json.loads(done.stdout) if not done.returncode else {},
        message=told[-1].removeprefix("nextvit: ").partition("; report: ")[0] if told else "",
    )


def nextvit(*arguments: str) -> dict[str, Any]:
    """The record of a verb that must succeed.

    Raises:
        RuntimeError: it did not.
    """
    done = call(*arguments)
    if done.code:
        raise RuntimeError(f"{done.command}: {done.message}")
    return done.record()
