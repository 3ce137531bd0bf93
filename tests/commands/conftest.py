"""The commands, run in this process on a tiny data set; and one trained run that the tests share."""

from __future__ import annotations

import contextlib
import io
import logging
import os
import random
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import hydra
import pytest
import torch
from hydra.core.global_hydra import GlobalHydra
from omegaconf import OmegaConf

from captioning import Aligner
from captioning.commands import config_folder, main
from captioning.data import Splits
from captioning.data.readers import Coco
from captioning.encoders import SmallCNN
from captioning.matchers import Brnn
from captioning.metrics import COCO_METRICS, CocoScorer
from captioning.text import train_words
from captioning.training import kinds
from captioning.training.run import train as run

TINY = (
    "encoder.size=[16,16]",
    "encoder.channels=[8,16]",
    "decoder.hidden_size=12",
    "decoder.embedding_size=10",
    "search.max_length=6",
    "schedule=step",
    "schedule.step_size=1",
    "trainer.max_epochs=1",
    "trainer.accelerator=cpu",
    "trainer.log_every_n_steps=1",
    "+trainer.enable_progress_bar=false",
    "callbacks.progress=null",
    "logger=csv",
)
"""Overrides that make training take a second."""

FAST_METRICS = ("BLEU", "ROUGE-L", "CIDEr")
"""The default ones but METEOR, whose start takes seconds."""


@dataclass(frozen=True)
class Ran:
    """How a command ended: its exit status, and what it printed."""

    status: int
    out: str
    err: str

    @property
    def message(self) -> str:
        """What a command that failed said, and it said no more than that."""
        assert self.status == 1
        assert "Traceback" not in self.err + self.out
        return self.err


Command = Callable[..., Ran]


@contextlib.contextmanager
def nothing_left() -> Iterator[pytest.MonkeyPatch]:
    """Put back what Hydra, Lightning and torch change in a process."""
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    deterministic, states = torch.are_deterministic_algorithms_enabled(), (random.getstate(), torch.get_rng_state())
    folder = Path.cwd()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["captioning"])
        for name in ("HYDRA_FULL_ERROR", "PL_GLOBAL_SEED", "PL_SEED_WORKERS", "COLUMNS"):
            patch.setenv(name, "120")
        try:
            yield patch
        finally:
            os.chdir(folder)
            GlobalHydra.instance().clear()
            for handler in set(root.handlers) - set(handlers):
                handler.close()
            root.handlers[:] = handlers
            root.setLevel(level)
            torch.use_deterministic_algorithms(deterministic)
            random.setstate(states[0])
            torch.set_rng_state(states[1])


def run_command(*arguments: str | Path, metrics: Sequence[str] = FAST_METRICS) -> Ran:
    """Run `captioning` with these arguments, scoring without METEOR, whose start takes seconds."""
    out, err = io.StringIO(), io.StringIO()
    with nothing_left() as patch, contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        patch.setattr("captioning.training.kinds.scorer_of", partial(scorer_of, metrics, kinds.scorer_of))
        try:
            status = main([str(argument) for argument in arguments])
        except SystemExit as stop:
            status = int(stop.code or 0)
    return Ran(status, out.getvalue(), err.getvalue())


def scorer_of(metrics: Sequence[str], own: Callable[[Any], Any], config: Any) -> Callable[..., CocoScorer]:
    """`captioning.training.kinds.scorer_of` with other metrics instead of the default."""
    default = tuple(config.names) == COCO_METRICS
    scorer: Callable[..., CocoScorer] = own(
        OmegaConf.create({**config, "names": list(metrics if default else config.names)})
    )
    return scorer


def run_composed(output: Path, *overrides: str) -> None:
    """Train as `captioning train` does, without its checks of the overrides, which compose the configuration again."""
    with nothing_left() as patch, hydra.initialize_config_dir(str(config_folder()), version_base="1.3"):
        patch.setattr("captioning.training.kinds.scorer_of", partial(scorer_of, FAST_METRICS, kinds.scorer_of))
        run(hydra.compose("train", [*overrides, f"output={output}", "name=a-run"]), output)


@pytest.fixture(scope="session")
def train_composed() -> Callable[..., None]:
    """Trains with overrides that are known to be right: train_composed(output, *overrides)."""
    return run_composed


@pytest.fixture(scope="session")
def command() -> Command:
    """Runs `captioning` in this process."""
    return run_command


@pytest.fixture(scope="session")
def train(scenes: Path) -> Command:
    """Runs `captioning train` with tiny sizes: train(output, *overrides)."""

    def run(output: Path, *overrides: str | Path) -> Ran:
        return run_command("train", f"data.root={scenes}", *TINY, f"output={output}", *overrides)

    return run


@pytest.fixture(scope="session")
def run_folder(train: Command, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run of two epochs, in which the encoder learns too. Not to be changed."""
    folder = tmp_path_factory.mktemp("runs") / "run"
    ran = train(folder, "finetuning=whole", "trainer.max_epochs=2")
    assert ran.status == 0, ran.err
    return folder


@pytest.fixture(scope="session")
def bundle(run_folder: Path) -> Path:
    """The run's bundle."""
    return run_folder / "bundle"


@pytest.fixture(scope="session")
def aligner(scenes: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The bundle of an aligner of the scenes, which has learned nothing. Not to be changed."""
    torch.manual_seed(0)
    tokenizer = train_words(Splits(Coco(str(scenes))).captions("train"), min_count=1)
    values = {"size": [16, 16], "channels": [8, 16], "grid": True}
    encoder = SmallCNN((16, 16), channels=(8, 16), grid=True)
    sizes: dict[str, Any] = {"feature_size": encoder.feature_size, "vocab_size": len(tokenizer)}
    sizes |= {"embedding_size": 8, "hidden_size": 12, "joint_size": 10, "normalise": True, "init_range": 3.0}
    config = {
        "encoder": {"_target_": "captioning.encoders.SmallCNN", **values},
        "matcher": {"_target_": "captioning.matchers.Brnn", **sizes},
    }
    model = Aligner(encoder, Brnn(**sizes), tokenizer, config=config)
    return model.save(tmp_path_factory.mktemp("aligner") / "bundle")


@pytest.fixture(scope="session")
def region_data(aligner: Path, scenes: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The data set of regions that this aligner finds. Not to be changed."""
    folder = tmp_path_factory.mktemp("regions") / "data"
    ran = run_command(
        "snippets", f"bundle={aligner}", "data=scenes", f"data.root={scenes}", "beta=0", "min_words=1",
        "device=cpu", f"output={folder}",
    )  # fmt: skip
    assert ran.status == 0, ran.err
    return folder
