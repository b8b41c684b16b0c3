"""Calls of nextvit commands as a user would make them, for benchmarks of the whole workflow."""

import json
import subprocess
import sys
import time
from dataclasses import dataclass
from typing import Any

from nextvit.machine.environment import strip_folder


@dataclass(frozen=True)
class CommandResult:
    """The result of a nextvit command."""

    command: str
    seconds: float
    code: int
    document: dict[str, Any]
    """Its JSON document; empty if it failed."""
    message: str
    """The last line of its stderr: the reason, if it failed."""

    def record(self) -> dict[str, Any]:
        return {"command": self.command, "seconds": self.seconds, **self.document}


def call(*arguments: str) -> CommandResult:
    """Run a nextvit command with --json in its own process.

    Raises:
        RuntimeError: it crashed.
    """
    started = time.perf_counter()
    command = [sys.executable, "-m", "nextvit", *arguments, "--json"]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    if done.returncode not in (0, 1, 2, 3) or "Traceback" in done.stderr:
        raise RuntimeError(f"{' '.join(command)}: {done.stderr}")
    messages = [line for line in done.stderr.splitlines() if line.startswith("nextvit: ")]
    return CommandResult(
        command=" ".join(["nextvit", *map(strip_folder, arguments)]),
        seconds=round(time.perf_counter() - started, 1),
        code=done.returncode,
        document=json.loads(done.stdout) if not done.returncode else {},
        message=messages[-1].removeprefix("nextvit: ").partition("; report: ")[0] if messages else "",
    )


def nextvit(*arguments: str) -> dict[str, Any]:
    """The record of a nextvit command that must succeed.

    Raises:
        RuntimeError: it failed.
    """
    done = call(*arguments)
    if done.code:
        raise RuntimeError(f"{done.command}: {done.message}")
    return done.record()
