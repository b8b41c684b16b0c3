"""The one rule for flags in annotation files, such as COCO's iscrowd."""

from typing import Any

FLAGS = {"0": False, "false": False, "1": True, "true": True}


def read_flag(value: Any) -> bool:
    """A flag: 0 or 1, false or true, also as text; None, for a flag that is not given, is false.

    Raises:
        ValueError: it is anything else.
    """
    if value is None:
        return False
    if isinstance(value, str) and value.strip().lower() in FLAGS:
        return FLAGS[value.strip().lower()]
    if isinstance(value, int | float) and value in (0, 1):
        return bool(value)
    raise ValueError(f"is 0 or 1, got {value!r:.60}")
