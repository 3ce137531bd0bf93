"""Flags, folders and sweeps, which all commands configured by Hydra share."""

from __future__ import annotations

import inspect
import logging
import math
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hydra._internal.callbacks import Callbacks
from hydra.core.global_hydra import GlobalHydra
from omegaconf import DictConfig, OmegaConf
from pytorch_lightning import Trainer

from captioning.commands import config_folder
from captioning.commands._hydra import run
from captioning.commands._overrides import check_overrides, read_arguments

Command = Callable[..., Any]


@pytest.fixture
def runs(monkeypatch: pytest.MonkeyPatch) -> list[tuple[DictConfig, list[str]]]:
    """The configuration of every run and the command line while it ran; nothing is trained."""
    seen: list[tuple[DictConfig, list[str]]] = []
    monkeypatch.setattr("captioning.training.run.train", lambda config, output: seen.append((config, list(sys.argv))))
    return seen


@pytest.mark.parametrize(("position", "flag"), [(1, "-m"), (2, "--multirun")])
def test_a_sweep_s_flag_may_be_anywhere(
    command: Command, runs: list[Any], tmp_path: Path, position: int, flag: str
) -> None:
    arguments = ["seed=1,2", f"output={tmp_path}"]
    arguments.insert(position, flag)
    assert command("train", *arguments).status == 0
    assert [(config.seed, config.output) for config, _ in runs] == [(1, f"{tmp_path}/0"), (2, f"{tmp_path}/1")]


@pytest.mark.parametrize("position", range(3))
def test_a_flag_with_a_value_may_be_anywhere(command: Command, runs: list[Any], position: int) -> None:
    arguments = ["seed=17", "decoder=mrnn"]
    arguments[position:position] = ["--cfg", "job"]
    ran = command("train", *arguments)
    assert ran.status == 0
    assert "seed: 17" in ran.out
    assert not runs


def test_runs_that_start_in_the_same_second_have_different_folders(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for command, given in (("train", []), ("evaluate", ["bundle=x", "data=scenes"])):
        folders = {
            check_overrides(read_arguments(command, given)).hydra[kind].dir
            for _ in range(3)
            for kind in ("run", "sweep")
        }
        assert len(folders) == 6


@pytest.mark.parametrize("flags", [[], ["-m"]])
def test_null_deselects_a_group(command: Command, runs: list[Any], tmp_path: Path, flags: list[str]) -> None:
    null = ("experiment=scenes/mrnn", "schedule=null", "finetuning=null", "logger=null")
    assert command("train", *flags, f"output={tmp_path}", *null).status == 0
    ((config, _),) = runs
    assert (config.schedule, config.finetuning, config.get("logger")) == (None, None, None)


def test_null_in_a_sweep_of_a_group_is_refused(command: Command, runs: list[Any], tmp_path: Path) -> None:
    assert "name the option" in command("train", "-m", f"output={tmp_path}", "schedule=null,cosine").message
    assert not list(tmp_path.iterdir())
    assert command("train", "-m", f"output={tmp_path}", "schedule=constant,cosine").status == 0
    assert [config.schedule is None for config, _ in runs] == [True, False]


def test_the_other_processes_of_a_sweep_s_run_get_its_folder(
    command: Command, runs: list[Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert command("train", "seed=1", "-m").status == 0
    ((config, command_line),) = runs
    given = command_line[-1].removeprefix("hydra.sweep.dir=").strip("'")
    assert config.output == f"{tmp_path}/{given}/0"
    monkeypatch.setenv("LOCAL_RANK", "1")
    assert command("train", *command_line[-1:], "seed=1", "-m").status == 0  # they find the runs of their own sweep
    assert runs[1][0].output == config.output


OWN = {
    "decoder/mine.yaml": "defaults:\n  - fc\n  - _self_\nhidden_size: 77\n",
    "experiment/mine.yaml": "# @package _global_\ndefaults:\n  - override /decoder: mine\nseed: 5\n",
    "extra/a.yaml": "x: 3\n",
    "own.yaml": "defaults:\n  - train\n  - _self_\nseed: 9\n",
    "alone.yaml": "seed: 4\ndecoder: {hidden_size: 7}\noutput: out\nhydra:\n  run:\n    dir: ${output}\n",
}


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A user's folder of configurations, in the current folder."""
    for name, content in OWN.items():
        path = tmp_path / "own" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
    monkeypatch.chdir(tmp_path)
    return tmp_path / "own"


@pytest.mark.parametrize(
    ("arguments", "found"),
    [
        (["--config-dir", "OWN", "decoder=mine"], (1, 77)),
        (["decoder=mine", "-cd", "own"], (1, 77)),
        (["seed=2", "--config-dir=OWN", "decoder=mine"], (2, 77)),
        (["-cd", "OWN", "experiment=mine"], (5, 77)),
        (["-cd", "OWN", "-cn", "own"], (9, 512)),
        (["-cd", "OWN", "--config-name=own", "decoder=mine"], (9, 77)),
        (["--config-path", "own", "--config-name", "alone"], (4, 7)),
        (["-cp", "OWN", "-cn", "alone", "seed=6"], (6, 7)),
        (["hydra.searchpath=[file://OWN]", "decoder=mine"], (1, 77)),
        (["experiment=mine", "hydra.searchpath=[file://OWN]"], (5, 77)),
        (["--run", "seed=3"], (3, 512)),
        (["hydra/launcher=basic", "hydra/sweeper=basic", "hydra/job_logging=disabled"], (1, 512)),
        (["recurrent@decoder.recurrent=gru", "+recurrent@decoder.second=lstm"], (1, 512)),
    ],
)
def test_hydra_s_own_ways_to_find_configurations_work(
    command: Command, runs: list[Any], own: Path, arguments: list[str], found: tuple[int, int]
) -> None:
    ran = command("train", *(argument.replace("OWN", str(own)) for argument in arguments), f"output={own}/out")
    assert ran.status == 0, ran.err
    ((config, _),) = runs
    assert (config.seed, config.decoder.hidden_size) == found


def test_groups_and_deletions_are_composed_as_hydra_does(command: Command, runs: list[Any], own: Path) -> None:
    changes = ("+extra=a", "+extra@decoder.more=a", "~schedule", "~trainer.max_epochs", "~callbacks.progress")
    ran = command("train", "-cd", own, *changes, f"output={own}/out")
    assert ran.status == 0, ran.err
    ((config, _),) = runs
    assert (config.extra.x, config.decoder.more.x, config.schedule) == (3, 3, None)
    assert "max_epochs" not in config.trainer
    assert "progress" not in config.callbacks


@pytest.mark.parametrize(
    ("arguments", "seeds"),
    [
        (["hydra.mode=MULTIRUN", "seed=choice(7,8)", "-cd", "OWN", "decoder=mine"], [7, 8]),
        (["-m", "seed=range(1,3)", "decoder=glob(*_inject)"], [1, 1, 1, 2, 2, 2]),
        (["-m", "+trainer.max_steps=1,2"], [1, 1]),
    ],
)
def test_every_kind_of_sweep_is_checked_and_run(
    command: Command, runs: list[Any], own: Path, arguments: list[str], seeds: list[int]
) -> None:
    ran = command("train", *(argument.replace("OWN", str(own)) for argument in arguments), f"output={own}/out")
    assert ran.status == 0, ran.err
    assert [config.seed for config, _ in runs] == seeds


@pytest.mark.parametrize(
    ("flags", "text"),
    [
        (["--info", "searchpath", "-cd", "OWN"], "file://OWN"),
        (["--info=defaults", "decoder=fc"], "decoder/fc"),
        (["--hydra-help"], "--config-dir"),
        (["--cfg", "job", "-p", "decoder"], "hidden_size: 512"),
        (["-c", "hydra", "--package", "hydra.run"], "dir: ${output}"),
        (["--cfg", "job", "data=flickr8k", "--package", "data"], "root: ???"),  # what is missing is shown
        (["--cfg=all", "--resolve", "-p", "data", "seed=13"], "seed: 13"),
    ],
)
def test_what_hydra_prints_is_printed_and_nothing_is_run(
    command: Command, runs: list[Any], own: Path, flags: list[str], text: str
) -> None:
    ran = command("train", *(flag.replace("OWN", str(own)) for flag in flags))
    assert ran.status == 0, ran.err
    assert text.replace("OWN", str(own)) in ran.out + ran.err
    assert not runs


def test_a_configuration_is_shown_though_its_folder_holds_a_run(command: Command, tmp_path: Path) -> None:
    (tmp_path / "bundle").mkdir()
    assert command("train", "--cfg", "job", f"output={tmp_path}").status == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--experiment", "scenes/fc"], "there is no option --experiment; a setting is given without dashes, as exp"),
        (["--experiment=scenes/fc"], "as experiment=scenes/fc"),
        (["seed=1", "--lr", "3"], "as lr=3"),
        (["--multi-run"], "did you mean --multirun?"),
        (["--config-dir", "nowhere"], "--config-dir nowhere: there is no such folder"),
        (["--config-path", "nowhere"], "nowhere: there is no such folder"),
        (["--config-name", "nowhere"], "Cannot find primary config 'nowhere'"),
        (["--config-dir"], "expected one argument"),
        (["--cfg", "jobs"], "invalid choice: 'jobs'"),
        (["-m", "--cfg", "job"], "exclude each other"),
        (["--resolve"], "only with --cfg"),
        (["--experimental-rerun", "x.pickle"], "a pickle, which can run code; use -cd RUN/.hydra -cn config"),
        (["decoder=mrn"], "decoder has no option 'mrn'; choose among att2in"),
        (["decoder=mrn"], "did you mean 'mrnn'?"),
        (["-cd", "OWN", "decoder=min"], "did you mean 'mine'?"),
        (["experiment=scenes/shw_and_tell"], "did you mean 'show_and_tell'?"),
        (["experiment=show_and_tel"], "/show_and_tell'?"),
        (["recurrent@decoder.recurrent=lstmm"], "did you mean 'lstm'?"),
        (["hydra/launcher=joblib"], "choose among basic; joblib needs a plugin: pip install 'captioning[sweeps]'"),
        (["hydra/sweeper=optuna"], "choose among basic; optuna needs a plugin: pip install 'captioning[optuna]'"),
        (["hydra/job_logging=colorlog"], "others need a plugin of Hydra's"),
        (["-m", "optimizer.lr=interval(0.1,1)"], "hydra/sweeper=basic runs choices and no interval"),
        (["-m", "hydra.launcher._target_=x.y", "seed=1,2"], "the sweep ended: RuntimeError: Invalid plugin 'x.y'"),
        (["decoder=3"], "decoder=3: Config group override must be a string"),
        (["decodr=fc"], "did you mean 'decoder'?"),
        (["trainer.strategi=ddp"], "did you mean 'strategy'?"),
        (["--num-beams", "5"], "--num-beams is called search.beam_size here"),
        (["search.num_beams=5"], "search.num_beams=5: search.num_beams is called search.beam_size here"),
        (["num_beams=5"], "num_beams=5: num_beams is called search.beam_size here"),
        (
            ["search.no_repeat_ngram=3"],
            "search.no_repeat_ngram is an option of evaluate, nbest and caption, or of another search; here, a search "
            'has "+search.processors=[{_target_: captioning.search.NoRepeatNgrams, size: 3}]"',
        ),
        (["search.top_p=0.9"], "search.top_p is an option of evaluate, nbest and caption, or of another search"),
        (["search=sampling", "search.topk=5"], "search.topk is called search.top_k here"),
        (["-m", "decoder=glob(x*)"], "no choice matches"),
        (["=3"], "has no key"),
    ],
)
def test_a_wrong_command_line_is_explained_in_one_message(
    command: Command, runs: list[Any], own: Path, arguments: list[str], message: str
) -> None:
    assert message in command("train", *(argument.replace("OWN", str(own)) for argument in arguments)).message
    assert not runs


@pytest.mark.parametrize("prefix", ["", "+", "++"])
def test_every_argument_of_lightning_s_trainer_is_a_setting(
    command: Command, runs: list[Any], tmp_path: Path, prefix: str
) -> None:
    given = inspect.signature(Trainer.__init__).parameters.keys() - {"self", "callbacks", "logger"}
    shared = OmegaConf.load(config_folder() / "trainer" / "_arguments.yaml")
    assert shared.keys() - {"_target_"} == given
    for name, parameter in inspect.signature(Trainer.__init__).parameters.items():
        if name in given:
            assert shared[name] == parameter.default
    assert command("train", f"{prefix}trainer.strategy=ddp", f"output={tmp_path}").status == 0
    assert runs[0][0].trainer.strategy == "ddp"


def test_a_sweeper_gets_the_score_of_each_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    returned: list[Any] = []

    def task(config: DictConfig, output: Path) -> float:
        if config.seed == 2:
            raise RuntimeError("no")
        return 0.25 if config.seed == 1 else math.nan

    def ended(self: Any, *, config: DictConfig, job_return: Any) -> None:
        returned.append(job_return.return_value)

    monkeypatch.setattr(Callbacks, "on_job_end", ended)
    monkeypatch.setattr(sys, "argv", ["captioning"])
    monkeypatch.setenv("HYDRA_FULL_ERROR", "1")
    root = logging.getLogger()
    monkeypatch.setattr(root, "handlers", list(root.handlers))
    monkeypatch.setattr(root, "level", root.level)
    assert run("train", task, ["-m", "seed=1,2,3", f"output={tmp_path}"]) == 1
    GlobalHydra.instance().clear()
    assert returned == [0.25, None, None]
