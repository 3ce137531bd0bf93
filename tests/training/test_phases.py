"""A run of several phases: their settings and their folders."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from omegaconf import OmegaConf

from captioning.errors import InputError
from captioning.training.phases import phases

FIRST = {
    "objective": {"_target_": "a.CrossEntropy", "label_smoothing": 0.1},
    "optimizer": {"_target_": "torch.optim.Adam", "lr": 1e-3},
    "schedule": {"_target_": "a.Cosine"},
    "trainer": {"max_epochs": 10, "precision": "bf16-mixed"},
    "finetuning": None,
    "callbacks": {"checkpoint": {"dirpath": "${output}/checkpoints"}},
    "output": "run",
    "start": None,
    "checkpoint": None,
    "then": None,
}
SECOND = {
    "objective": {"_target_": "a.SelfCritical", "num_samples": 5},
    "optimizer": {"lr": 1e-5},
    "schedule": None,
    "trainer": {"max_epochs": 3},
}


def split(**changes: Any) -> list[tuple[dict[str, Any], Path]]:
    found = phases(OmegaConf.create({**FIRST, **changes}), Path("run"))
    return [(OmegaConf.to_container(config, resolve=True), folder) for config, folder in found]  # type: ignore[misc]


def test_a_run_without_a_second_phase_is_one_phase_with_its_own_settings() -> None:
    ((config, folder),) = split()
    assert folder == Path("run")
    assert config == {**FIRST, "callbacks": {"checkpoint": {"dirpath": "run/checkpoints"}}}


def test_the_first_phase_has_its_own_folder_and_the_last_one_the_run_s() -> None:
    (first, folder), (second, last) = split(then=SECOND)
    assert (folder, last) == (Path("run/phase_1"), Path("run"))
    assert first["callbacks"]["checkpoint"]["dirpath"] == "run/phase_1/checkpoints"
    assert second["callbacks"]["checkpoint"]["dirpath"] == "run/checkpoints"
    assert first["start"] is None and second["start"] == "run/phase_1"


def test_a_part_is_replaced_and_other_settings_are_changed_one_by_one() -> None:
    (first, _), (second, _) = split(then=SECOND)
    assert first["objective"] == FIRST["objective"] and first["trainer"] == FIRST["trainer"]
    assert second["objective"] == SECOND["objective"]  # nothing is left of the first one's
    assert second["optimizer"] == {"_target_": "torch.optim.Adam", "lr": 1e-5}
    assert second["trainer"] == {"max_epochs": 3, "precision": "bf16-mixed"}
    assert second["schedule"] is None
    assert first["then"] is second["then"] is None


def test_a_part_that_the_first_phase_lacks_can_be_added() -> None:
    tuned = {"finetuning": {"_target_": "a.FineTuning", "num_stages": 2}}
    assert split(then=tuned)[1][0]["finetuning"] == tuned["finetuning"]
    assert split(then={"finetuning": {"num_stages": 2}})[1][0]["finetuning"] == {"num_stages": 2}


def test_a_second_phase_can_have_one_after_it() -> None:
    third = {"optimizer": {"lr": 1e-6}}
    parts = split(then={**SECOND, "then": third}, start="other")
    assert [folder for _, folder in parts] == [Path("run/phase_1"), Path("run/phase_2"), Path("run")]
    assert [config["optimizer"]["lr"] for config, _ in parts] == [1e-3, 1e-5, 1e-6]
    assert [config["objective"]["_target_"] for config, _ in parts] == ["a.CrossEntropy", *["a.SelfCritical"] * 2]
    assert [config["start"] for config, _ in parts] == ["other", "run/phase_1", "run/phase_2"]
    assert all(config["then"] is None for config, _ in parts)


def test_the_settings_that_were_given_stay_as_they_are() -> None:
    config = OmegaConf.create({**FIRST, "then": SECOND})
    before = OmegaConf.to_container(config)
    phases(config, Path("elsewhere"))
    assert OmegaConf.to_container(config) == before


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"then": "self_critical"}, "then=self_critical: expected settings of the next phase"),
        ({"then": {"seed": 2}}, r"then\.seed: all phases of a run share this setting; set seed= itself"),
        ({"then": {"output": "x"}}, r"then\.output: all phases"),
        ({"then": {"resume": "auto"}}, r"then\.resume: all phases"),
        (
            {"then": SECOND, "checkpoint": "a.ckpt"},
            "checkpoint=a.ckpt with then=: a checkpoint is of one phase; resume",
        ),
    ],
)
def test_contradictions_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        split(**changes)
