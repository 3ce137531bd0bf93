"""Hydra's launchers and sweepers that are packages of their own: how to install them, and how they must be set."""

from __future__ import annotations

from collections.abc import Sequence

from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import DictConfig

from captioning.errors import InputError

_EXTRAS = {
    "hydra/launcher/joblib": "sweeps",
    "hydra/launcher/submitit_local": "sweeps",
    "hydra/launcher/submitit_slurm": "sweeps",
    "hydra/sweeper/optuna": "optuna",
    "joblib": "sweeps",
    "submitit": "sweeps",
    "optuna": "optuna",
}
"""The extra of this package that installs an option of Hydra's groups, or a module that a plugin imports."""


def how_to_install(group: str, name: str) -> str:
    """Return the end of a message about a missing option of a group of Hydra's: how to install it; "" for others."""
    if not group.startswith("hydra/"):
        return ""
    extra = _EXTRAS.get(f"{group}/{name}")
    if extra is None:
        return "; others need a plugin of Hydra's"
    return f"; {name} needs a plugin: pip install 'captioning[{extra}]'"


def missing_package(error: BaseException) -> str | None:
    """Say how to install what a launcher or a sweeper could not import; None if the error has another cause."""
    cause: BaseException | None = error
    while cause is not None:
        name = (cause.name or "").partition(".")[0] if isinstance(cause, ImportError) else ""
        if name in _EXTRAS:
            return f"{name} is missing or has another version; run pip install 'captioning[{_EXTRAS[name]}]'"
        cause = cause.__cause__
    return None


def check_sweeper(config: DictConfig, overrides: Sequence[str]) -> None:
    """Check that the sweeper can do what a sweep asks, and that it searches for the best score and not for the worst.

    Args:
        config: composed for the first run, with Hydra's own settings.
        overrides: of the whole sweep.

    Raises:
        InputError: a setting is an interval and the sweeper runs choices alone, or the sweeper's direction is not that
            of the monitored metric.
    """
    parsed = OverridesParser.create().parse_overrides(list(overrides))
    intervals = [override.input_line for override in parsed if override.is_interval_sweep()]
    if intervals and config.hydra.runtime.choices["hydra/sweeper"] == "basic":
        raise InputError(
            f"{intervals[0]}: hydra/sweeper=basic runs choices and no interval; give choices, as KEY=0.1,0.2, or "
            "choose hydra/sweeper=optuna"
        )
    direction, metrics = config.hydra.sweeper.get("direction"), config.get("metrics") or {}
    wanted = {"max": "maximize", "min": "minimize"}.get(str(metrics.get("mode")))
    found = str(getattr(direction, "name", direction))
    if direction is not None and wanted is not None and found != wanted:
        raise InputError(
            f"hydra.sweeper.direction={found} would search for the worst {metrics.get('monitor')}; set "
            f"hydra.sweeper.direction={wanted}"
        )
