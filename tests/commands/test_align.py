"""A matcher from training to captioning align: its regions, its scores, and what is refused."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from captioning import Aligner
from captioning.files.digests import check_digests
from captioning.model.load import load_model

Command = Callable[..., Any]
SMALL = (
    "encoder.size=[16,16]", "encoder.channels=[8,16]", "matcher.hidden_size=12", "matcher.joint_size=10",
    "matcher.embedding_size=8", "trainer.max_epochs=2", "trainer.check_val_every_n_epoch=1", "trainer.accelerator=cpu",
    "trainer.log_every_n_steps=1", "+trainer.enable_progress_bar=false", "callbacks.progress=null", "logger=csv",
    "text.min_count=1", "schedule=constant",
)  # fmt: skip


@pytest.fixture(scope="module")
def matcher_run(command: Command, scenes: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("matcher") / "run"
    ran = command("train", "experiment=scenes/alignment", f"data.root={scenes}", *SMALL, f"output={folder}")
    assert ran.status == 0, ran.err
    return folder


@pytest.fixture
def image(scenes: Path) -> Path:
    return min((scenes / "val2017").glob("*.jpg"))


def test_the_command_prints_the_regions_that_the_bundle_finds(
    command: Command, matcher_run: Path, image: Path, tmp_path: Path
) -> None:
    model = Aligner.from_pretrained(matcher_run / "bundle")
    sentence = " ".join(model.tokenizer.vocabulary[4:8])
    found = model.align(image, sentence, beta=0.5)
    options = (image, sentence, "--model", matcher_run / "bundle", "--beta", "0.5")
    line = json.loads(command("align", *options, "--json").out)
    assert (line["words"], line["regions"]) == (list(found.words), list(found.regions))
    assert line["score"] == pytest.approx(found.score, rel=1e-4)
    ran = command("align", *options, "--out", tmp_path / "drawn.png")
    assert ran.status == 0, ran.err
    assert [text.partition(":")[0] for text in ran.out.splitlines()] == sentence.split()
    assert (tmp_path / "drawn.png").stat().st_size > 1000


def test_a_large_beta_gives_one_region(matcher_run: Path, image: Path) -> None:
    model = Aligner.from_pretrained(matcher_run / "bundle")
    assert len(set(model.align(image, "a red circle and a blue square", beta=1e3).regions)) == 1


def test_evaluation_gives_the_scores_of_training(
    command: Command, matcher_run: Path, scenes: Path, tmp_path: Path
) -> None:
    arguments = ("evaluate", f"bundle={matcher_run / 'bundle'}", "data=scenes", f"data.root={scenes}")
    ran = command(*arguments, f"output={tmp_path / 'scores'}")
    assert ran.status == 0, ran.err
    own, again = (json.loads((f / "metrics.json").read_text()) for f in (matcher_run, tmp_path / "scores"))
    assert again["metrics"] == own["metrics"]
    assert own["signature"]["captions_per_image"] == 5
    low, high = own["intervals"]["image_to_text R@5"]
    assert low <= own["metrics"]["image_to_text R@5"] <= high
    report = command("report", matcher_run, tmp_path / "scores").out
    assert report.count("| +0.0000 | +0.0000 – +0.0000 | 1.0000 |") == len(own["metrics"])
    assert command(*arguments, "retrieval=1", f"output={tmp_path / 'one'}").status == 0
    assert json.loads((tmp_path / "one" / "metrics.json").read_text())["signature"]["captions_per_image"] == 1
    assert "different images or references" in command("report", matcher_run, tmp_path / "one").out


def test_pointing_is_measured_beside_recall(command: Command, matcher_run: Path, scenes: Path, tmp_path: Path) -> None:
    arguments = ("evaluate", f"bundle={matcher_run / 'bundle'}", "data=scenes", f"data.root={scenes}", "pointing=true")
    ran = command(*arguments, f"output={tmp_path / 'scores'}")
    assert ran.status == 0, ran.err
    assert "colour and shape words of 8 of 8 images" in ran.out
    found = json.loads((tmp_path / "scores" / "metrics.json").read_text())
    low, high = found["intervals"]["pointing"]
    assert low <= found["metrics"]["pointing"] <= high <= found["details"]["pointing bound"] + 1e-9
    assert found["metrics"]["recall"] == json.loads((matcher_run / "metrics.json").read_text())["metrics"]["recall"]
    assert (found["signature"]["beta"], found["signature"]["pointing_words"] > 100) == (0.0, True)
    assert check_digests(tmp_path / "scores", ["pointing.csv", "pointing_words.csv"])

    assert command(*arguments, "beta=1e3", f"output={tmp_path / 'beta'}").status == 0
    rows = list(csv.DictReader((tmp_path / "beta" / "pointing.csv").read_text().splitlines()))
    assert {row["kind"] for row in rows} == {"all", "colour", "shape"}
    by_kind = {row["kind"]: row["share"] for row in rows if row["source"] == "whole_image"}
    assert by_kind["colour"] == by_kind["shape"]  # one region for each caption


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        (["beta=0.5"], "beta=0.5 belongs to pointing=true; add that, or remove beta"),
        (["pointing=true", "beta=-1"], "beta=-1: expected a number from 0"),
        (
            ["pointing=true", "data=flickr8k"],
            "pointing: this data set has no boxes; use data=scenes, coco, coco2014 or",
        ),
    ],
)
def test_pointing_with_other_settings_is_refused(
    command: Command, matcher_run: Path, scenes: Path, tmp_path: Path, settings: list[str], expected: str
) -> None:
    arguments = ("evaluate", f"bundle={matcher_run / 'bundle'}", "data=scenes", f"data.root={scenes}", *settings)
    assert expected in command(*arguments, f"output={tmp_path / 'scores'}").message


def test_pointing_of_a_model_that_aligns_no_words_is_refused(
    command: Command, bundle: Path, scenes: Path, tmp_path: Path
) -> None:
    arguments = ("evaluate", f"bundle={bundle}", "data=scenes", f"data.root={scenes}", "pointing=true")
    message = command(*arguments, f"output={tmp_path / 'scores'}").message
    assert "holds a decoder, and only a matcher aligns words" in message


def test_pointing_of_a_matcher_with_one_vector_for_a_sentence_is_refused(
    command: Command, scenes: Path, tmp_path: Path
) -> None:
    small = [setting for setting in SMALL if not setting.startswith("matcher.")]
    train = ("train", "experiment=scenes/alignment", "matcher=bag_of_words", f"data.root={scenes}", *small)
    assert command(*train, "trainer.max_epochs=1", f"output={tmp_path / 'run'}").status == 0
    arguments = ("evaluate", f"bundle={tmp_path / 'run' / 'bundle'}", "data=scenes", f"data.root={scenes}")
    message = command(*arguments, "pointing=true", f"output={tmp_path / 'scores'}").message
    assert "has one vector for a sentence and none for its words; use a model of matcher=brnn" in message


def test_a_resumed_matcher_is_the_one_that_was_never_stopped(
    command: Command, matcher_run: Path, scenes: Path, tmp_path: Path
) -> None:
    train = ("train", "experiment=scenes/alignment", f"data.root={scenes}", *SMALL, f"output={tmp_path / 'run'}")
    assert command(*train, "trainer.max_epochs=1").status == 0
    assert command(*train, "resume=auto").status == 0
    resumed, whole = (load_model(folder / "bundle").state_dict() for folder in (tmp_path / "run", matcher_run))
    assert all(torch.equal(resumed[name], whole[name]) for name in whole)


def test_the_golden_examples_are_replayed(command: Command, matcher_run: Path) -> None:
    assert "3 golden examples give the same captions" in command("check", matcher_run / "bundle").out


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["xyzzy qwerty"], "'xyzzy qwerty' has no word that the model knows; describe the image in other words"),
        ([""], "'' has no word that the model knows"),
        (["a circle", "--beta", "-1"], "beta=-1.0 must be a finite number of at least 0"),
    ],
)
def test_what_cannot_be_aligned_is_refused(
    command: Command, matcher_run: Path, image: Path, arguments: list[str], expected: str
) -> None:
    assert expected in command("align", image, *arguments, "--model", matcher_run / "bundle").message


def test_a_missing_image_is_reported(command: Command, matcher_run: Path, tmp_path: Path) -> None:
    message = command("align", tmp_path / "none.jpg", "a circle", "--model", matcher_run / "bundle").message
    assert "none.jpg: there is no such file; name one image" in message


def test_a_bundle_of_another_kind_is_refused(command: Command, bundle: Path, image: Path) -> None:
    message = command("align", image, "a circle", "--model", bundle).message
    assert "holds a decoder, expected a matcher; a captioner writes captions: use `captioning caption`" in message


def test_a_batch_of_one_image_has_no_negatives_and_is_refused(command: Command, scenes: Path, tmp_path: Path) -> None:
    settings = ("experiment=scenes/alignment", f"data.root={scenes}", *SMALL, "data.batch_size=1")
    message = command("train", *settings, f"output={tmp_path / 'run'}").message
    assert "data.batch_size=1: a matcher learns from the other images of a batch; set data.batch_size=100" in message
