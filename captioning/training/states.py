"""Whether the state of an optimizer and of its schedule in a checkpoint fits those that training continues with."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from copy import deepcopy
from typing import Any, NoReturn

import torch
from torch import Tensor
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from captioning.errors import InputError, shown


def check_optimizer(path: object, saved: Any, optimizer: Optimizer, kept: Collection[str]) -> None:
    """Check that a checkpoint's optimizer has the parameters of a fresh one, and the values that its steps need.

    A parameter without state has had no gradient, and a value that the fresh optimizer does not use may be anything.

    Args:
        path: the checkpoint, for the message.
        saved: the state in the checkpoint.
        optimizer: a fresh one, with the run's settings. It is not changed.
        kept: keys of the groups that keep the checkpoint's values; the others get the run's settings.

    Raises:
        InputError: a value is of another kind or shape, is missing, or is not finite. The message names it.
    """
    name, fresh = "optimizer_states[0]", optimizer.state_dict()
    for n, (group, like) in enumerate(zip(saved["param_groups"], fresh["param_groups"], strict=True)):
        where = f"{name}.param_groups[{n}]"
        check_like(path, group, {key: like[key] for key in like if key in kept or key == "params"}, where)
        if list(group["params"]) != like["params"]:
            _refuse(path, f"{where}.params", group["params"], "the optimizer's own")
    check_like(path, saved["state"], {}, f"{name}.state")
    used = _state_after_step(optimizer)
    indices = {index for group in fresh["param_groups"] for index in group["params"]}
    for index, state in saved["state"].items():
        if index not in indices:
            _refuse(path, f"{name}.state", index, "indices of parameters")
        check_like(path, state, used.get(index, {}), f"{name}.state[{index}]")


def check_schedules(path: object, saved: Any, schedules: Sequence[LRScheduler], settings: Collection[str]) -> None:
    """Check that a checkpoint's schedules have values like those of fresh ones.

    A value that an earlier version of torch did not write stays that of the fresh schedule.

    Args:
        path: the checkpoint, for the message.
        saved: the states in the checkpoint.
        schedules: fresh ones.
        settings: values that are settings, which resuming takes from the run and not from the checkpoint.

    Raises:
        InputError: a value is of another kind or length, or is not finite. The message names it.
    """
    name = "lr_schedulers"
    if not isinstance(saved, list) or len(saved) != len(schedules):
        _refuse(path, name, saved, f"a list of length {len(schedules)}")
    for n, (state, schedule) in enumerate(zip(saved, schedules, strict=True)):
        where = f"{name}[{n}]"
        check_like(path, state, {"last_epoch": 0}, where)  # without it, the schedule would start anew in silence
        fresh = {key: value for key, value in schedule.state_dict().items() if key in state and key not in settings}
        check_like(path, state, fresh, where)


def check_like(path: object, value: Any, like: Any, where: str) -> None:
    """Check that a value is of the kind of another one, and so is everything in it that the other one has.

    Args:
        path: the checkpoint, for the message.
        value: in the checkpoint.
        like: a fresh value. None, an empty list and an empty mapping say nothing of what follows them.
        where: names the value in the message.

    Raises:
        InputError: the value is of another kind, shape or length, lacks a key, or is not finite. The message names it.
    """
    match like:
        case None:
            return
        case Mapping():
            if not isinstance(value, Mapping):
                _refuse(path, where, value, "a mapping")
            for key in like:
                if key not in value:
                    _refuse(path, f"{where}.{key}", "nothing", "a value")
                check_like(path, value[key], like[key], f"{where}.{key}")
        case list() | tuple():
            if not isinstance(value, list | tuple) or (like and len(value) != len(like)):
                _refuse(path, where, value, f"a list of length {len(like)}" if like else "a list")
            for n, part in enumerate(like):
                check_like(path, value[n], part, f"{where}[{n}]")
        case Tensor():
            if not _is_like(value, like):
                found = f"{value.dtype} {tuple(value.shape)}" if isinstance(value, Tensor) else value
                _refuse(path, where, found, f"{like.dtype} {tuple(like.shape)} with finite values")
        case bool():
            if not isinstance(value, bool):
                _refuse(path, where, value, "true or false")
        case int() | float():
            if not _is_number(value, like):
                _refuse(path, where, value, f"a number such as {like}")
        case _:
            if value != like:  # texts say how a schedule computes, and stay
                _refuse(path, where, value, shown(like, 40))


def _state_after_step(optimizer: Optimizer) -> dict[Any, Any]:
    """Return what an optimizer's state holds for each parameter once it has stepped."""
    copied = deepcopy(optimizer)
    for group in copied.param_groups:
        for parameter in group["params"]:
            parameter.grad = torch.zeros_like(parameter)
    copied.step(lambda: 0.0)
    return dict(copied.state_dict()["state"])


def _is_like(value: Any, like: Tensor) -> bool:
    """Return whether a value is a finite tensor of another one's shape. Loading has converted the floats' widths."""
    if (
        not isinstance(value, Tensor)
        or (value.shape, value.layout) != (like.shape, like.layout)
        or value.is_floating_point() != like.is_floating_point()
    ):
        return False
    return bool(value.isfinite().all()) if like.dim() else _is_number(value.item(), like.item())


def _is_number(value: Any, like: float) -> bool:
    """Return whether a value is a number that may follow another one: as finite, and no more negative."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    try:
        number = float(value)
    except OverflowError:
        return False
    return not math.isnan(number) and (not math.isfinite(like) or (math.isfinite(number) and number >= min(like, 0)))


def _refuse(path: object, where: str, found: object, expected: str) -> NoReturn:
    raise InputError(
        f"{path} cannot be resumed from: {where} is {shown(found, 40)}, expected {expected}; resume with the run's own "
        "settings, or choose another of the run's checkpoints/"
    )
