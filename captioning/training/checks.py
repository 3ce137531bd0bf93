"""Checks of a configuration, made before anything is trained."""

from __future__ import annotations

from pathlib import Path

from lightning_utilities.core.rank_zero import rank_zero_only
from omegaconf import DictConfig

from captioning.data.loading import Loading
from captioning.errors import InputError
from captioning.files.lock import locked
from captioning.metrics.table import modes
from captioning.training.resuming import AUTO, resumes_by_itself


def check_output(config: DictConfig, output: Path) -> None:
    """Check that this run would not overwrite another.

    Raises:
        InputError: `output` holds a finished run, or an interrupted one that is not resumed, or another process is
            writing it; or `resume` is no known value.
    """
    if config.resume not in (None, AUTO):
        raise InputError(f"resume={config.resume}: expected auto, or null to start a new run")
    folder, named = output / "checkpoints", config.checkpoint
    own = named is not None and Path(named).resolve().parent == folder.resolve()
    another = "choose another folder for this one with output=DIR"
    if not resumes_by_itself(config):
        if (output / "bundle").exists() and not own:
            raise InputError(
                f"{output} holds a finished run; {another}, or train it longer with resume=auto and a larger "
                "trainer.max_epochs"
            )
        if any(folder.glob("*.ckpt")) and named is None:
            raise InputError(f"{output} holds an interrupted run; resume it with resume=auto, or {another}")
    if output.is_dir() and rank_zero_only.rank == 0:  # type: ignore[attr-defined]
        with locked(output):  # fails before anything is written
            pass


def check_encoder(config: DictConfig, loading: Loading) -> None:
    """Check that the encoder's settings do not contradict each other.

    Raises:
        InputError: `finetuning` or `augment` is set with cached features, `finetuning` with `standardise`, or a
            frozen encoder has random weights.
    """
    trained, cached = config.finetuning is not None, loading.features is not None
    if trained and config.standardise:
        raise InputError(
            "standardise=true needs a frozen encoder, whose features are fixed; set finetuning=frozen or "
            "standardise=false"
        )
    if trained and cached:
        raise InputError(
            f"data.features={loading.features} holds a frozen encoder's features, on which the encoder cannot be "
            "trained; set finetuning=frozen, or data.features=null to train from images"
        )
    if cached and loading.augment is not None:
        raise InputError(
            f"data.features={loading.features} holds features of images without augmentation; set data.augment=null, "
            "or data.features=null to train from augmented images"
        )
    if not trained and config.encoder.get("weights", "") is None:
        raise InputError(
            "encoder.weights=null without finetuning: the features of a frozen encoder with random weights say "
            "nothing; set finetuning=whole, or encoder.weights to a file or to published weights"
        )


def check_monitor(config: DictConfig) -> None:
    """Check that the monitored metric is computed and that `mode` matches its direction.

    Raises:
        InputError: the metric is not computed, or `mode` would select its worst value.
    """
    expected = {**modes(config.names), "loss": "min", "perplexity": "min"}
    if config.monitor not in expected:
        raise InputError(
            f"metrics.monitor={config.monitor} is not computed by metrics.names={config.names}; add it, or monitor one "
            f"of {', '.join(expected)}"
        )
    if config.mode != expected[config.monitor]:
        raise InputError(
            f"metrics.mode={config.mode} would choose the worst {config.monitor}; set "
            f"metrics.mode={expected[config.monitor]}"
        )
