"""Logging never stops a run, and its files stay in the run's folder."""

from __future__ import annotations

import logging
import os
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from omegaconf import OmegaConf
from pytorch_lightning.loggers import CSVLogger, Logger, WandbLogger

from captioning.training import loggers
from captioning.training.loggers import SafeLogger, build_loggers, log_settings


class Failing(CSVLogger):
    """Fails when it is asked for its experiment."""

    @property
    def experiment(self) -> Any:
        raise OSError(28, "No space left on device")


def use(logger: Logger) -> None:
    """Call everything that Lightning calls."""
    for _ in range(2):
        assert logger.experiment is not None
        assert isinstance(logger.save_dir, str | None)
        logger.log_hyperparams({"a": 1})
        logger.log_metrics({"loss": 1.0}, step=3)
        logger.save()
    logger.after_save_checkpoint(None)  # type: ignore[arg-type]
    logger.finalize("success")
    assert isinstance(logger.version, int | str | None)


def test_a_logger_that_works_logs_as_it_would_alone(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    use(SafeLogger(lambda: CSVLogger(tmp_path, name="csv"), "logger.csv"))
    assert (tmp_path / "csv" / "version_0" / "metrics.csv").read_text().splitlines() == ["loss,step", "1.0,3", "1.0,3"]
    assert not caplog.records


def test_a_logger_that_fails_is_reported_once_and_left_out(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    use(SafeLogger(lambda: Failing(tmp_path), "logger.csv"))
    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    assert "logger.csv failed and logs nothing more; the run continues: OSError: [Errno 28] No space" in record.message


@pytest.mark.parametrize(
    ("target", "message"),
    [
        ("nowhere.Logger", "there is no package nowhere"),
        ("pytorch_lightning.loggers.WandbLogger", "wandb"),
    ],
)
def test_a_logger_that_cannot_be_built_is_reported_once(
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
    target: str,
    message: str,
) -> None:
    monkeypatch.setattr("pytorch_lightning.loggers.wandb._WANDB_AVAILABLE", False)
    monkeypatch.setitem(sys.modules, "wandb", None)  # as if it were not installed
    for variable in loggers._WANDB_FOLDERS:
        monkeypatch.setenv(variable, str(tmp_path))
    csv = {"_target_": "pytorch_lightning.loggers.CSVLogger", "save_dir": str(tmp_path), "name": "csv"}
    config = OmegaConf.create({"mine": {"_target_": target}, "csv": csv, "none": None})
    built = build_loggers(config, tmp_path)
    assert len(built) == 2
    for logger in built:
        use(logger)
    (record,) = caplog.records
    assert record.message.startswith("logger.mine failed")
    assert message in record.message
    assert (tmp_path / "csv" / "version_0" / "metrics.csv").is_file()


@pytest.mark.parametrize(
    ("logger", "available", "extra"),
    [
        ("TensorBoardLogger", "lightning_fabric.loggers.tensorboard._TENSORBOARD_AVAILABLE", "tensorboard"),
        ("MLFlowLogger", "pytorch_lightning.loggers.mlflow._MLFLOW_AVAILABLE", "mlflow"),
    ],
)
def test_the_extra_that_a_logger_needs_is_named(
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
    logger: str,
    available: str,
    extra: str,
) -> None:
    monkeypatch.setattr(available, False)
    monkeypatch.setattr("lightning_fabric.loggers.tensorboard._TENSORBOARDX_AVAILABLE", False)
    monkeypatch.setenv("MLFLOW_DISABLE_TELEMETRY", "")  # put back after the test
    settings = OmegaConf.create({"mine": {"_target_": f"pytorch_lightning.loggers.{logger}"}})
    if extra == "tensorboard":
        settings.mine.save_dir = str(tmp_path)
    (built,) = build_loggers(settings, tmp_path)
    use(built)
    (message,) = caplog.messages
    assert message.endswith(f"the package {extra} is missing; run pip install 'captioning[{extra}]'")


def test_mlflow_reports_no_use_unless_the_user_wants_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loggers, "instantiate", lambda settings: CSVLogger(tmp_path))
    settings = OmegaConf.create({"mlflow": {"_target_": "pytorch_lightning.loggers.MLFlowLogger"}})
    monkeypatch.setenv("MLFLOW_DISABLE_TELEMETRY", "false")
    build_loggers(settings, tmp_path)
    assert os.environ["MLFLOW_DISABLE_TELEMETRY"] == "false"
    monkeypatch.delenv("MLFLOW_DISABLE_TELEMETRY")
    build_loggers(settings, tmp_path)
    assert os.environ["MLFLOW_DISABLE_TELEMETRY"] == "true"


def test_one_process_at_a_time_creates_mlflow_s_database(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    together, highest = 0, 0

    def create(settings: Any) -> Logger:
        nonlocal together, highest
        together += 1
        highest = max(highest, together)
        time.sleep(0.05)
        together -= 1
        return CSVLogger(tmp_path)

    monkeypatch.setattr(loggers, "instantiate", create)
    monkeypatch.setenv("MLFLOW_DISABLE_TELEMETRY", "true")
    target = "pytorch_lightning.loggers.MLFlowLogger"
    settings = OmegaConf.create({"mlflow": {"_target_": target, "tracking_uri": f"sqlite:///{tmp_path}/mlflow.db"}})
    threads = [threading.Thread(target=build_loggers, args=(settings, tmp_path)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert highest == 1


def test_the_settings_of_a_run_are_logged_by_their_keys(tmp_path: Path) -> None:
    logger = CSVLogger(tmp_path, name="csv")
    config = OmegaConf.create(
        {"seed": 3, "data": {"batch_size": 5, "root": "${output}/x"}, "output": "here", "logger": {}}
    )
    log_settings([logger], config)
    logger.save()
    written = (tmp_path / "csv" / "version_0" / "hparams.yaml").read_text()
    assert written == "seed: 3\ndata.batch_size: 5\ndata.root: here/x\n"


def test_only_a_logger_of_the_kind_is_attempted(tmp_path: Path) -> None:
    logger = SafeLogger(lambda: CSVLogger(tmp_path), "logger.csv")
    assert logger.attempt(lambda own: own.name, WandbLogger) is None
    assert logger.attempt(lambda own: own.name, CSVLogger) == "lightning_logs"


def test_wandb_s_own_folders_are_in_each_run_s_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in loggers._WANDB_FOLDERS:
        monkeypatch.setenv(variable, "")
        monkeypatch.delenv(variable)
    monkeypatch.setattr(loggers, "_given", {})
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("WANDB_ARTIFACT_DIR", "chosen")
    config = OmegaConf.create({"wandb": {"_target_": "pytorch_lightning.loggers.WandbLogger", "offline": True}})
    for run in ("0", "1"):
        build_loggers(config, tmp_path / run)
        assert os.environ["WANDB_CACHE_DIR"] == f"{tmp_path}/{run}/wandb/cache"
        assert os.environ["WANDB_CONFIG_DIR"] == f"{tmp_path}/{run}/wandb/config"
        assert os.environ["WANDB_ARTIFACT_DIR"] == "chosen"
