"""captioning train: starting from another model, and a second phase that learns from rewards."""

from __future__ import annotations

import json
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from captioning.errors import Stopped
from captioning.training.captioning import CaptioningModule

Command = Callable[..., Any]
PHASES = ("finetuning=whole", "trainer.max_epochs=1", "then=leave_one_out", "then.trainer.max_epochs=2",
          "then.objective.num_samples=2", "then.data.batch_size=2")  # fmt: skip


def weights(run: Path) -> dict[str, torch.Tensor]:
    return load_file(run / "bundle" / "model.safetensors")


def equal(one: dict[str, torch.Tensor], two: dict[str, torch.Tensor]) -> bool:
    return one.keys() == two.keys() and all(torch.equal(one[key], two[key]) for key in one)


@pytest.fixture(scope="module")
def two_phases(train: Command, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("phases") / "run"
    ran = train(folder, *PHASES)
    assert ran.status == 0, ran.err
    return folder


def test_the_second_phase_learns_from_rewards_what_the_first_has_learned(two_phases: Path) -> None:
    first, second = (json.loads((two_phases / part / "training.json").read_text()) for part in ("phase_1", "."))
    assert (first["epochs"], second["epochs"]) == (1, 2)
    assert "objective" not in first
    assert second["objective"].startswith("baseline:LeaveOneOut|samples:2|reward:CIDEr=1.0|end_token:counted|")
    assert not equal(weights(two_phases / "phase_1"), weights(two_phases))


def test_both_phases_train_what_they_would_train_alone(train: Command, two_phases: Path, tmp_path: Path) -> None:
    assert train(tmp_path / "one", "finetuning=whole", "trainer.max_epochs=1").status == 0
    assert equal(weights(tmp_path / "one"), weights(two_phases / "phase_1"))
    second = (
        "objective=leave_one_out",
        "objective.num_samples=2",
        "optimizer.lr=5e-5",
        "data.batch_size=2",
        "schedule.gamma=1.0",
    )
    ran = train(tmp_path / "two", "finetuning=whole", f"start={tmp_path / 'one'}", *second, "trainer.max_epochs=2")
    assert ran.status == 0, ran.err
    assert equal(weights(tmp_path / "two"), weights(two_phases))


@pytest.mark.parametrize("batch", [1, 3, 17])  # of the first phase, and of the second one's epochs
def test_a_run_that_was_stopped_in_either_phase_resumes_as_if_it_had_not_been(
    train: Command, two_phases: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, batch: int
) -> None:
    seen, step = [], CaptioningModule.training_step

    def stopping(self: Any, *arguments: Any) -> Any:
        seen.append(1)
        if len(seen) == batch:
            raise Stopped(signal.SIGTERM)
        return step(self, *arguments)

    monkeypatch.setattr(CaptioningModule, "training_step", stopping)
    assert train(tmp_path / "run", *PHASES).status == 143
    monkeypatch.undo()
    if batch > 2:
        assert "holds an interrupted run; resume it with resume=auto" in train(tmp_path / "run", *PHASES).err
    assert train(tmp_path / "run", *PHASES, "resume=auto").status == 0
    assert equal(weights(tmp_path / "run"), weights(two_phases))


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (("+then.objective.reward.SPICE=1",), "SPICE is no score of single captions"),
        (("then.objective.num_samples=1",), "num_samples=1 must be at least 2"),
        (("then.data.batch_size=0",), "data.batch_size"),
    ],
)
def test_what_the_second_phase_refuses_is_found_before_the_first_one_trains(
    train: Command, tmp_path: Path, overrides: tuple[str, ...], message: str
) -> None:
    ran = train(tmp_path / "run", "finetuning=whole", "then=leave_one_out", *overrides)
    assert ran.status == 1 and message in ran.err and "Traceback" not in ran.err, ran.err
    assert not list(tmp_path.rglob("*.ckpt"))


def test_a_finished_run_of_two_phases_has_nothing_left_to_train(train: Command, two_phases: Path) -> None:
    before = (two_phases / "metrics.json").stat().st_mtime_ns
    assert train(two_phases, *PHASES, "resume=auto").status == 0
    assert (two_phases / "metrics.json").stat().st_mtime_ns == before
    assert "holds a finished run" in train(two_phases, *PHASES).err


def test_a_model_starts_from_a_bundle_a_run_or_a_checkpoint_alike(train: Command, bundle: Path, tmp_path: Path) -> None:
    run = bundle.parent
    best = json.loads((bundle / "metrics.json").read_text())
    assert best  # the bundle is of a finished run
    found = []
    for n, start in enumerate((bundle, run)):
        ran = train(tmp_path / str(n), "finetuning=whole", f"start={start}", "optimizer.lr=1e-4", "decoder.dropout=0.5",
                    "trainer.max_epochs=1")  # fmt: skip
        assert ran.status == 0, ran.err
        found.append(weights(tmp_path / str(n)))
    assert equal(*found) and not equal(found[0], weights(run))
    ran = train(tmp_path / "two", "finetuning=whole", f"start={run / 'checkpoints' / 'last.ckpt'}", "optimizer.lr=1e-4",
                "trainer.max_epochs=1")  # fmt: skip
    assert ran.status == 0, ran.err


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (("start=MISSING",), "MISSING does not exist; expected a bundle, the folder of a run, or a run's checkpoint"),
        (("start=BUNDLE", "decoder.hidden_size=13"), r"is another model: decoder.hidden_size=12 (here 13)"),
        (("start=BUNDLE", "text.min_count=9"), "has another vocabulary than this run's training captions"),
        (("start=BUNDLE", "objective=self_critical", "+objective.reward.SPICE=1"), "SPICE is no score of single"),
        (("start=BUNDLE", "objective=self_critical", "objective.reward=null"), "names no metric"),
        (("+then.seed=3",), "then.seed: all phases of a run share this setting"),
    ],
)
def test_what_cannot_be_started_from_is_refused_in_one_message(
    train: Command, bundle: Path, tmp_path: Path, overrides: tuple[str, ...], message: str
) -> None:
    given = [text.replace("BUNDLE", str(bundle)) for text in overrides]
    ran = train(tmp_path / "run", "finetuning=whole", *given)
    assert ran.status == 1 and message in ran.err and "Traceback" not in ran.err, ran.err


def test_a_student_learns_from_a_run_s_model(train: Command, bundle: Path, tmp_path: Path) -> None:
    ran = train(tmp_path / "run", "finetuning=whole", "objective=distillation", f"objective.teacher={bundle}")
    assert ran.status == 0, ran.err
    assert "objective.teacher" not in json.dumps(json.loads((tmp_path / "run" / "bundle" / "config.json").read_text()))


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (("objective.teacher=MISSING",), "MISSING does not exist; expected a bundle"),
        (("objective.teacher=BUNDLE", "text.min_count=9"), "has another vocabulary than this run's training captions"),
        (("objective.teacher=BUNDLE", "encoder.size=[24,24]"), "reads images of another form than this run's encoder"),
    ],
)
def test_a_teacher_that_does_not_fit_is_refused_in_one_message(
    train: Command, bundle: Path, tmp_path: Path, overrides: tuple[str, ...], message: str
) -> None:
    given = [text.replace("BUNDLE", str(bundle)) for text in overrides]
    ran = train(tmp_path / "run", "finetuning=whole", "objective=distillation", *given)
    assert ran.status == 1 and message in ran.err and "Traceback" not in ran.err, ran.err


def test_scheduled_sampling_resumes_at_its_step(train: Command, tmp_path: Path) -> None:
    given = ("finetuning=whole", "objective=scheduled_sampling", "objective.decay.c=0.2", "objective.decay.least=0")
    assert train(tmp_path / "whole", *given, "trainer.max_epochs=2").status == 0
    assert train(tmp_path / "halves", *given).status == 0
    assert train(tmp_path / "halves", *given, "trainer.max_epochs=2", "resume=auto").status == 0
    assert equal(weights(tmp_path / "whole"), weights(tmp_path / "halves"))
