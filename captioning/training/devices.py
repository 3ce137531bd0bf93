"""Check that a run has as many processes as its trainer expects, and that a sweep starts them alike."""

from __future__ import annotations

import os

import pytorch_lightning as pl
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from lightning_fabric.plugins.environments.lightning import LightningEnvironment
from pytorch_lightning.strategies import DDPStrategy, SingleDeviceStrategy

from captioning.errors import InputError


def check_processes(trainer: pl.Trainer) -> None:
    """Check that the processes of a run can work together, before one waits for another.

    Raises:
        InputError: the strategy does not keep a whole model in each process, or starts processes that return nothing;
            torchrun or SLURM has started another number of processes; the other nodes are unknown; or a sweep's
            launcher or sweeper would give the processes different settings.
    """
    strategy = trainer.strategy
    if not isinstance(strategy, (SingleDeviceStrategy, DDPStrategy)) or _forks(trainer):
        raise InputError(
            f"trainer.strategy={_strategy(trainer)}: a run has one process, or one per device that torchrun, SLURM or "
            "Lightning starts; set trainer.strategy=ddp, or auto for one device"
        )
    expected = trainer.num_devices * trainer.num_nodes
    environment = trainer._accelerator_connector.cluster_environment
    if isinstance(environment, LightningEnvironment):
        _check_nodes(trainer)
    elif environment.world_size() != expected:
        raise InputError(
            f"torchrun or SLURM counts {environment.world_size()} processes, but trainer.devices x trainer.num_nodes "
            f"is {trainer.num_devices} x {trainer.num_nodes}; set trainer=ddp, trainer.devices to the number of "
            "processes of a node, and trainer.num_nodes to that of nodes"
        )
    if expected > 1:
        _check_sweep(expected)


def _forks(trainer: pl.Trainer) -> bool:
    """Return whether the strategy runs functions in processes that it forks or spawns."""
    return isinstance(trainer.strategy, DDPStrategy) and trainer.strategy._start_method != "popen"


def _strategy(trainer: pl.Trainer) -> str:
    chosen = trainer._accelerator_connector._strategy_flag
    return chosen if isinstance(chosen, str) else type(chosen).__name__


def _check_nodes(trainer: pl.Trainer) -> None:
    """Check that a process that neither torchrun nor SLURM has started knows where the first node is."""
    missing = [name for name in ("MASTER_ADDR", "MASTER_PORT", "NODE_RANK") if name not in os.environ]
    if trainer.num_nodes > 1 and missing:
        raise InputError(
            f"trainer.num_nodes={trainer.num_nodes}: the other nodes are unknown ({', '.join(missing)} not set); start "
            "the run on each node with torchrun, or with srun in a job of SLURM"
        )


def _check_sweep(processes: int) -> None:
    """Check that all processes of a run get the same settings.

    Lightning starts the other processes with the command line of the sweep, and each chooses its runs itself. That
    gives the same runs for Hydra's own launcher and sweeper. SLURM starts all processes of a job of submitit.
    """
    if not HydraConfig.initialized() or HydraConfig.get().mode != RunMode.MULTIRUN:
        return
    choices = HydraConfig.get().runtime.choices
    if choices["hydra/launcher"] == "submitit_slurm":
        return
    others = [f"{group}={choices[group]}" for group in ("hydra/launcher", "hydra/sweeper") if choices[group] != "basic"]
    if others:
        raise InputError(
            f"{' and '.join(others)} with {processes} processes in a run: these would train different runs; set "
            "trainer.devices=1, or use the basic launcher and sweeper, or hydra/launcher=submitit_slurm"
        )
