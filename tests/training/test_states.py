"""Which states of an optimizer and a schedule training resumes with."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from functools import partial
from typing import Any

import pytest
import torch
from hydra.utils import instantiate
from omegaconf import OmegaConf
from torch import nn
from torch.optim import Adam, Optimizer, RMSprop, lr_scheduler
from torch.optim.lr_scheduler import LRScheduler, ReduceLROnPlateau

from captioning.commands import config_folder
from captioning.errors import InputError
from captioning.training.states import check_optimizer, check_schedules

CONF = config_folder()
SCHEDULES = sorted(path.stem for path in (CONF / "schedule").glob("*.yaml") if path.stem != "constant")
OPTIMIZERS = sorted(path.stem for path in (CONF / "optimizer").glob("*.yaml"))
CHOOSE = "choose another of the run's checkpoints/"
KEPT = ("lr", "initial_lr", "params")


def made(optimizer: Callable[..., Optimizer], schedule: Callable[..., LRScheduler]) -> tuple[Optimizer, LRScheduler]:
    """An optimizer of two groups and its schedule, which have not stepped."""
    torch.manual_seed(2)
    one, two, frozen = (nn.Parameter(torch.randn(shape)) for shape in ((2, 3), (5,), (7,)))
    own = optimizer([{"params": [one, frozen]}, {"params": [two], "lr": 0.5}])
    return own, schedule(own)


def stepped(optimizer: Optimizer, schedule: LRScheduler, num_steps: int = 11) -> tuple[Any, Any]:
    """The states of both after some steps, in which one parameter is frozen."""
    for step in range(num_steps):
        for group in optimizer.param_groups:
            for parameter in group["params"]:
                parameter.grad = None if parameter.shape == (7,) else torch.randn_like(parameter)
        optimizer.step()
        if isinstance(schedule, ReduceLROnPlateau):
            schedule.step(1.0 + step)
        else:
            schedule.step()
    return deepcopy(optimizer.state_dict()), deepcopy([schedule.state_dict()])


def configured(folder: str, name: str, **changed: Any) -> Any:
    """What a file of the configuration builds."""
    parts = {
        "trainer": {"max_epochs": 13},
        "metrics": {"mode": "max"},
        "it": OmegaConf.load(CONF / folder / f"{name}.yaml"),
    }
    config = OmegaConf.create(parts)
    config.it = OmegaConf.merge(config.it, changed)
    return instantiate(config.it)


@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_what_each_optimizer_and_schedule_wrote_is_accepted(optimizer: str, schedule: str) -> None:
    of_schedule = configured("schedule", schedule)
    if schedule == "warmup_cosine":
        of_schedule = partial(of_schedule, num_steps=13)
    build = partial(made, configured("optimizer", optimizer), of_schedule)
    state, schedules = stepped(*build())
    fresh, fresh_schedule = build()
    before = [parameter.clone() for group in fresh.param_groups for parameter in group["params"]]
    check_optimizer("x.ckpt", state, fresh, KEPT)
    check_schedules("x.ckpt", schedules, [fresh_schedule], ())
    after = [parameter for group in fresh.param_groups for parameter in group["params"]]
    assert all(torch.equal(one, two) for one, two in zip(before, after, strict=True))
    assert not fresh.state


OTHERS: dict[str, Callable[[Optimizer], Any]] = {
    "cycle": lambda own: lr_scheduler.CyclicLR(own, 0.1, 0.2, cycle_momentum=False),
    "one cycle": lambda own: lr_scheduler.OneCycleLR(own, 0.1, total_steps=13),
    "milestones": lambda own: lr_scheduler.MultiStepLR(own, [3, 5]),
    "restarts": lambda own: lr_scheduler.CosineAnnealingWarmRestarts(own, 3),
    "sequence": lambda own: lr_scheduler.SequentialLR(
        own, [lr_scheduler.ConstantLR(own), lr_scheduler.ExponentialLR(own, 0.9)], [3]
    ),
}


@pytest.mark.parametrize(
    ("optimizer", "schedule"),
    [
        *((name, "restarts") for name in ("Adadelta", "Adafactor", "Adagrad", "ASGD", "NAdam", "RAdam", "Rprop")),
        *(("AdamW", schedule) for schedule in OTHERS),
    ],
)
def test_what_torch_s_other_optimizers_and_schedules_wrote_is_accepted(optimizer: str, schedule: str) -> None:
    build = partial(made, partial(getattr(torch.optim, optimizer), lr=0.1), OTHERS[schedule])
    state, schedules = stepped(*build())
    fresh, fresh_schedule = build()
    check_optimizer("x.ckpt", state, fresh, (*KEPT, "betas"))
    check_schedules("x.ckpt", schedules, [fresh_schedule], ())


ADAM = partial(made, partial(Adam, lr=0.1), partial(lr_scheduler.StepLR, step_size=2))


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("state",), []),
        (("state", 0), None),
        (("state", 0), {}),
        (("state", 99), {}),
        (("state", 0, "exp_avg"), "x"),
        (("state", 0, "exp_avg"), torch.zeros(3, 2)),
        (("state", 0, "exp_avg"), torch.zeros(2, 3, dtype=torch.int64)),
        (("state", 0, "exp_avg"), torch.zeros(2, 3, dtype=torch.complex64)),
        (("state", 0, "exp_avg"), torch.zeros(2, 3).to_sparse()),
        (("state", 0, "exp_avg_sq"), torch.full((2, 3), float("nan"))),
        (("state", 0, "step"), 3),
        (("state", 0, "step"), torch.tensor(-1.0)),
        (("state", 0, "step"), torch.tensor(float("inf"))),
        (("param_groups", 1), "x"),
        (("param_groups", 1, "lr"), None),
        (("param_groups", 1, "lr"), float("nan")),
        (("param_groups", 1, "lr"), 10**400),
        (("param_groups", 1, "lr"), -0.1),
        (("param_groups", 1, "lr"), True),
        (("param_groups", 1, "initial_lr"), {}),
        (("param_groups", 0, "params"), [1, 0]),
        (("param_groups", 0, "params"), [0, "x"]),
    ],
)
def test_an_optimizer_s_state_of_another_kind_is_refused_by_its_key(path: tuple[Any, ...], value: Any) -> None:
    saved, _ = stepped(*ADAM())
    holder = saved
    for key in path[:-1]:
        holder = holder[key]
    holder[path[-1]] = value
    with pytest.raises(InputError) as error:
        check_optimizer("x.ckpt", saved, ADAM()[0], KEPT)
    assert f"x.ckpt cannot be resumed from: optimizer_states[0].{path[0]}" in str(error.value)
    assert CHOOSE in str(error.value)
    assert str(path[-1]) in str(error.value)


def test_settings_that_resuming_replaces_may_be_anything() -> None:
    saved, schedules = stepped(*ADAM())
    saved["param_groups"][0]["weight_decay"] = schedules[0]["step_size"] = "x"
    fresh, schedule = ADAM()
    check_optimizer("x.ckpt", saved, fresh, KEPT)
    check_schedules("x.ckpt", schedules, [schedule], ["step_size"])
    with pytest.raises(InputError, match="step_size"):
        check_schedules("x.ckpt", schedules, [schedule], [])


def test_a_setting_that_needs_more_state_than_was_written_is_refused() -> None:
    schedule = partial(lr_scheduler.StepLR, step_size=2)
    saved, _ = stepped(*made(partial(RMSprop, lr=0.1), schedule))
    check_optimizer("x.ckpt", saved, made(partial(RMSprop, lr=0.1), schedule)[0], KEPT)
    with pytest.raises(InputError, match=r"momentum_buffer is nothing.*resume with the run's own settings"):
        check_optimizer("x.ckpt", saved, made(partial(RMSprop, lr=0.1, momentum=0.9), schedule)[0], KEPT)


def test_state_of_a_setting_that_is_no_longer_used_is_accepted() -> None:
    schedule = partial(lr_scheduler.StepLR, step_size=2)
    saved, _ = stepped(*made(partial(torch.optim.SGD, lr=0.1, momentum=0.9), schedule))
    assert "momentum_buffer" in saved["state"][0]
    check_optimizer("x.ckpt", saved, made(partial(torch.optim.SGD, lr=0.1), schedule)[0], KEPT)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("last_epoch", {}),
        ("last_epoch", float("inf")),
        ("last_epoch", -1),
        ("_step_count", {}),
        ("base_lrs", [0.1]),
        ("base_lrs", [0.1, None]),
        ("base_lrs", None),
        ("_last_lr", "x"),
        ("gamma", None),
        ("_is_initial", 3),
    ],
)
def test_a_schedule_s_value_of_another_kind_is_refused_by_its_key(key: str, value: Any) -> None:
    _, saved = stepped(*ADAM())
    saved[0][key] = value
    with pytest.raises(InputError, match=rf"^x.ckpt cannot be resumed from: lr_schedulers\[0\].{key}.*{CHOOSE}$"):
        check_schedules("x.ckpt", saved, [ADAM()[1]], ())


@pytest.mark.parametrize("saved", [[], {}, [{}], [None], [{}, {}], "x"])
def test_schedules_of_another_number_or_without_their_epoch_are_refused(saved: Any) -> None:
    with pytest.raises(InputError, match="lr_schedulers"):
        check_schedules("x.ckpt", saved, [ADAM()[1]], ())


def test_a_plateau_s_best_score_may_be_infinite_and_negative_but_is_a_number() -> None:
    build = partial(made, partial(Adam, lr=0.1), ReduceLROnPlateau)
    _, saved = stepped(*build())
    for best in (float("inf"), -3, 0.5):
        saved[0]["best"] = best
        check_schedules("x.ckpt", saved, [build()[1]], ())
    for broken in (float("nan"), None, "x"):
        saved[0]["best"] = broken
        with pytest.raises(InputError, match="best"):
            check_schedules("x.ckpt", saved, [build()[1]], ())


def test_a_text_that_says_how_a_schedule_computes_stays() -> None:
    build = partial(made, partial(Adam, lr=0.1), ReduceLROnPlateau)
    _, saved = stepped(*build())
    saved[0]["threshold_mode"] = "x"
    with pytest.raises(InputError, match="threshold_mode is x, expected rel"):
        check_schedules("x.ckpt", saved, [build()[1]], ())
