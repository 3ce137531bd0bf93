"""A run has as many processes as its trainer expects, and a sweep starts them alike."""

from __future__ import annotations

from typing import Any

import pytest
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import OmegaConf
from pytorch_lightning import Trainer

from captioning.errors import InputError
from captioning.training.devices import check_processes

TORCHRUN = {"TORCHELASTIC_RUN_ID": "x", "RANK": "0", "LOCAL_RANK": "0", "WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2"}
SLURM = {
    "SLURM_NTASKS": "4",
    "SLURM_NTASKS_PER_NODE": "2",
    "SLURM_JOB_NAME": "train",
    "SLURM_PROCID": "0",
    "SLURM_LOCALID": "0",
    "SLURM_NODEID": "0",
}
NAMES = (*TORCHRUN, *SLURM, "MASTER_ADDR", "MASTER_PORT", "NODE_RANK")
DDP = {"strategy": "ddp", "devices": 2}


@pytest.fixture(autouse=True)
def nothing_set(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in NAMES:
        monkeypatch.delenv(name, raising=False)


def check(**settings: Any) -> None:
    check_processes(Trainer(accelerator="cpu", logger=False, enable_checkpointing=False, **settings))


@pytest.mark.parametrize("settings", [{"devices": 1}, DDP, {"strategy": "ddp_find_unused_parameters_true"}])
def test_one_process_and_those_that_lightning_starts_are_accepted(settings: dict[str, Any]) -> None:
    check(**settings)


def test_torchrun_and_the_trainer_have_the_same_number_of_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in TORCHRUN.items():
        monkeypatch.setenv(name, value)
    check(**DDP)
    for settings in ({"devices": 1}, {"strategy": "ddp", "devices": 3}):
        with pytest.raises(InputError, match="torchrun or SLURM counts 2 processes, but"):
            check(**settings)


@pytest.mark.filterwarnings("ignore:The `srun` command is available")
def test_slurm_and_the_trainer_have_the_same_number_of_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in SLURM.items():
        monkeypatch.setenv(name, value)
    check(**DDP, num_nodes=2)
    with pytest.raises(InputError, match=r"counts 4 processes, but trainer.devices x trainer.num_nodes is 2 x 1"):
        check(**DDP)


def test_other_nodes_must_be_known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MASTER_PORT", "29500")
    with pytest.raises(InputError, match=r"other nodes are unknown \(MASTER_ADDR, NODE_RANK not set\)"):
        check(**DDP, num_nodes=2)
    monkeypatch.setenv("MASTER_ADDR", "127.0.0.1")
    monkeypatch.setenv("NODE_RANK", "0")
    check(**DDP, num_nodes=2)


@pytest.mark.parametrize("strategy", ["ddp_spawn", "ddp_notebook"])
def test_processes_that_return_nothing_are_refused(strategy: str) -> None:
    with pytest.raises(InputError, match=f"trainer.strategy={strategy}: a run has one process, or one per device"):
        check(strategy=strategy, devices=2)


@pytest.mark.parametrize(
    ("launcher", "sweeper", "refused"),
    [
        ("basic", "basic", None),
        ("submitit_slurm", "optuna", None),
        ("joblib", "basic", "hydra/launcher=joblib with 2 processes"),
        ("basic", "optuna", "hydra/sweeper=optuna with 2 processes"),
        ("submitit_local", "optuna", "hydra/launcher=submitit_local and hydra/sweeper=optuna with 2"),
    ],
)
def test_every_process_of_a_sweep_s_run_gets_the_same_settings(
    monkeypatch: pytest.MonkeyPatch, launcher: str, sweeper: str, refused: str | None
) -> None:
    choices = {"hydra/launcher": launcher, "hydra/sweeper": sweeper}
    found = OmegaConf.create({"mode": RunMode.MULTIRUN, "runtime": {"choices": choices}})
    monkeypatch.setattr(HydraConfig, "initialized", lambda: True)
    monkeypatch.setattr(HydraConfig, "get", lambda: found)
    check(devices=1)
    if refused is None:
        check(**DDP)
    else:
        with pytest.raises(InputError, match=refused):
            check(**DDP)
