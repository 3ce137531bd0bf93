"""Loggers whose failures are reported once and never stop a run, and whose files stay in the run's folder."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

from filelock import FileLock
from hydra.errors import HydraException
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf
from pytorch_lightning.loggers import Logger
from pytorch_lightning.loggers.logger import DummyExperiment  # type: ignore[attr-defined]

from captioning.errors import InputError, described
from captioning.json_files import flat
from captioning.training.parts import explained

log = logging.getLogger(__name__)

_WANDB_FOLDERS = {
    "WANDB_CACHE_DIR": "cache",
    "WANDB_DATA_DIR": "data",
    "WANDB_ARTIFACT_DIR": "artifacts",
    "WANDB_CONFIG_DIR": "config",
}
_EXTRAS = {
    "pytorch_lightning.loggers.TensorBoardLogger": "tensorboard",
    "pytorch_lightning.loggers.MLFlowLogger": "mlflow",
}
"""The extra of this package that installs what a logger needs."""
_given: dict[str, str] = {}
"""The variables of `_WANDB_FOLDERS` that an earlier run of this process has set."""


class SafeLogger(Logger):
    """A logger that reports the first failure of another one as a warning, and then logs nothing more.

    Args:
        make: builds the other logger; it may fail too.
        name: the name in the warning.
    """

    def __init__(self, make: Callable[[], Logger], name: str) -> None:
        super().__init__()
        self._label = name
        self._logger: Logger | None = None
        self._logger = self._tried(make)

    def attempt(self, action: Callable[[Any], Any], kind: type[Logger] = Logger) -> Any:
        """Call `action` with the other logger, if it is a `kind` and has not failed before.

        Returns:
            What `action` returns; None if it is not called or fails.
        """
        logger = self._logger
        return self._tried(lambda: action(logger)) if isinstance(logger, kind) else None

    def _tried(self, action: Callable[[], Any]) -> Any:
        try:
            return action()
        except Exception as error:  # noqa: BLE001 - a logger may raise anything
            self._logger = None
            text = str(explained(error)) if isinstance(error, (HydraException, InputError)) else described(error)
            log.warning("%s failed and logs nothing more; the run continues: %s", self._label, text)
            return None

    @property
    def experiment(self) -> Any:
        """The other logger's experiment; one that ignores all calls after a failure."""
        found = self.attempt(lambda logger: logger.experiment)
        return DummyExperiment() if found is None else found

    @property
    def name(self) -> str | None:
        """The other logger's name."""
        found: str | None = self.attempt(lambda logger: logger.name)
        return found

    @property
    def version(self) -> int | str | None:
        """The other logger's version."""
        found: int | str | None = self.attempt(lambda logger: logger.version)
        return found

    @property
    def save_dir(self) -> str | None:
        """The other logger's folder."""
        found: str | None = self.attempt(lambda logger: logger.save_dir)
        return found

    @property
    def log_dir(self) -> str | None:
        """The other logger's folder of this version, if it has one."""
        found: str | None = self.attempt(lambda logger: getattr(logger, "log_dir", None))
        return found

    def log_metrics(self, *arguments: Any, **settings: Any) -> None:
        """See Lightning's Logger."""
        self.attempt(lambda logger: logger.log_metrics(*arguments, **settings))

    def log_hyperparams(self, *arguments: Any, **settings: Any) -> None:
        """See Lightning's Logger."""
        self.attempt(lambda logger: logger.log_hyperparams(*arguments, **settings))

    def log_graph(self, *arguments: Any, **settings: Any) -> None:
        """See Lightning's Logger."""
        self.attempt(lambda logger: logger.log_graph(*arguments, **settings))

    def after_save_checkpoint(self, *arguments: Any) -> None:
        """See Lightning's Logger."""
        self.attempt(lambda logger: logger.after_save_checkpoint(*arguments))

    def save(self) -> None:
        """See Lightning's Logger."""
        self.attempt(lambda logger: logger.save())

    def finalize(self, status: str) -> None:
        """See Lightning's Logger."""
        self.attempt(lambda logger: logger.finalize(status))


def build_loggers(config: DictConfig, output: str | Path) -> list[SafeLogger]:
    """Build the loggers of a run.

    Args:
        config: the group `logger`: the settings of each logger by its name, or null.
        output: the run's folder, in which wandb's own files are kept.
    """
    chosen = {str(name): settings for name, settings in config.items() if settings}
    targets = " ".join(str(settings.get("_target_")).lower() for settings in chosen.values())
    if "wandb" in targets:
        _keep_wandb_in(Path(output).absolute() / "wandb")
    if "mlflow" in targets:
        os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")  # it would report to its makers how it is used
    return [SafeLogger(lambda s=s: _built(s), f"logger.{name}") for name, s in chosen.items()]  # type: ignore[misc]


def log_settings(loggers: Iterable[Logger], config: DictConfig) -> None:
    """Log the settings of a run, by their dotted keys, without those of callbacks and loggers."""
    plain: Any = OmegaConf.to_container(config, resolve=True)
    settings = flat({key: value for key, value in plain.items() if key not in ("callbacks", "logger", "output")})
    for logger in loggers:
        logger.log_hyperparams(settings)


def _built(settings: DictConfig) -> Logger:
    """Build a logger, and say how to install what it needs if that is missing."""
    try:
        with _creating(str(settings.get("tracking_uri", ""))):
            logger: Logger = instantiate(settings)
    except HydraException as error:
        extra = _EXTRAS.get(str(settings.get("_target_")))
        if extra is not None and isinstance(error.__cause__, ModuleNotFoundError):
            raise InputError(f"the package {extra} is missing; run pip install 'captioning[{extra}]'") from error
        raise
    return logger


def _creating(uri: str) -> AbstractContextManager[object]:
    """Let one process at a time open MLflow's database; those that create it together would break it."""
    prefix = "sqlite:///"
    return FileLock(f"{uri.removeprefix(prefix)}.lock") if uri.startswith(prefix) else nullcontext()


def _keep_wandb_in(folder: Path) -> None:
    """Keep wandb's cache and settings in a folder, except where the user has chosen another."""
    settings = Path("~/.config/wandb/settings").expanduser()  # names the user's own server
    for variable, name in _WANDB_FOLDERS.items():
        if variable == "WANDB_CONFIG_DIR" and os.access(settings, os.R_OK):
            continue
        if os.environ.get(variable) in (None, _given.get(variable)):
            os.environ[variable] = _given[variable] = str(folder / name)
