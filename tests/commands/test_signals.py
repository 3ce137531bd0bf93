"""How each command ends at each signal: its exit status, its message, and the files that remain."""

from __future__ import annotations

import json
import os
import re
import shlex
import signal
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

pytestmark = pytest.mark.slow

Start = Callable[..., int]
SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
TINY = (
    "data=scenes", "encoder.size=[16,16]", "encoder.channels=[8,16]", "finetuning=whole", "decoder.hidden_size=12",
    "decoder.embedding_size=10", "search.max_length=6", "metrics.names=[BLEU,CIDEr]", "trainer.accelerator=cpu",
    "+trainer.enable_progress_bar=false", "callbacks.progress=null", "callbacks.early_stopping=null", "logger=csv",
    "data.batch_size=2", "trainer.check_val_every_n_epoch=3",
)  # fmt: skip


def ended(pid: int, *, within: float = 60) -> int:
    """The exit status of a process; it is killed if it does not end."""
    end = time.monotonic() + within
    while time.monotonic() < end:
        found, status = os.waitpid(pid, os.WNOHANG)
        if found:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.01)
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    raise AssertionError("the process did not end")


def stop(pid: int, number: int, when: Callable[[], object], said: Path, *, within: float = 60) -> tuple[int, str]:
    """Send a signal as soon as `when` holds; return the exit status and the last lines that were printed."""
    end = time.monotonic() + within
    while not when() and time.monotonic() < end:
        time.sleep(0.005)
    os.kill(pid, number)
    status, text = ended(pid), said.read_text()
    assert "Traceback" not in text, text
    assert text.count("stopped by") == 1, text
    assert f"stopped by {signal.Signals(number).name}" in text
    return status, text[text.index("stopped by") :]


def print_row(command: str, number: int, status: int, folder: Path) -> None:
    """Print a row of the table of all commands and signals, for `pytest -s`."""
    files = (
        sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()) if folder.exists() else []
    )
    shown = [name for name in files if ".hydra" not in name]
    print(f"\n| {command} | {signal.Signals(number).name} | {status} | {', '.join(shown) or 'no file'} |")


def unfinished(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if "unfinished" in path.name]


@pytest.mark.parametrize("number", SIGNALS)
def test_training_saves_and_prints_the_command_that_resumes_it(
    number: int, scenes: Path, forked: Start, tmp_path: Path
) -> None:
    run, said = tmp_path / "a b[1],{y}", tmp_path / "said"
    given = ["train", *TINY, f"data.root={scenes}", "trainer.max_epochs=400", f"output='{run}'"]
    last = run / "checkpoints" / "last.ckpt"
    status, text = stop(forked(given, said), number, last.exists, said)
    print_row("train", number, status, run)
    assert status == 128 + number
    assert not unfinished(run)
    steps = int(re.findall(r"after (\d+) steps", text)[0])
    assert torch.load(last, weights_only=True)["global_step"] == steps
    command = shlex.split(text.splitlines()[1])
    assert command[:2] == ["captioning", "train"]
    epochs = f"trainer.max_epochs={steps // 12 + 2}"
    again = tmp_path / "again"
    assert ended(forked([*command[1:], epochs], again)) == 0, again.read_text()
    assert f"after {steps} steps" in again.read_text()
    assert (run / "bundle").is_dir()


def test_a_signal_in_the_middle_of_an_epoch_or_of_a_validation_changes_nothing(
    scenes: Path, forked: Start, tmp_path: Path
) -> None:
    run, whole = tmp_path / "run", tmp_path / "whole"
    given = ["train", *TINY, f"data.root={scenes}", "trainer.max_epochs=6", "data.eval_batch_size=1", "resume=auto"]
    given += ["trainer.log_every_n_steps=1"]
    assert ended(forked([*given, f"output={whole}"], tmp_path / "said")) == 0
    for n in range(12):
        said = tmp_path / f"said{n}"
        pid = forked([*given, f"output={run}"], said)
        begun = time.monotonic()
        while not said.exists() or ("steps" not in said.read_text() and time.monotonic() - begun < 2):
            time.sleep(0.01)
        time.sleep(0.05 * n)
        os.kill(pid, signal.SIGTERM)
        status = ended(pid)
        assert status in (0, 143), said.read_text()
        assert "Traceback" not in said.read_text()
        if status == 0:
            break
    assert ended(forked([*given, f"output={run}"], tmp_path / "said")) == 0, (tmp_path / "said").read_text()
    for name in ("metrics.json", "captions.json"):
        assert (run / name).read_bytes() == (whole / name).read_bytes()
    one, two = (torch.load(r / "checkpoints" / "last.ckpt", weights_only=True) for r in (run, whole))
    assert all(torch.equal(one["state_dict"][key], two["state_dict"][key]) for key in two["state_dict"])


@pytest.mark.parametrize("number", SIGNALS)
def test_a_sweep_stops_and_lists_the_runs_that_remain(number: int, scenes: Path, forked: Start, tmp_path: Path) -> None:
    said, folder = tmp_path / "said", tmp_path / "sweep"
    given = ["train", "-m", *TINY, f"data.root={scenes}", "trainer.max_epochs=3", "seed=1,2,3", f"output={folder}"]
    status, text = stop(forked(given, said), number, (folder / "1" / "checkpoints" / "last.ckpt").exists, said)
    print_row("train -m", number, status, folder)
    assert status == 128 + number
    assert "run 1 was stopped, and these remain:\n  2: " in text
    assert "seed=3" in text
    command = shlex.split(text.splitlines()[1])
    again = tmp_path / "again"
    assert ended(forked(command[1:], again), within=120) == 0, again.read_text()
    assert all((folder / run / "bundle").is_dir() for run in "012")
    assert len((folder / "sweep.csv").read_text().splitlines()) == 4


@pytest.fixture(scope="module")
def bundle(scenes: Path, forked: Start, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("run")
    given = ["train", *TINY, f"data.root={scenes}", "trainer.max_epochs=1", f"output={folder}/run"]
    assert ended(forked(given, folder / "said")) == 0, (folder / "said").read_text()
    return folder / "run" / "bundle"


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """So many images that every command takes seconds."""
    folder = tmp_path_factory.mktemp("images")
    for n in range(1500):
        Image.new("RGB", (64, 48), (n % 256, 90, 30)).save(folder / f"{n:04}.png")
    entries = [{"image_id": n, "caption": f"a photo of number {n} in the sun"} for n in range(1500)]
    images = [{"id": n, "file_name": f"{n:04}.png"} for n in range(1500)]
    annotations = [
        {"id": 5 * n + k, "image_id": n, "caption": f"a number {n + k}"} for n in range(1500) for k in range(5)
    ]
    (folder / "results.json").write_text(json.dumps(entries))
    (folder / "references.json").write_text(json.dumps({"images": images, "annotations": annotations}))
    return folder


def commands(bundle: Path, scenes: Path, many: Path, out: Path) -> dict[str, Sequence[Any]]:
    return {
        "evaluate": ["evaluate", f"bundle={bundle}", "data=scenes", f"data.root={scenes}", f"output={out}",
                     "data.eval_batch_size=1", "trainer.accelerator=cpu", "+trainer.enable_progress_bar=false"],
        "extract": ["extract", "data=scenes", f"data.root={scenes}", "encoder=resnet50", "encoder.weights=null",
                    f"features={out}", "batch_size=1", "device=cpu"],
        "caption": ["caption", many, "--model", bundle],
        "score": ["score", many / "references.json", many / "results.json", "--json", out],
    }  # fmt: skip


@pytest.mark.parametrize("number", SIGNALS)
@pytest.mark.parametrize("name", ["evaluate", "extract", "caption", "score"])
def test_other_commands_end_with_the_signal_s_status_and_one_message(
    name: str, number: int, bundle: Path, scenes: Path, many: Path, forked: Start, tmp_path: Path
) -> None:
    said, out = tmp_path / "said", tmp_path / "out"
    arguments = list(map(str, commands(bundle, scenes, many, out)[name]))
    begun = time.monotonic()
    status, _ = stop(forked(arguments, said), number, lambda: time.monotonic() - begun > 0.3, said)
    print_row(name, number, status, out)
    assert status == 128 + number
    assert not unfinished(tmp_path)
