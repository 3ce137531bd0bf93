"""Which of several processes of one run this is, by what torchrun, SLURM and Lightning say in the environment."""

from __future__ import annotations

import os

_RANKS = ("RANK", "SLURM_PROCID", "LOCAL_RANK")
"""Where torchrun, SLURM and Lightning write a process's number; Lightning numbers those of a node."""
_INTERACTIVE = ("bash", "interactive")
"""Names of SLURM's jobs in which commands are typed; these are not started once for each task."""


def is_first_process() -> bool:
    """Return whether this is the only process, or the first one of a run; it alone reports."""
    return next((int(os.environ[name]) for name in _RANKS if os.environ.get(name)), 0) == 0


def num_started_together() -> int:
    """Return how many processes torchrun or SLURM has started for one run, this one included."""
    in_job = os.environ.get("SLURM_JOB_NAME") not in _INTERACTIVE
    return int(os.environ.get("WORLD_SIZE") or (in_job and os.environ.get("SLURM_NTASKS")) or 1)
