"""captioning contrast: the bundle of a captioner against a language model or other images, and its use."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from captioning import Captioner
from captioning.model.contrast import against_images, against_language_model

Command = Callable[..., Any]


@pytest.fixture(scope="module")
def language_model(command: Command, scenes: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of a language model of the same scenes, which reads no image."""
    folder = tmp_path_factory.mktemp("runs") / "language_model"
    ran = command(
        "train", f"data.root={scenes}", "encoder=none", "decoder=language_model", "decoder.hidden_size=12",
        "decoder.embedding_size=10", "search.max_length=6", "trainer.max_epochs=1", "trainer.accelerator=cpu",
        "+trainer.enable_progress_bar=false", "callbacks.progress=null", "logger=csv",
        "trainer.log_every_n_steps=1", f"output={folder}",
    )  # fmt: skip
    assert ran.status == 0, ran.err
    return folder


@pytest.fixture(scope="module")
def against(command: Command, bundle: Path, language_model: Path, scenes: Path, tmp_path_factory: Any) -> list[Path]:
    """The bundles of a captioner against this language model, and against two images."""
    folder = tmp_path_factory.mktemp("against")
    others = sorted((scenes / "train2017").glob("*.jpg"))[:2]
    made = []
    for name, arguments in (("language", ["--language-model", language_model]), ("images", ["--images", *others])):
        ran = command("contrast", bundle, *arguments, "-o", folder / name, "--strength", "0.8")
        assert (ran.status, ran.out, ran.err) == (0, f"{folder / name}\n", "")
        made.append(folder / name)
    return made


def test_the_bundles_caption_as_python_s_models(
    command: Command, bundle: Path, language_model: Path, scenes: Path, against: list[Path]
) -> None:
    paths = sorted((scenes / "val2017").glob("*.jpg"))[:3]
    own, others = Captioner.from_pretrained(bundle), sorted((scenes / "train2017").glob("*.jpg"))[:2]
    expected = [
        against_language_model(own, Captioner.from_pretrained(language_model), strength=0.8),
        against_images(own, others, strength=0.8),
    ]
    for folder, model in zip(against, expected, strict=True):
        ran = command("caption", *paths, "--model", folder, "--num-best", "3", "--json")
        assert ran.status == 0, ran.err
        found = [json.loads(line) for line in ran.out.splitlines()]
        captions = model.caption(paths, num_best=3)
        assert [line["caption"] for line in found] == [caption.text for caption in captions]
        assert [len(line["alternatives"]) for line in found] == [2] * 3
        assert [line["score"] for line in found] == pytest.approx([caption.score for caption in captions], abs=1e-4)


def test_other_commands_take_the_bundles(
    command: Command, bundle: Path, scenes: Path, against: list[Path], tmp_path: Path
) -> None:
    image = sorted((scenes / "val2017").glob("*.jpg"))[0]
    for number, folder in enumerate(against):
        assert command("check", folder).status == 0
        ran = command("explain", image, "--model", folder, "-o", tmp_path / f"{number}.html")
        assert ran.status == 0, ran.err
        ran = command("caption", image, "--model", folder, "--model", bundle)
        assert ran.status == 0, ran.err
        data = ("data=scenes", f"data.root={scenes}", f"output={tmp_path / str(number)}")
        ran = command("evaluate", f"bundle={folder}", *data)
        assert ran.status == 0, ran.err


def test_models_that_do_not_fit_and_wrong_options_are_reported(
    command: Command, bundle: Path, aligner: Path, language_model: Path, scenes: Path, tmp_path: Path
) -> None:
    out = ("-o", tmp_path / "out")
    for arguments, message in (
        ([bundle, "--language-model", bundle], "is a ShowAndTell and reads what the image shows"),
        ([bundle, "--language-model", aligner], "holds a matcher, expected a decoder"),
        ([bundle, "--language-model", tmp_path / "none"], "none does not exist"),
        ([bundle, "--language-model", language_model, "--strength", "-1"], "strength=-1.0 must be at least 0"),
        ([bundle, "--images", tmp_path / "none.jpg"], "none.jpg"),
        ([bundle, "--images", tmp_path], "no image"),
    ):
        assert message in command("contrast", *arguments, *out).message
        assert not (tmp_path / "out").exists()
    broken = tmp_path / "broken.png"
    broken.write_bytes(b"no image")
    image = next((scenes / "val2017").glob("*.jpg"))
    assert "broken.png" in command("contrast", bundle, "--images", image, broken, *out).message
    assert not (tmp_path / "out").exists()
    for arguments in ([bundle], [bundle, "--images", image, "--language-model", language_model]):
        assert command("contrast", *arguments, *out).status == 2
