"""How many cores a process may use, in containers and out of them."""

import os
from pathlib import Path

import pytest

from nextvit.machine import cores
from nextvit.machine.cores import cpu_quota, usable_cores


def write(folder: Path, **files: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        (folder / name.replace("__", ".")).write_text(content)


def quota(folder: Path, membership: str) -> float | None:
    (folder / "membership").write_text(membership)
    return cpu_quota(folder / "membership", folder)


@pytest.mark.parametrize(("limit", "expected"), [("150000 100000", 1.5), ("max 100000", None), ("", None)])
def test_version_2(tmp_path: Path, limit: str, expected: float | None):
    write(tmp_path / "app", cpu__max=limit)
    assert quota(tmp_path, "0::/app\n") == expected


@pytest.mark.parametrize(("limit", "expected"), [("50000", 0.5), ("-1", None), ("none", None)])
@pytest.mark.parametrize("mount", ["cpu", "cpu,cpuacct"])
def test_version_1(tmp_path: Path, mount: str, limit: str, expected: float | None):
    write(tmp_path / mount / "docker" / "3f", cpu__cfs_quota_us=limit, cpu__cfs_period_us="100000")
    assert quota(tmp_path, "4:memory:/docker/3f\n3:cpu,cpuacct:/docker/3f\n0::/\n") == expected


def test_the_least_limit_of_a_group_and_those_around_it_counts(tmp_path: Path):
    write(tmp_path / "pod", cpu__max="200000 100000")
    write(tmp_path / "pod" / "container", cpu__max="400000 100000")
    assert quota(tmp_path, "0::/pod/container\n") == 2


def test_a_container_sees_its_own_group_at_the_root(tmp_path: Path):
    write(tmp_path, cpu__max="300000 100000")
    assert quota(tmp_path, "0::/docker/path/of/the/host\n") == 3


@pytest.mark.parametrize("membership", ["", "nonsense\n", "0::\n", "1:cpu\n"])
def test_a_file_that_says_nothing_sets_no_limit(tmp_path: Path, membership: str):
    assert quota(tmp_path, membership) is None
    assert cpu_quota(tmp_path / "missing", tmp_path) is None


@pytest.mark.skipif(not hasattr(os, "sched_getaffinity"), reason="this system has no affinity")
@pytest.mark.parametrize(("limit", "expected"), [(None, 8), (1.5, 2), (0.1, 1), (64.0, 8)])
def test_affinity_and_quota_bound_each_other(monkeypatch: pytest.MonkeyPatch, limit: float | None, expected: int):
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: set(range(8)))
    monkeypatch.setattr(cores, "cpu_quota", lambda: limit)
    assert usable_cores() == expected
