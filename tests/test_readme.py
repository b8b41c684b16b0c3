"""What README and docs say is checked: their commands parse, files exist, numbers are the code's."""

import re
import shlex
from pathlib import Path

import pytest

from nextvit.cli.main import VERBS, build_app

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
PAGES = [README, *(page.read_text(encoding="utf-8") for page in sorted((ROOT / "docs").glob("*.md")))]
COMMANDS = sorted(
    {
        line.partition("#")[0].strip(" $")
        for page in PAGES
        for line in page.splitlines()
        if re.match(r"^(\$ )?nextvit [a-z]+ ", line)
    }
)


def test_the_two_commands_exist():
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    for target in ("quickstart", "test"):
        assert f"make {target}" in README
        assert re.search(rf"^{target}:", makefile, re.MULTILINE)


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_parses(command: str):
    _, verb, *arguments = shlex.split(command)
    assert verb in VERBS
    build_app().parse_args([verb, *arguments], exit_on_error=False, print_error=False)


def test_every_path_exists():
    for path in re.findall(r"\]\(((?!http)[^)]+)\)", README):
        assert (ROOT / path.partition("#")[0]).exists(), path


def test_sizes_in_the_table_are_the_codes():
    from nextvit.models.config import VARIANTS
    from nextvit.models.cost import cost

    for name, config in VARIANTS.items():
        measured = cost(config)
        row = f"| `{name}` | {measured.parameters / 1e6:.2f} M | {measured.macs / 1e9:.2f} G |"
        assert row in README, row


def test_published_scores_in_the_table_are_the_codes():
    from nextvit.models.published import PUBLISHED

    for name in ("nextvit_small", "nextvit_base", "nextvit_large"):
        line = next(line for line in README.splitlines() if line.startswith(f"| `{name}`"))
        scores = [float(number) for number in re.findall(r"\d\d\.\d(?= |,|;)", line.rpartition("G |")[2])]
        assert scores == [each.top1 for each in PUBLISHED if each.variant == name]


def test_constraints_hold_names_and_versions_only():
    for line in (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines():
        assert re.fullmatch(r"[a-z0-9-]+==[\w.]+( ; [^/]+)?", line), line
