"""Runs that resume: by themselves, in another folder, with other settings, after their end."""

from __future__ import annotations

import csv
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from itertools import count
from pathlib import Path
from typing import Any

import pytest
import torch
from hydra.core.override_parser.overrides_parser import OverridesParser
from safetensors.torch import load_file

from captioning.commands._resume import check_same_sweep, hydra_value, remaining_runs, resume_command
from captioning.errors import InputError, Stopped
from captioning.training.captioning import CaptioningModule
from captioning.training.checkpoints import write_with_digest

TINY = (
    "encoder.size=[16,16]", "encoder.channels=[8,16]", "decoder.hidden_size=12", "decoder.embedding_size=10",
    "search.max_length=6", "trainer.accelerator=cpu", "trainer.log_every_n_steps=1",
    "+trainer.enable_progress_bar=false", "callbacks.progress=null", "logger=csv",
)  # fmt: skip
Command = Callable[..., Any]
WHOLE = "finetuning=whole"


def state(run: Path, name: str = "last") -> Any:
    return torch.load(run / "checkpoints" / f"{name}.ckpt", weights_only=True)


def weights(run: Path) -> dict[str, torch.Tensor]:
    return load_file(run / "bundle" / "model.safetensors")


def equal(one: dict[str, torch.Tensor], two: dict[str, torch.Tensor]) -> bool:
    return one.keys() == two.keys() and all(torch.equal(one[key], two[key]) for key in one)


@pytest.fixture
def copied(run_folder: Path, tmp_path: Path) -> Path:
    """A copy of a finished run of two epochs, as if it had been moved."""
    shutil.copytree(run_folder, tmp_path / "moved")
    return tmp_path / "moved"


# ---- resume=auto ------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_auto_starts_a_run_and_then_resumes_it_and_says_when_nothing_is_left(
    train: Command, run_folder: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    run = tmp_path / "run"
    assert train(run, WHOLE, "trainer.max_epochs=1", "resume=auto").status == 0
    assert train(run, WHOLE, "trainer.max_epochs=2", "resume=auto").status == 0
    assert equal(weights(run), weights(run_folder))
    assert equal(state(run)["state_dict"], state(run_folder)["state_dict"])
    for name in ("metrics.json", "captions.json"):
        assert (run / name).read_bytes() == (run_folder / name).read_bytes()
    assert json.loads((run / "training.json").read_text())["epochs"] == 2
    before = (run / "bundle" / "model.safetensors").stat().st_mtime_ns
    assert train(run, WHOLE, "trainer.max_epochs=2", "resume=auto").status == 0
    assert "nothing is left to train or to evaluate" in (run / "train.log").read_text()
    assert (run / "bundle" / "model.safetensors").stat().st_mtime_ns == before


def test_a_run_that_was_killed_before_its_evaluation_is_only_evaluated(train: Command, copied: Path) -> None:
    before = weights(copied)
    shutil.rmtree(copied / "bundle")
    assert train(copied, WHOLE, "trainer.max_epochs=2", "resume=auto").status == 0
    assert "nothing is left to train:" in (copied / "train.log").read_text()
    assert equal(weights(copied), before)


def test_a_damaged_last_checkpoint_falls_back_to_another_one(train: Command, copied: Path, run_folder: Path) -> None:
    last = copied / "checkpoints" / "last.ckpt"
    last.write_bytes(last.read_bytes()[:-100])
    shutil.rmtree(copied / "bundle")
    ran = train(copied, WHOLE, "trainer.max_epochs=2", "resume=auto")
    assert ran.status == 0, ran.err
    assert "last.ckpt is damaged" in (copied / "train.log").read_text()
    assert equal(weights(copied), weights(run_folder))


def changed(run: Path, place: tuple[Any, ...], value: Any) -> Path:
    """A run's last checkpoint, with another value and a right digest. Names of callbacks may be shortened."""
    last = run / "checkpoints" / "last.ckpt"
    holder = saved = torch.load(last, weights_only=True)
    for key in place[:-1]:
        holder = holder[next((own for own in holder if str(own).startswith(key)), key) if isinstance(key, str) else key]
    holder[place[-1]] = value
    write_with_digest(last, lambda new: torch.save(saved, new))
    return last


@pytest.mark.parametrize(
    ("place", "error"),
    [
        (("loops", "fit_loop", "epoch_progress", "current", "processed"), "TypeError"),
        (("callbacks", "Checkpoints", "best", 0, "score"), "ValueError"),
    ],
)
def test_values_that_cannot_be_restored_are_reported_in_one_message(
    train: Command, copied: Path, place: tuple[Any, ...], error: str
) -> None:
    last = changed(copied, place, "two")
    message = train(copied, WHOLE, "trainer.max_epochs=3", f"checkpoint={last}", "resume=auto").message
    assert f"{last} cannot be resumed from ({error}: " in message


@pytest.mark.parametrize(
    ("place", "value"),
    [
        (("lr_schedulers", 0, "_step_count"), {}),
        (("optimizer_states", 0, "param_groups", 0, "lr"), None),
        (("optimizer_states", 0, "state", 1, "exp_avg"), "x"),
        (("loops", "fit_loop", "epoch_progress", "total", "processed"), [[]]),
        (("callbacks", "Timer", "time_elapsed", "train"), "x"),
        (("callbacks", "EarlyStopping", "best_score"), "x"),
    ],
)
def test_a_value_that_training_cannot_compute_with_is_refused_before_the_first_step(
    train: Command, copied: Path, place: tuple[Any, ...], value: Any
) -> None:
    before = state(copied)["global_step"]
    last = changed(copied, place, value)
    message = train(copied, WHOLE, "trainer.max_epochs=3", "resume=auto").message
    assert f"{last} cannot be resumed from: {place[0]}" in message
    assert f"{place[-1]} is {value}, expected" in message
    assert state(copied)["global_step"] == before


def test_a_job_that_slurm_starts_again_resumes(train: Command, copied: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLURM_RESTART_COUNT", "1")
    assert train(copied, WHOLE, "trainer.max_epochs=2").status == 0


def test_another_value_of_resume_is_refused(train: Command, tmp_path: Path) -> None:
    assert "resume=yes: expected auto" in train(tmp_path / "run", "resume='yes'").message


def test_a_folder_that_another_process_writes_is_refused(train: Command, tmp_path: Path) -> None:
    code = "import sys; from captioning.files.lock import locked\nwith locked(sys.argv[1]): print(flush=True); input()"
    with subprocess.Popen(
        [sys.executable, "-c", code, tmp_path / "run"], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as other:
        assert other.stdout is not None
        other.stdout.readline()
        for resume in ("null", "auto"):
            assert "another process is writing" in train(tmp_path / "run", f"resume={resume}").message
        other.kill()
    assert {path.name for path in (tmp_path / "run").iterdir()} == {".lock"}


# ---- the best epoch ---------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_the_best_epoch_is_found_after_a_move_and_copied_to_a_new_folder(
    train: Command, copied: Path, tmp_path: Path
) -> None:
    last = copied / "checkpoints" / "last.ckpt"
    saved = torch.load(last, weights_only=True)
    key = next(key for key in saved["callbacks"] if key.startswith("Checkpoints"))
    (best,) = saved["callbacks"][key]["best"]
    best["score"] = 9.0  # no later epoch is better
    torch.save(saved, last)
    Path(f"{last}.sha256").unlink()
    given = (WHOLE, "trainer.max_epochs=3", f"checkpoint={last}")
    assert train(tmp_path / "new", *given).status == 0
    assert equal(weights(tmp_path / "new"), weights(copied))
    assert (tmp_path / "new" / "checkpoints" / best["file"]).is_file()
    before = weights(copied)
    assert train(copied, *given).status == 0  # extended in place
    assert state(copied)["epoch"] == 2
    assert equal(weights(copied), before)


@pytest.mark.slow
def test_a_missing_best_epoch_is_reported(train: Command, copied: Path) -> None:
    (best,) = (copied / "checkpoints").glob("epoch_*.ckpt")
    best.unlink()
    assert train(copied, WHOLE, "trainer.max_epochs=3", "resume=auto").status == 0
    assert f"{best.name} is missing" in (copied / "train.log").read_text()
    assert (copied / "checkpoints" / "epoch_2.ckpt").is_file()


# ---- changed settings -------------------------------------------------------------------------------------------


def test_changed_settings_of_the_optimizer_and_of_its_schedule_are_taken_over(train: Command, copied: Path) -> None:
    group = state(copied)["optimizer_states"][0]["param_groups"][0]
    assert (group["lr"], group["initial_lr"], group["weight_decay"]) == (0.001 / 4, 0.001, 0)
    given = ("optimizer.lr=0.002", "optimizer.weight_decay=0.1", "optimizer.betas=[0.8,0.9]", "schedule.gamma=0.1")
    assert train(copied, WHOLE, "trainer.max_epochs=3", "resume=auto", *given).status == 0
    after = state(copied)
    group = after["optimizer_states"][0]["param_groups"][0]
    assert (group["initial_lr"], group["weight_decay"], list(group["betas"])) == (0.002, 0.1, [0.8, 0.9])
    assert group["lr"] == pytest.approx(0.002 / 4 / 10)
    assert after["lr_schedulers"][0]["base_lrs"] == [0.002, 0.002]
    assert after["learning_rates"] == [0.002, 0.002]
    log = (copied / "train.log").read_text()
    assert "optimizer.lr=0.002, which was 0.001" in log


@pytest.mark.slow
def test_changed_milestones_of_a_schedule_are_taken_over(train: Command, tmp_path: Path) -> None:
    own = ("schedule._target_=torch.optim.lr_scheduler.MultiStepLR", "~schedule.step_size", "resume=auto")
    run = tmp_path / "run"
    assert train(run, *own, "+schedule.milestones=[9]", "trainer.max_epochs=1").status == 0
    assert train(run, *own, "+schedule.milestones=[2]", "trainer.max_epochs=2").status == 0
    assert state(run)["lr_schedulers"][0]["milestones"] == {2: 1}
    assert state(run)["lr_schedulers"][0]["_last_lr"][0] == 0.0005


@pytest.mark.slow
def test_early_stopping_takes_its_new_patience(train: Command, tmp_path: Path) -> None:
    run = tmp_path / "run"
    stops = ("trainer.max_epochs=5", "+callbacks.early_stopping.min_delta=100", "resume=auto")
    assert train(run, *stops, "callbacks.early_stopping.patience=1").status == 0
    assert state(run)["epoch"] == 1
    assert train(run, *stops, "callbacks.early_stopping.patience=1").status == 0
    assert "nothing is left to train" in (run / "train.log").read_text()
    assert state(run)["epoch"] == 1
    assert train(run, *stops, "callbacks.early_stopping.patience=2").status == 0
    assert state(run)["epoch"] == 2


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("objective=caption_and_objects", "objective._target_="),
        ("optimizer=sgd", "optimizer._target_="),
        ("schedule._target_=torch.optim.lr_scheduler.ExponentialLR", "schedule._target_="),
        ("trainer.max_epochs=1", "trainer.max_epochs=1: the checkpoint is of epoch 2"),
    ],
)
def test_what_resuming_cannot_change_is_refused_by_its_name(
    train: Command, copied: Path, override: str, message: str
) -> None:
    given = [WHOLE, "trainer.max_epochs=3", "encoder.weights=null", "resume=auto"]
    before = state(copied)["global_step"]
    assert message in train(copied, *given, override).message
    assert state(copied)["global_step"] == before


# ---- within an epoch ----------------------------------------------------------------------------------------------


def stop_at(monkeypatch: pytest.MonkeyPatch, method: str, call: int, number: int = signal.SIGTERM) -> None:
    """Let this process send itself a signal when a method of the module is called for the n-th time."""
    own, calls = getattr(CaptioningModule, method), count(1)

    def stopping(*arguments: Any) -> Any:
        if next(calls) == call:
            os.kill(os.getpid(), number)
        return own(*arguments)

    monkeypatch.setattr(CaptioningModule, method, stopping)


def logged(run: Path) -> dict[tuple[int, str], str]:
    values: dict[tuple[int, str], str] = {}
    for path in sorted((run / "csv").glob("version_*/metrics.csv")):
        with path.open(newline="") as file:
            for row in csv.DictReader(file):
                values |= {(int(row["step"]), name): value for name, value in row.items() if value}
    return values


@pytest.mark.parametrize(
    ("method", "call", "given"),
    [
        ("training_step", 3, ()),
        pytest.param("training_step", 5, ("data.num_workers=1", "schedule=warmup_cosine"), marks=pytest.mark.slow),
        pytest.param("training_step", 7, ("+trainer.accumulate_grad_batches=2",), marks=pytest.mark.slow),
        pytest.param("training_step", 8, ("finetuning.from_epoch=1", "schedule=plateau"), marks=pytest.mark.slow),
        pytest.param("training_step", 2, ("+trainer.val_check_interval=2",), marks=pytest.mark.slow),
        pytest.param("validation_step", 2, ("data.eval_batch_size=3",), marks=pytest.mark.slow),
        pytest.param("validation_step", 4, ("schedule=plateau", "data.eval_batch_size=3"), marks=pytest.mark.slow),
        pytest.param("validation_step", 3, ("+trainer.val_check_interval=2",), marks=pytest.mark.slow),
    ],
)
def test_a_run_that_a_signal_stops_anywhere_resumes_bit_for_bit(
    scenes: Path,
    command: Command,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    method: str,
    call: int,
    given: tuple[str, ...],
) -> None:
    schedule = () if any(override.startswith("schedule=") for override in given) else ("schedule=step",)
    settings = (f"data.root={scenes}", WHOLE, "data.batch_size=5", "trainer.max_epochs=2", *TINY, *schedule, *given)
    whole, run = tmp_path / "whole", tmp_path / "run"
    assert command("train", *settings, f"output={whole}").status == 0
    with monkeypatch.context() as patch:
        stop_at(patch, method, call)
        ran = command("train", *settings, f"output={run}")
    assert (ran.status, ran.err.count("stopped by SIGTERM")) == (143, 1)
    assert f"output={run} resume=auto" in ran.err
    assert not (run / "bundle").exists()
    assert command("train", *settings, f"output={run}", "resume=auto").status == 0
    for name in ("metrics.json", "captions.json", "per_image.csv"):
        assert (run / name).read_bytes() == (whole / name).read_bytes()
    assert equal(weights(run), weights(whole))
    assert equal(state(run)["state_dict"], state(whole)["state_dict"])
    assert logged(run) == logged(whole)


@pytest.mark.slow
def test_slurm_puts_the_job_back_into_its_queue(
    train: Command, run_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, called = tmp_path / "run", tmp_path / "called"
    (tmp_path / "scontrol").write_text(f'#!/bin/sh\necho "$@" > {called}\n')
    (tmp_path / "scontrol").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    job = {
        "JOB_ID": "77",
        "JOB_NAME": "a",
        "NTASKS": "1",
        "PROCID": "0",
        "LOCALID": "0",
        "NODEID": "0",
        "NODELIST": "n",
    }
    for name, value in job.items():
        monkeypatch.setenv(f"SLURM_{name}", value)
    with monkeypatch.context() as patch:
        stop_at(patch, "training_step", 3, signal.SIGUSR1)
        assert train(run, WHOLE, "trainer.max_epochs=2").status == 128 + signal.SIGUSR1
    assert called.read_text() == "requeue 77\n"
    assert not list(run.rglob("hpc_ckpt*"))
    monkeypatch.setenv("SLURM_RESTART_COUNT", "1")
    assert train(run, WHOLE, "trainer.max_epochs=2").status == 0  # the same command
    assert equal(weights(run), weights(run_folder))


def test_the_order_of_batches_cannot_change_within_an_epoch(
    train: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = tmp_path / "run"
    with monkeypatch.context() as patch:
        stop_at(patch, "training_step", 2)
        assert train(run, "data.batch_size=5").status == 143
    message = train(run, "data.batch_size=6", "resume=auto").message
    assert "data.batch_size=6: the checkpoint is of a run with data.batch_size=5" in message


# ---- commands ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["run", "a b[1],{y}", "it's", "a=b:c", 'a"b', "100%$HOME", "ü ${x}", "a\\'b"])
def test_a_path_survives_the_shell_and_hydra(name: str) -> None:
    path = Path("/data") / name
    command = resume_command("train", ["seed=1", "output=old", "-m"], path)
    words = subprocess.run(
        ["sh", "-c", f"printf '%s\\n' {command}"], capture_output=True, text=True
    ).stdout.splitlines()
    assert words[:4] == ["captioning", "train", "seed=1", "-m"]
    (parsed,) = OverridesParser.create().parse_overrides([words[4]])
    value: Any = parsed.value()
    assert str(value).replace("\\${", "${") == str(path)
    assert words[5] == "resume=auto"


def test_plain_paths_need_no_quotes() -> None:
    assert hydra_value("/data/runs/2026-01-31") == "/data/runs/2026-01-31"


def test_the_runs_of_a_sweep_that_remain_are_listed() -> None:
    overrides = ["decoder=mrnn,merge", "seed=1,2", "data.root='a b'", "output=sweep"]
    assert remaining_runs(overrides, 1) == (
        "run 1 was stopped, and these remain:\n"
        "  2: decoder=merge seed=1 'data.root='\"'\"'a b'\"'\"''\n"
        "  3: decoder=merge seed=2 'data.root='\"'\"'a b'\"'\"''"
    )
    assert "last one" in remaining_runs(overrides, 3)
    assert remaining_runs(["optimizer.lr=interval(0,1)"], 3) == "run 3 was stopped, and the sweep with it"


def test_the_runs_of_a_glob_that_remain_are_listed(
    command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stopped(config: object, output: Path) -> None:
        raise Stopped(signal.SIGTERM)

    monkeypatch.setattr("captioning.training.run.train", stopped)
    ran = command("train", "-m", "decoder=glob(*_inject)", f"output={tmp_path}")
    assert ran.status == 143
    assert "these remain:\n  1: decoder=par_inject\n  2: decoder=pre_inject" in ran.err
    assert "Traceback" not in ran.err


@pytest.mark.slow
def test_a_sweep_resumes_in_its_folder_and_only_with_its_own_settings(train: Command, tmp_path: Path) -> None:
    folder = tmp_path / "sweep"
    assert train(folder, "seed=1,2", "-m").status == 0
    shutil.rmtree(folder / "1")
    before = (folder / "0" / "bundle" / "model.safetensors").stat().st_mtime_ns
    assert "resume=auto" in train(folder, "seed=1,2", "-m").message
    assert "holds a sweep with other settings" in train(folder, "seed=1,3", "-m", "resume=auto").message
    assert train(folder, "seed=1,2", "-m", "resume=auto").status == 0
    assert (folder / "1" / "bundle").is_dir()
    assert (folder / "0" / "bundle" / "model.safetensors").stat().st_mtime_ns == before


def test_a_sweep_resumes_with_another_launcher_and_not_with_other_runs(tmp_path: Path) -> None:
    (tmp_path / "multirun.yaml").write_text("hydra: {overrides: {task: ['seed=1,2', decoder=fc]}}")
    launched = ["hydra/launcher=joblib", "hydra.launcher.n_jobs=2", f"hydra.sweep.dir={tmp_path}", "resume=auto"]
    check_same_sweep(tmp_path, [*launched, "decoder=fc", "seed=1,2"])
    with pytest.raises(InputError, match="holds a sweep with other settings"):
        check_same_sweep(tmp_path, [*launched, "decoder=fc", "seed=1,3"])


def test_signals_that_are_ignored_stay_so(command: Command) -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        assert command("--version").status == 0
        assert signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)
