"""Runs that are killed at random moments, and resumed until they end, equal uninterrupted ones bit for bit.

`CAPTIONING_KILLS=100 pytest -m slow tests/training/test_kills.py -s` kills 100 times; the default is 8. A report of the
moments and of the work lost is printed, and written to the folder `CAPTIONING_KILLS_REPORT` if it is set.
"""

from __future__ import annotations

import csv
import json
import os
import random
import shutil
import signal
import socket
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from captioning.encoders import SmallCNN

pytestmark = pytest.mark.slow

Start = Callable[..., int]
NUM_KILLS = int(os.environ.get("CAPTIONING_KILLS", "8"))
EPOCHS, STEPS = 3, 8  # of an epoch
TINY = (
    "encoder.size=[16,16]", "encoder.channels=[8,16]", "decoder.hidden_size=12", "decoder.embedding_size=10",
    "search.max_length=6", "metrics.names=[BLEU,CIDEr]", f"trainer.max_epochs={EPOCHS}", "trainer.accelerator=cpu",
    "trainer.log_every_n_steps=1", "+trainer.enable_progress_bar=false", "callbacks.progress=null", "logger=csv",
    "data.eval_batch_size=2", "callbacks.checkpoint.every_minutes=0.01", "resume=auto",
)  # fmt: skip
KINDS: dict[str, tuple[str, ...]] = {
    "cached": ("finetuning=frozen", "schedule=plateau", "schedule.patience=0", "data.batch_size=3"),
    "images": ("finetuning=whole", "data.num_workers=2", "schedule=warmup_cosine", "data.batch_size=3"),
    "fine-tuned": ("finetuning=whole", "finetuning.from_epoch=1", "schedule=step", "schedule.step_size=1",
                   "trainer.check_val_every_n_epoch=2", "+trainer.accumulate_grad_batches=2", "data.batch_size=3"),
    "two processes": ("finetuning=whole", "trainer.devices=2", "+trainer.strategy=ddp", "data.batch_size=2"),
}  # fmt: skip


@dataclass(frozen=True)
class Kill:
    """One kill: when, and what it cost."""

    kind: str
    moment: str
    steps: int
    steps_lost: int
    seconds_lost: float


@pytest.fixture(scope="module")
def data(scenes: Path, forked: Start, tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[str, ...]]:
    """The overrides that name each kind's data: images, or an untrained encoder's cached features of them."""
    folder = tmp_path_factory.mktemp("features")
    torch.manual_seed(0)
    save_file(SmallCNN((16, 16), channels=(8, 16)).state_dict(), folder / "encoder.safetensors")
    weights = f"encoder.weights={folder / 'encoder.safetensors'}"
    encoder = ("encoder=small_cnn", "encoder.size=[16,16]", "encoder.channels=[8,16]", weights)
    arguments = ("extract", "data=scenes", f"data.root={scenes}", *encoder, f"features={folder}/store", "device=cpu")
    wait([forked(arguments, folder / "extract.txt")], folder / "extract")
    root = f"data.root={scenes}"
    return {**dict.fromkeys(KINDS, (root,)), "cached": (root, weights, f"data.features={folder / 'store'}")}


def start_run(start: Start, kind: str, given: Sequence[str], run: Path) -> list[int]:
    """Start the processes of a run."""
    arguments = ("train", "data=scenes", *TINY, *KINDS[kind], *given, f"output={run}")
    if kind != "two processes":
        return [start(arguments, run.with_suffix(".txt"))]
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    return [start(arguments, run.with_suffix(f".{rank}.txt"), rank=rank, port=port) for rank in (0, 1)]


def wait(pids: Sequence[int], run: Path) -> None:
    """Wait for the end of a run's processes."""
    for pid in pids:
        assert os.waitpid(pid, 0)[1] == 0, "\n".join(p.read_text()[-3000:] for p in run.parent.glob(f"{run.stem}*.txt"))


def kill(pids: Sequence[int]) -> None:
    for pid in pids:
        os.kill(pid, signal.SIGKILL)
    for pid in pids:
        os.waitpid(pid, 0)


def logged(run: Path) -> dict[tuple[str, int, str], str]:
    """All logged values, of all versions of the CSV logs, by kind, step and name."""
    values: dict[tuple[str, int, str], str] = {}
    for path in sorted((run / "csv").glob("version_*/metrics.csv"), key=lambda p: int(p.parent.name.partition("_")[2])):
        with path.open(newline="") as file:
            for row in csv.DictReader(file):
                if not row.get("step"):
                    continue  # the line at which the process was killed
                values |= {("", int(row["step"]), name): value for name, value in row.items() if value and name}
    return values


def moment(run: Path, steps: int) -> str:
    """What the process did when it was killed, as far as the folder shows it."""
    unfinished = [p.name for p in run.rglob(".*") if p.name not in (".hydra", ".lock") and ".hydra" not in p.parts]
    for name in unfinished:
        return (
            "writing a checkpoint"
            if ".ckpt" in name
            else "writing the bundle"
            if "bundle" in name
            else "writing results"
        )
    if (run / "bundle").exists():
        return "after its end"
    if not (run / "checkpoints").exists() and not steps:
        return "before its first step"
    whole = steps and (steps % STEPS == 0 or steps >= EPOCHS * STEPS)
    return "validation, epoch's end or start" if whole else "within an epoch"


def compare(run: Path, whole: Path) -> None:
    """Check that two runs' weights, optimizers, results and logs are equal bit for bit."""
    last, expected = (torch.load(r / "checkpoints" / "last.ckpt", weights_only=True) for r in (run, whole))
    for key in ("state_dict", "optimizer_states", "lr_schedulers", "global_step"):
        assert same(last[key], expected[key]), key
    best, other = (load_file(r / "bundle" / "model.safetensors") for r in (run, whole))
    assert same(best, other)
    for name in ("metrics.json", "captions.json", "per_image.csv"):
        assert (run / name).read_bytes() == (whole / name).read_bytes(), name
    one, two = logged(run), logged(whole)
    assert {key: one.get(key) for key in {**one, **two}} == {key: two.get(key) for key in {**one, **two}}


def same(one: Any, two: Any) -> bool:
    if isinstance(one, torch.Tensor):
        return torch.equal(one, two)
    if isinstance(one, dict):
        return one.keys() == two.keys() and all(same(one[key], two[key]) for key in one)
    if isinstance(one, list | tuple):
        return len(one) == len(two) and all(map(same, one, two))
    return bool(one == two)


@pytest.mark.parametrize("kind", KINDS)
def test_a_killed_and_resumed_run_equals_an_uninterrupted_one(
    kind: str, data: dict[str, tuple[str, ...]], forked: Start, tmp_path: Path
) -> None:
    whole, randomly = tmp_path / "whole", random.Random(f"{kind} {os.environ.get('CAPTIONING_SEED', '0')}")
    begun = time.monotonic()
    wait(start_run(forked, kind, data[kind], whole), whole)
    duration = time.monotonic() - begun
    kills: list[Kill] = []
    wanted = max(1, NUM_KILLS // len(KINDS) + (list(KINDS).index(kind) < NUM_KILLS % len(KINDS)))
    number = 0
    while len(kills) < wanted:
        run, number = tmp_path / f"run{number}", number + 1
        for _ in range(min(3, wanted - len(kills))):
            pids = start_run(forked, kind, data[kind], run)
            if randomly.random() < 0.3:
                wait_for_writing(run, randomly, duration)
            else:
                time.sleep(randomly.uniform(0, duration))
            kill(pids)
            kills.append(of_kill(kind, run))
            if kills[-1].moment == "after its end":
                break
        wait(start_run(forked, kind, data[kind], run), run)
        compare(run, whole)
        shutil.rmtree(run)
    report(kills, duration)


def wait_for_writing(run: Path, randomly: random.Random, duration: float) -> None:
    """Wait until a file is being written: at a random sighting, which may never come."""
    end, sightings = time.monotonic() + duration, randomly.randrange(1, 60)
    while time.monotonic() < end and sightings:
        names = [p.name for folder in (run, run / "checkpoints") if folder.is_dir() for p in folder.iterdir()]
        sightings -= any(name.endswith(".unfinished") or name.startswith(".bundle") for name in names)
        time.sleep(0.0005)


def of_kill(kind: str, run: Path) -> Kill:
    steps = max((step for _, step, name in logged(run) if name == "train/loss"), default=-1) + 1
    last = run / "checkpoints" / "last.ckpt"
    saved = torch.load(last, weights_only=True)["loops"]["fit_loop"] if last.exists() else None
    done = saved["epoch_loop.state_dict"]["_batches_that_stepped"] if saved else 0
    since = time.time() - (
        last.stat().st_mtime if last.exists() else run.stat().st_ctime if run.exists() else time.time()
    )
    return Kill(kind, moment(run, steps), steps, max(0, steps - done - 1), since)


def report(kills: Sequence[Kill], duration: float) -> None:
    lost = [k.steps_lost for k in kills]
    moments = ", ".join(f"{name}: {n}" for name, n in Counter(k.moment for k in kills).most_common())
    print(
        f"\n{kills[0].kind}: {len(kills)} of {len(kills)} equal; {duration:.1f} s uninterrupted; steps lost: mean "
        f"{sum(lost) / len(lost):.2f}, most {max(lost)} of {EPOCHS * STEPS}; {moments}"
    )
    if folder := os.environ.get("CAPTIONING_KILLS_REPORT"):
        name = f"kills-{kills[0].kind.replace(' ', '-')}.json"
        (Path(folder) / name).write_text(json.dumps([asdict(k) for k in kills], indent=1) + "\n")
