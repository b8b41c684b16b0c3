"""Ways to damage bytes, text and the values of JSON, YAML and arrays, each by a seeded generator.

Half of the damage is blind (bits, slices), half knows what readers trust: counts, sizes, types, depth, names.
"""

import io
import json
import re
from random import Random
from typing import Any

import numpy as np
from numpy.typing import NDArray

NUMBERS = (0, -1, 1, 2, 255, 256, 65535, 65536, 2**31 - 1, 2**31, 2**32 - 1, 2**63 - 1, 2**63, 2**64, 10**400)
FRACTIONS = (1e308, -1e308, 5e-324, 0.5, 1.0000002, float("nan"), float("inf"), float("-inf"))
WORDS = (
    *("", " ", "null", "no", "007", "12:30", "2001-02-30", "\ufeffname", "name ", "cafe\u0301", "a" * 5000, "1" * 5000),
    *("\x1b[2J\x1b]0;title\x07", "\u202ename", "\ud800", "\x00", "../../outside", "/dev/zero", "C:\\file", "NaN", "-"),
)
DEEP = "a value that is nested so deeply that it is written by hand"
DEPTHS = (50, 900, 1100, 20_000)
SIZES = (0, 1, 2, 4, 8)
"""Bytes of numbers in binary files."""


def damage_bytes(content: bytes, random: Random) -> bytes:
    """Change one to eight places of a file."""
    damaged = bytearray(content)
    for _ in range(random.randint(1, 8)):
        place = random.randrange(len(damaged) + 1)
        end = min(len(damaged), place + random.choice((1, 2, 4, 16, 256, len(damaged))))
        match random.randrange(7):
            case 0 if damaged:
                damaged[place % len(damaged)] ^= 1 << random.randrange(8)
            case 1:
                damaged[place:end] = random.randbytes(end - place)
            case 2:
                del damaged[place:end]
            case 3:
                damaged[place:place] = damaged[place:end] * random.choice((1, 2, 100))
            case 4:
                number = random.choice(NUMBERS[:14]).to_bytes(9, "little", signed=True)[: random.choice(SIZES)]
                damaged[place : place + len(number)] = number if random.random() < 0.5 else number[::-1]
            case 5:
                damaged[place:end] = bytes(end - place)
            case _:
                damaged[place:place] = random.randbytes(random.choice(SIZES))
        del damaged[2**22 :]
    return bytes(damaged)


def damage_text(text: str, random: Random) -> bytes:
    """Change numbers, words or lines of a text file; sometimes its bytes or its encoding."""
    if random.random() < 0.25:
        return damage_bytes(text.encode(), random)
    for _ in range(random.randint(1, 4)):
        found = list(re.finditer(random.choice((r"-?\d+(\.\d+)?", r"\w+", r"[^\n]*\n", r"\S")), text))
        if not found:
            return text.encode()
        place = random.choice(found)
        new = random.choice(
            (str(random.choice(NUMBERS)), str(random.choice(FRACTIONS)), random.choice(WORDS), "", place[0] * 3)
        )
        text = text[: place.start()] + new + text[place.end() :]
    encoding = random.choice(("utf-8", "utf-8", "utf-8", "utf-8-sig", "utf-16", "latin-1"))
    return text.encode(encoding, errors="surrogatepass" if encoding.startswith("utf") else "replace")


def damage_value(value: Any, random: Random) -> Any:
    """A copy of a JSON value with one to three of its parts replaced, removed, doubled or wrapped."""
    damaged = json.loads(json.dumps(value))
    for _ in range(random.randint(1, 3)):
        holders = [each for each in containers(damaged) if each]
        if not holders:
            break
        holder = random.choice(holders)
        key = random.choice(list(holder)) if isinstance(holder, dict) else random.randrange(len(holder))
        match random.randrange(6):
            case 0:
                del holder[key]
            case 1 if isinstance(holder, list):
                holder.extend([holder[key]] * random.choice((1, 3, 1000)))
            case 1 | 2 if isinstance(holder, dict):
                holder[random.choice((*WORDS, str(random.choice(NUMBERS))))] = holder[key]
            case 3:
                holder[key] = [holder[key]]
            case 4:
                holder[key] = {"a": holder[key]}
            case _:
                holder[key] = odd_value(random)
    return damaged


def odd_value(random: Random) -> Any:
    """A value of some type, seldom the one that a reader expects."""
    return random.choice(
        (
            *(None, True, False, [], {}, [[]], [None], {"": None}, DEEP, [0] * 10_000),
            *(random.choice(NUMBERS), random.choice(NUMBERS), random.choice(FRACTIONS), random.choice(WORDS)),
        )
    )


def containers(value: Any) -> list[Any]:
    """All dicts and lists of a JSON value; not recursive, because damage may nest it deeply."""
    found: list[Any] = []
    waiting = [value]
    while waiting:
        each = waiting.pop()
        if isinstance(each, dict | list):
            found.append(each)
            waiting += each.values() if isinstance(each, dict) else each
    return found


def write_json(value: Any, random: Random) -> bytes:
    """JSON as bytes, with `DEEP` written out."""
    depth = random.choice(DEPTHS)
    return json.dumps(value).replace(f'"{DEEP}"', "[" * depth + "]" * depth).encode()


def damage_json(content: bytes, random: Random) -> bytes:
    """Damage a JSON file: its values, or its bytes."""
    if random.random() < 0.2:
        return damage_bytes(content, random)
    return write_json(damage_value(json.loads(content), random), random)


def damage_array(array: NDArray[Any], random: Random) -> NDArray[Any]:
    """An array of another type, shape or content, or with values that are no numbers."""
    match random.randrange(7):
        case 0:
            return array.reshape(-1)[: random.randrange(array.size + 1)]
        case 1:
            return array[..., None]
        case 2:
            return array.astype(random.choice((np.float64, np.float16, np.int64, np.uint8, np.bool_, np.str_)))
        case 3:
            return np.full(array.shape, random.choice((np.nan, np.inf, -1e30)))
        case 4:
            return np.zeros((0, *array.shape[1:]), array.dtype)
        case 5:
            return np.array([WORDS[1], None], object)
        case _:
            return np.concatenate([array.reshape(-1)] * 3) if array.ndim else np.array([array.item()] * 5)


def damage_npz(content: bytes, random: Random) -> bytes:
    """Damage the arrays of an .npz file, one or two of them."""
    with np.load(io.BytesIO(content)) as stored:
        arrays = {name: stored[name] for name in stored.files}
    for _ in range(random.randint(1, 2)):
        name = random.choice(sorted(arrays))
        arrays[name] = damage_array(arrays[name], random)
        if random.random() < 0.2:
            del arrays[name]
            break
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)
    return buffer.getvalue()
