"""Seeded mutations of files, and the guard under which they are read.

A reader may raise InputError, or read the mutated file if that is harmless. It may not raise anything else, start a
program, open a socket, unpickle a class, write a file, take 2 GB or take 10 seconds.
"""

from __future__ import annotations

import json
import os
import random
import resource
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest

from captioning.errors import InputError

NUM_MUTATIONS = int(os.environ.get("CAPTIONING_FUZZ", "500"))
"""Of each kind of file."""

FORBIDDEN = (
    "socket.",
    "subprocess.",
    "os.system",
    "os.exec",
    "os.posix_spawn",
    "os.fork",
    "pickle.find_class",
    "ctypes",
)
NUMBERS = (0, 1, -1, 2, 3, 127, 2**31, 2**32 - 1, 2**53 + 1, 2**63 - 1, 2**63, 2**64, 10**30, -(2**63), 10**400)
FLOATS = (0.5, -0.0, 1e-320, 1e308, -1e308, float("nan"), float("inf"), -float("inf"))
TEXTS = (
    "",
    " ",
    "x",
    "x" * 100_000,
    "\0",
    "\x1b[31m",
    "a\nb",
    "../../secret.png",
    "/etc/passwd",
    "__import__('os')",
    "é日",
)
EXTREME: tuple[Any, ...] = (
    *(None, True, False, *NUMBERS, *FLOATS, *TEXTS),
    *([], {}, [[]], [None], {"": None}, [0] * 1000, {"$ref": "http://example.com"}, [[[[[[[[0]]]]]]]]),
)


@dataclass
class Guard:
    """Records forbidden events of Python's auditing."""

    active: bool = False
    violations: list[str] = field(default_factory=list)

    def __call__(self, event: str, arguments: tuple[Any, ...]) -> None:
        if not self.active:
            return
        flags = arguments[2] if event == "open" else 0
        writes = isinstance(flags, int) and bool(flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT))
        if event.startswith(FORBIDDEN) or writes:
            self.violations.append(f"{event} {arguments!r}"[:200])


GUARD = Guard()
sys.addaudithook(GUARD)  # stays for the rest of the process, and does nothing outside `guarded`


@contextmanager
def guarded(what: str) -> Iterator[None]:
    """Fail if the block does what no reader may do."""
    started, GUARD.active = time.process_time(), True
    try:
        yield
    except InputError:
        raise
    except Exception as error:  # noqa: BLE001 - any other error is a failure, which the message describes
        pytest.fail(f"{what}: {type(error).__name__}: {str(error)[:500]}")
    finally:
        GUARD.active = False
    assert not GUARD.violations, f"{what}: {GUARD.violations}"
    assert time.process_time() - started < 10, what
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss < 2 * 2**20, what  # in KiB


def fuzz(
    kind: str,
    mutate: Callable[[random.Random], str],
    read: Callable[[], object],
    *,
    num_mutations: int = NUM_MUTATIONS,
) -> dict[str, int]:
    """Mutate a file and read it, many times. Print and return how many mutations were refused and accepted.

    Args:
        kind: names the seed.
        mutate: writes a mutated file and describes the mutation.
        read: reads the file, and asserts that what it read is harmless.
        num_mutations: how often.
    """
    read()  # the original is accepted; and what is imported late is imported before the guard
    drawn, refused = random.Random(kind), 0
    for number in range(num_mutations):
        what = f"mutation {number} of {kind}: {mutate(drawn)}"
        try:
            with guarded(what):
                read()
        except InputError as error:
            refused += 1
            message = str(error)
            assert len(message) < 1000, f"{what}: {message[:2000]}"
    counts = {"refused": refused, "accepted": num_mutations - refused}
    print(f"\n{kind}: {counts}")
    return counts


def changed_bytes(content: bytes, drawn: random.Random) -> tuple[bytes, str]:
    """Change some bytes of a file: flip, overwrite, remove, repeat, insert, or truncate."""
    data = bytearray(content)
    at = drawn.randrange(len(data)) if drawn.random() < 0.5 else drawn.randrange(min(len(data), 256))
    length = drawn.choice((1, 2, 8, 64))
    how = drawn.choice(("flip", "overwrite", "remove", "repeat", "insert", "truncate", "append", "number"))
    match how:
        case "flip":
            data[at] ^= 1 << drawn.randrange(8)
        case "overwrite":
            data[at : at + length] = drawn.choice((b"\0", b"\xff", b"\x7f", b"9")) * len(data[at : at + length])
        case "remove":
            del data[at : at + length]
        case "repeat":
            data[at:at] = data[at : at + length] * drawn.choice((1, 100))
        case "insert":
            data[at:at] = drawn.randbytes(length)
        case "truncate":
            del data[at:]
        case "append":
            data += drawn.randbytes(length)
        case _:
            data[at : at + 1] = str(drawn.choice(NUMBERS)).encode()
    return bytes(data), f"{how} {length} at {at}"


def changed_json(content: Any, drawn: random.Random) -> tuple[str, str]:
    """Change one value, or one key, anywhere in a JSON file."""
    copied = json.loads(json.dumps(content))
    places = [*_places(copied)]
    holder, key = drawn.choice(places)
    how = drawn.choice(("replace", "replace", "replace", "remove", "repeat", "rename", "nest"))
    value = drawn.choice(EXTREME)
    if how == "remove":
        del holder[key]
    elif how == "repeat" and isinstance(holder, list):
        holder.insert(key, holder[key])
    elif how == "rename" and isinstance(holder, dict):
        holder[drawn.choice(TEXTS)] = holder.pop(key)
    elif how == "nest":
        depth = drawn.choice((1, 70, 400))
        for _ in range(depth):
            value = [value] if drawn.random() < 0.5 else {"a": value}
        holder[key] = value
    else:
        holder[key] = value
    return json.dumps(copied, ensure_ascii=drawn.random() < 0.5), f"{how} {key!r} by {str(value)[:60]}"


def _places(content: Any) -> Iterator[tuple[Any, Any]]:
    items = content.items() if isinstance(content, dict) else enumerate(content) if isinstance(content, list) else ()
    for key, value in list(items):
        yield content, key
        yield from _places(value)
