"""Thousands of damaged and hostile bundles: each is refused with one message, or is harmless.

`CAPTIONING_FUZZ` sets the number of mutations of each kind of bundle.
"""

from __future__ import annotations

import collections
import dataclasses
import json
import math
import os
import random
import shutil
import struct
import sys
import sysconfig
import time
import typing
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from captioning import Captioner
from captioning.errors import InputError
from captioning.files.digests import write_digests
from captioning.model.bundle import FILES
from captioning.model.check import check_bundle
from captioning.model.golden import Golden

FIXTURES = Path(__file__).parents[1] / "fixtures"
NUM_MUTATIONS = int(os.environ.get("CAPTIONING_FUZZ", "1000"))
DEEP = "\ue000"  # stands for lists that are nested ten thousand times
HUGE = "\ue001"  # stands for a number of five thousand digits
EXTREME: list[Any] = [
    *(None, True, False, -1, 0, 1, 2, 3, 0.5, 3.5, 1e308, -1e308, 1e-320, math.nan, math.inf, -math.inf),
    *(97, 4096, 8000, 16_000, 20_000, 10**6, 10**7, 10**8, 2**31, 2**63 - 1, 2**63, 2**64, 10**30, -(2**63)),
    *("", "x", "x" * 10_000, "\0", "../../../etc/passwd", "__import__('os').system('id')", "http://example.com/a.pth"),
    *([], {}, [[]], {"": {}}, [0] * 1000, {"_target_": "os.system"}, {"_target_": "captioning.recurrent.GRU"}),
    {"_target_": "captioning.recurrent.LSTM", "_partial_": True, "num_layers": 20_000},
    {"_target_": "captioning.search.Forbid", "ids": [10**6]},
    *(DEEP, HUGE),
]


@dataclass
class Guard:
    """Records what no loaded file may do: start programs, open sockets, write files, run or import foreign code."""

    active: bool = False
    violations: list[str] = field(default_factory=list)

    def __call__(self, event: str, arguments: tuple[Any, ...]) -> None:
        if not self.active:
            return
        if event.startswith(
            ("socket.", "subprocess.", "os.system", "os.exec", "os.posix_spawn", "os.fork", "ctypes.dlo")
        ):
            self.violations.append(f"{event} {arguments!r}"[:200])
        if event == "exec" and not str(arguments[0].co_filename).startswith(self.known):
            caller = sys._getframe(1).f_code.co_filename
            if caller not in self.makers:
                self.violations.append(f"exec of {arguments[0].co_filename} by {caller}")
        if event == "open" and isinstance(arguments[2], int) and arguments[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT):
            self.violations.append(f"open {arguments!r}"[:200])

    # The standard library makes classes by `exec`, and evaluates the annotations in this package's own code.
    makers = (dataclasses.__file__, collections.__file__, typing.__file__)
    known = (sysconfig.get_path("purelib"), sysconfig.get_path("stdlib"), str(Path(__file__).parents[2]), "<frozen")


GUARD = Guard()


@pytest.fixture(scope="module", autouse=True)
def audited() -> None:
    sys.addaudithook(GUARD)  # stays for the rest of the process, and does nothing outside this file


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["cached", "attentive", "translator", "language_model"])
def test_a_mutated_bundle_is_refused_in_one_message_or_is_harmless(kind: str, tmp_path: Path) -> None:
    original = Captioner.from_pretrained(FIXTURES / kind / "bundle").save(tmp_path / "original")
    check_bundle(original)
    golden = Golden.read(original)
    assert golden is not None
    use(Captioner.from_pretrained(original))
    import timm  # noqa: F401 - imported before the guard, which would see its cached bytecode written
    import torchvision  # noqa: F401

    drawn, counts, slowest = random.Random(f"bundle {kind}"), Counter[str](), 0.0
    reset_peak()
    for number in range(NUM_MUTATIONS):
        folder = tmp_path / "mutated"
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(original, folder)
        what = mutate(folder, drawn)
        same_digests = number % 2 == 0
        if not same_digests:
            write_digests(folder)
        started = time.process_time()
        GUARD.active = True
        try:
            counts[outcome(folder, golden, new_digests=not same_digests)] += 1
        except Exception as error:  # noqa: BLE001 - any other error is a failure, which the message describes
            pytest.fail(f"mutation {number} of {kind}, {what}: {type(error).__name__}: {str(error)[:500]}")
        finally:
            GUARD.active = False
        seconds = time.process_time() - started
        slowest = max(slowest, seconds)
        assert not GUARD.violations, f"mutation {number} of {kind}, {what}: {GUARD.violations}"
        assert seconds < 10, f"mutation {number} of {kind}, {what}: {seconds:.1f} s"
        assert peak() < 2 * 2**30, f"mutation {number} of {kind}, {what}: {peak() / 2**30:.1f} GiB"
    print(f"\n{kind}: {dict(counts)} of {NUM_MUTATIONS}, slowest {slowest:.2f} s, peak {peak() / 2**20:.0f} MiB")
    assert counts["refused"] > NUM_MUTATIONS / 2
    assert sum(counts.values()) == NUM_MUTATIONS


def outcome(folder: Path, golden: Golden, *, new_digests: bool) -> str:
    """Load a bundle and use it: what became of it."""
    try:
        captioner = Captioner.from_pretrained(folder)
    except InputError as error:
        assert len(str(error)) < 1000
        return "refused"
    try:
        use(captioner)
        golden.check(captioner.decode_features(golden.features), "the original")
    except InputError:
        assert new_digests, "a change that the digests must show gives other captions"
        with pytest.raises(InputError):
            check_bundle(folder)
        return "other captions, found by check"
    return "same captions"


def use(captioner: Captioner) -> None:
    """Run the model on an input of its kind."""
    if captioner.encoder.reads == "texts":
        captioner.translate("Ein Hund läuft über eine Wiese.")
    elif captioner.encoder.reads == "images":
        captioner.caption(Image.new("RGB", (40, 30), "red"))


def mutate(folder: Path, drawn: random.Random) -> str:
    """Change one file of a bundle, and return what was changed."""
    names = sorted(path.name for path in folder.iterdir())
    path = folder / drawn.choice([*names, *FILES, *FILES])  # twice more often what loading reads
    ways: list[Callable[[Path, random.Random], str]] = [flip, overwrite, cut, insert, remove]
    if path.suffix == ".json":
        ways += [change_json] * 12
    if path.suffix == ".safetensors":
        ways += [change_header] * 4
    way = drawn.choice(ways)
    return f"{path.name}: {way.__name__} {way(path, drawn)}"


def flip(path: Path, drawn: random.Random) -> str:
    content = bytearray(path.read_bytes())
    bits = [drawn.randrange(8 * len(content)) for _ in range(drawn.choice([1, 1, 1, 8, 100]))]
    for bit in bits:
        content[bit // 8] ^= 1 << bit % 8
    path.write_bytes(content)
    return f"bits {bits[:8]}"


def overwrite(path: Path, drawn: random.Random) -> str:
    content = bytearray(path.read_bytes())
    at, length = drawn.randrange(len(content)), drawn.choice([1, 4, 64])
    content[at : at + length] = drawn.choice([b"\0", b"\xff", b"[", b"9", drawn.randbytes(1)]) * length
    path.write_bytes(content)
    return f"{length} bytes at {at}"


def cut(path: Path, drawn: random.Random) -> str:
    content = path.read_bytes()
    length = drawn.choice([0, 1, 7, 8, 9, drawn.randrange(len(content))])
    path.write_bytes(content[:length])
    return f"to {length} bytes"


def insert(path: Path, drawn: random.Random) -> str:
    content = path.read_bytes()
    at, length = drawn.randrange(len(content)), drawn.choice([1, 8, 1000])
    path.write_bytes(content[:at] + drawn.randbytes(length) + content[at:])
    return f"{length} bytes at {at}"


def remove(path: Path, _drawn: random.Random) -> str:
    path.unlink()
    return ""


def change_json(path: Path, drawn: random.Random) -> str:
    """Change values of a JSON file; a tokenizer inside of a transform too."""
    content = json.loads(path.read_text(encoding="utf-8"))
    if path.name == "transform.json" and "tokenizer" in content and drawn.random() < 0.7:
        inside = json.loads(content["tokenizer"])
        what = change_values(inside, drawn)
        content["tokenizer"] = dumps(inside)
    else:
        what = change_values(content, drawn)
    path.write_text(dumps(content), encoding="utf-8", errors="surrogatepass")
    return what


def change_header(path: Path, drawn: random.Random) -> str:
    """Change the JSON at the start of a safetensors file."""
    content = path.read_bytes()
    (length,) = struct.unpack("<Q", content[:8])
    header = json.loads(content[8 : 8 + length])
    name = drawn.choice(sorted(header))
    what = drawn.choice(["dtype", "shape", "any"])
    if what == "dtype" and name != "__metadata__":
        header[name]["dtype"] = drawn.choice(["F16", "BF16", "F64", "I32", "I64", "U8", "BOOL", "F8_E4M3", "X"])
    elif what == "shape" and name != "__metadata__":
        header[name]["shape"] = drawn.choice([header[name]["shape"][::-1], [*header[name]["shape"], 1], [2**40], []])
    else:
        what = change_values(header, drawn)
    new = dumps(header).encode("utf-8", errors="replace")
    path.write_bytes(struct.pack("<Q", len(new)) + new + content[8 + length :])
    return f"{name} {what}"


def change_values(content: Any, drawn: random.Random) -> str:
    """Replace, remove, rename or add one or two values at any depth."""
    changes = []
    for _ in range(drawn.choice([1, 1, 1, 2])):
        places = list(places_of(content))
        if not places:
            break
        # Deep places are rare in files of a few large lists: choose among the containers first.
        holder, key = drawn.choice(places) if drawn.random() < 0.5 else drawn.choice(places[:40])
        how = drawn.choice(["replace", "replace", "replace", "remove", "rename", "number"])
        value = drawn.choice(EXTREME)
        changes.append(f"{how} {str(key)[:40]!r} {repr(value)[:60]}")
        if how == "remove":
            del holder[key]
        elif how == "rename" and isinstance(holder, dict):
            holder[drawn.choice(["", "_target_", "weights", f"{key}x"])] = holder.pop(key)
        elif how == "number" and type(holder[key]) in (int, float):
            holder[key] = drawn.choice([holder[key] + 1, holder[key] - 1, -holder[key], holder[key] * 1000, 0.1])
        else:
            holder[key] = value
    return "; ".join(changes)


def places_of(content: Any) -> Iterator[tuple[Any, Any]]:
    """Yield each container with each of its keys or indices, those near the root first."""
    level = [content]
    while level:
        below = []
        for holder in level:
            keys = list(holder) if isinstance(holder, dict) else range(len(holder))
            for key in keys:
                yield holder, key
                if isinstance(holder[key], (dict, list)):
                    below.append(holder[key])
        level = below


def dumps(content: Any) -> str:
    text = json.dumps(content)
    return text.replace(json.dumps(DEEP), "[" * 10_000 + "]" * 10_000).replace(json.dumps(HUGE), "9" * 5000)


def reset_peak() -> None:
    """Start to measure the largest resident memory anew, on Linux."""
    if Path("/proc/self/clear_refs").exists():
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")


def peak() -> int:
    """The largest resident memory since then, in bytes; 0 on systems without /proc."""
    status = Path("/proc/self/status")
    lines = status.read_text(encoding="ascii").splitlines() if status.exists() else []
    return sum(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM"))
