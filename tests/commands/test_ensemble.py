"""captioning ensemble: one bundle of several captioners, and its use."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from captioning import Captioner
from captioning.data.features.store import FeatureWriter

Command = Callable[..., Any]


@pytest.fixture(scope="module")
def stores(command: Command, scenes: Path, bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Cached features of the run's encoder."""
    captioner = Captioner.from_pretrained(bundle)
    paths = {int(path.stem): path for path in sorted((scenes / "val2017").glob("*.jpg"))}
    folder = tmp_path_factory.mktemp("stores")
    identity = captioner.encoder.identity(captioner.transform)
    with torch.inference_mode(), FeatureWriter(folder / "val", identity, list(paths)) as writer:
        writer.write(captioner.encoder(captioner.pixels(list(paths.values()))))
    return folder


def test_the_ensemble_of_a_model_with_itself_captions_and_is_scored_as_the_model(
    command: Command, bundle: Path, scenes: Path, stores: Path, tmp_path: Path
) -> None:
    ran = command("ensemble", bundle, bundle, "-o", tmp_path / "both", "--weights", "2,1")
    assert (ran.status, ran.out) == (0, f"{tmp_path / 'both'}\n")
    image = sorted((scenes / "val2017").glob("*.jpg"))[0]
    own, both = (command("caption", image, "--model", folder) for folder in (bundle, tmp_path / "both"))
    assert (both.status, both.out) == (0, own.out)
    several = command("caption", image, "--model", bundle, "--model", bundle)
    assert (several.status, several.out) == (0, own.out)
    assert command("check", tmp_path / "both").status == 0
    scores = []
    for folder, name, features in (
        (bundle, "own", "null"),
        (tmp_path / "both", "ensemble", "null"),
        (tmp_path / "both", "cached", stores),
        (f"[{bundle},{bundle}]", "several", stores),
    ):
        data = ("data=scenes", f"data.root={scenes}", f"data.features={features}", f"output={tmp_path / name}")
        ran = command("evaluate", f"bundle={folder}", *data)
        assert ran.status == 0, ran.err
        scores.append(json.loads((tmp_path / name / "metrics.json").read_text())["metrics"])
    assert scores[1:] == [pytest.approx(scores[0], rel=1e-4)] * 3


def test_models_that_do_not_fit_and_wrong_options_are_reported(
    command: Command, bundle: Path, aligner: Path, scenes: Path, tmp_path: Path
) -> None:
    for arguments, message in (
        ([bundle], "at least two members, found 1"),
        ([bundle, bundle, "--weights", "1,x"], "--weights 1,x: expected one number for each model"),
        ([bundle, bundle, "--weights", "1"], "expected 2 numbers above 0"),
        ([bundle, aligner], "holds a matcher, expected a decoder"),
        ([bundle, tmp_path / "none"], "none does not exist"),
    ):
        assert message in command("ensemble", *arguments, "-o", tmp_path / "out").message
        assert not (tmp_path / "out").exists()
    ran = command("caption", scenes / "val2017", "--model", bundle, "--model", aligner)
    assert "holds a matcher, expected a decoder" in ran.message
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "file").touch()
    assert "exists already" in command("ensemble", bundle, bundle, "-o", tmp_path / "full").message
