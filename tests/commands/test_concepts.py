"""A word detector from training to captioning concepts: its words, their maps, its scores, and what is refused."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from captioning import Captioner, ConceptDetector
from captioning.files.digests import write_digests
from captioning.model.load import load_model

Command = Callable[..., Any]
SMALL = (
    "encoder.size=[16,16]", "encoder.channels=[8,16]", "trainer.max_epochs=2", "trainer.check_val_every_n_epoch=1",
    "trainer.accelerator=cpu", "trainer.log_every_n_steps=1", "+trainer.enable_progress_bar=false",
    "callbacks.progress=null", "logger=csv", "schedule=constant",
)  # fmt: skip


@pytest.fixture(scope="module")
def detector_run(command: Command, scenes: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("detector") / "run"
    ran = command("train", "experiment=scenes/word_detector", f"data.root={scenes}", *SMALL, f"output={folder}")
    assert ran.status == 0, ran.err
    return folder


@pytest.fixture
def images(scenes: Path) -> list[Path]:
    return sorted((scenes / "val2017").glob("*.jpg"))[:3]


def test_the_bundle_finds_the_words_that_the_command_prints(
    command: Command, detector_run: Path, images: list[Path]
) -> None:
    model = ConceptDetector.from_pretrained(detector_run / "bundle")
    found = model.concepts(images, most=3)
    ran = command("concepts", *images, "--model", detector_run / "bundle", "--most", "3", "--json", "--batch-size", "2")
    lines = [json.loads(line) for line in ran.out.splitlines()]
    assert [line["image"] for line in lines] == [str(path) for path in images]
    for line, concepts in zip(lines, found, strict=True):
        assert [concept["word"] for concept in line["concepts"]] == [concept.word for concept in concepts]
        assert [c["score"] for c in line["concepts"]] == pytest.approx([c.score for c in concepts], rel=1e-4)
    assert all(len(concepts) == 3 and not concepts[0].word.startswith("<") for concepts in found)
    plain = command("concepts", images[0], "--model", detector_run / "bundle", "--most", "1").out
    assert plain == f"{images[0]}: {found[0][0].word} {found[0][0].probability:.2f}\n"


def test_probabilities_are_calibrated_on_half_of_validation(detector_run: Path) -> None:
    model = ConceptDetector.from_pretrained(detector_run / "bundle")
    fresh = type(model.calibration)(vocab_size=len(model.tokenizer))
    assert not torch.equal(model.calibration.precisions, fresh.precisions)
    details = json.loads((detector_run / "metrics.json").read_text())["details"]
    assert {"calibration_error", "calibration_error before"} <= details.keys()


def test_evaluation_gives_the_scores_of_training(
    command: Command, detector_run: Path, scenes: Path, tmp_path: Path
) -> None:
    bundle = detector_run / "bundle"
    ran = command("evaluate", f"bundle={bundle}", "data=scenes", f"data.root={scenes}", f"output={tmp_path / 'scores'}")
    assert ran.status == 0, ran.err
    own, again = (json.loads((f / "metrics.json").read_text()) for f in (detector_run, tmp_path / "scores"))
    assert own["metrics"].keys() == {"AP", "PHR", "human_precision", "human_recall", "chance"}
    for part in ("metrics", "details"):
        assert again[part] == pytest.approx(own[part], abs=1e-6)
    assert own["intervals"]["AP"][0] <= own["metrics"]["AP"] <= own["intervals"]["AP"][1]
    assert (tmp_path / "scores" / "per_word.csv").read_text().startswith("word,class,AP,PHR,")
    report = command("report", detector_run, tmp_path / "scores").out
    assert {"AP small", "AP medium", "AP large", "chance small"} <= again["intervals"].keys()
    assert report.count("| +0.0000 | +0.0000 – +0.0000 | 1.0000 |") == 5  # AP, PHR and AP of three sizes
    assert command("check", tmp_path / "scores", detector_run).status == 1  # an evaluation holds no bundle
    assert command("check", detector_run).status == 0


def test_a_resumed_detector_is_the_one_that_was_never_stopped(
    command: Command, detector_run: Path, scenes: Path, tmp_path: Path
) -> None:
    train = ("train", "experiment=scenes/word_detector", f"data.root={scenes}", *SMALL, f"output={tmp_path / 'run'}")
    assert command(*train, "trainer.max_epochs=1").status == 0
    ran = command(*train, "resume=auto")
    assert ran.status == 0, ran.err
    resumed, whole = (load_model(folder / "bundle").state_dict() for folder in (tmp_path / "run", detector_run))
    assert all(torch.equal(resumed[name], whole[name]) for name in whole)


def test_maps_show_each_word(command: Command, detector_run: Path, images: list[Path], tmp_path: Path) -> None:
    ran = command("concepts", *images, "--model", detector_run / "bundle", "--maps", tmp_path / "maps")
    assert ran.status == 0, ran.err
    assert sorted(path.name for path in (tmp_path / "maps").iterdir()) == sorted(f"{i.stem}.png" for i in images)


def test_an_image_that_cannot_be_read_is_reported_beside_the_rest(
    command: Command, detector_run: Path, images: list[Path], tmp_path: Path
) -> None:
    (tmp_path / "broken.jpg").write_bytes(b"no image")
    ran = command("concepts", tmp_path / "broken.jpg", images[0], "--model", detector_run / "bundle")
    assert ran.status == 1
    assert "captioning concepts: " in ran.err and "broken.jpg" in ran.err
    assert str(images[0]) in ran.out


def test_a_bundle_of_another_kind_is_refused_with_what_to_use(
    command: Command, detector_run: Path, bundle: Path, images: list[Path]
) -> None:
    message = command("caption", "--model", detector_run / "bundle", images[0]).message
    assert "holds a detector, expected a decoder; a word detector finds words: use `captioning concepts`" in message
    message = command("concepts", images[0], "--model", bundle).message
    assert "holds a decoder, expected a detector; a captioner writes captions: use `captioning caption`" in message
    assert Captioner.from_pretrained(bundle).head_name == "decoder"


def test_settings_of_captions_are_refused(command: Command, detector_run: Path, scenes: Path, tmp_path: Path) -> None:
    message = command(
        "evaluate", f"bundle={detector_run / 'bundle'}", "data=scenes", f"data.root={scenes}", "search.beam_size=3",
        f"output={tmp_path / 'scores'}",
    ).message  # fmt: skip
    assert "holds a detector, which writes no captions; remove it" in message


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("decoder=show_and_tell", "expected one of decoder=, detector=, matcher=, found decoder and detector; choose"),
        ("encoder.grid=false", "NoisyOr looks for words in grid cells; set encoder.grid=true"),
        ("objective=cross_entropy", "CrossEntropy trains a Decoder, found NoisyOr; choose another objective="),
        (
            "metrics.monitor=CIDEr",
            "metrics.monitor=CIDEr is not computed by metrics.names=[]; add it, or monitor one of",
        ),
    ],
)
def test_parts_that_do_not_fit_are_refused(
    command: Command, scenes: Path, tmp_path: Path, override: str, expected: str
) -> None:
    ran = command(
        "train",
        "experiment=scenes/word_detector",
        f"data.root={scenes}",
        *SMALL,
        override,
        f"output={tmp_path / 'run'}",
    )
    assert expected in ran.message


def test_an_image_with_fewer_than_five_references_is_refused(command: Command, scenes: Path, tmp_path: Path) -> None:
    root = Path(shutil.copytree(scenes, tmp_path / "scenes"))
    path = root / "annotations" / "captions_val2017.json"
    content = json.loads(path.read_text())
    content["annotations"].pop()
    path.write_text(json.dumps(content))
    ran = command("train", "experiment=scenes/word_detector", f"data.root={root}", *SMALL, f"output={tmp_path / 'run'}")
    assert "word detectors are scored against 5 references of each image; 1 of 8 images have fewer" in ran.message


@pytest.mark.parametrize(
    ("changed", "expected"),
    [
        ({"detector": {"_target_": "os.system"}}, "'os.system' is no class that may stand here"),
        ({"detector": {"_target_": "captioning.encoders.SmallCNN"}}, "captioning.encoders.SmallCNN is no WordDetector"),
        ({"detector": {"_target_": "captioning.decoders.FC"}}, "'captioning.decoders.FC' is no class that may stand"),
        ({"matcher": {"_target_": "captioning.matchers.Brnn"}}, "or a matcher, found detector, matcher; copy the"),
        ({"search": {"_target_": "captioning.search.GreedySearch"}}, "found detector, search; copy the bundle again"),
        ({"detector": None}, "found none; copy the bundle again"),
    ],
)
def test_a_bundle_that_names_other_parts_is_refused(
    command: Command, detector_run: Path, tmp_path: Path, changed: dict[str, Any], expected: str
) -> None:
    folder = Path(shutil.copytree(detector_run / "bundle", tmp_path / "bundle"))
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | changed))
    write_digests(folder)
    assert expected in command("check", folder).message
