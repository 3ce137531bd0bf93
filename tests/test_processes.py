"""Processes that were started together are counted, and the first of them is known."""

from __future__ import annotations

import pytest

from captioning.processes import is_first_process, num_started_together

NAMES = ("RANK", "LOCAL_RANK", "WORLD_SIZE", "SLURM_PROCID", "SLURM_NTASKS", "SLURM_JOB_NAME")


@pytest.mark.parametrize(
    ("environment", "first", "together"),
    [
        ({}, True, 1),
        ({"RANK": "0", "LOCAL_RANK": "0", "WORLD_SIZE": "4"}, True, 4),
        ({"RANK": "2", "LOCAL_RANK": "0", "WORLD_SIZE": "4"}, False, 4),  # torchrun's second node
        ({"LOCAL_RANK": "1", "WORLD_SIZE": "2"}, False, 2),  # started by Lightning
        ({"SLURM_PROCID": "3", "SLURM_NTASKS": "8", "SLURM_JOB_NAME": "train"}, False, 8),
        ({"SLURM_PROCID": "0", "SLURM_NTASKS": "8", "SLURM_JOB_NAME": "bash"}, True, 1),  # a shell in a job
        ({"WORLD_SIZE": "", "LOCAL_RANK": ""}, True, 1),
    ],
)
def test_a_process_knows_whether_it_is_the_first_and_how_many_there_are(
    monkeypatch: pytest.MonkeyPatch, environment: dict[str, str], first: bool, together: int
) -> None:
    for name in NAMES:
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert is_first_process() == first
    assert num_started_together() == together
