"""captioning calibrate, and what caption, evaluate, explain and check do with a calibrated bundle."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from captioning import Captioner
from captioning.data.scenes import write_scenes
from captioning.errors import InputError
from captioning.files.digests import sha256, write_digests
from captioning.model.confidences import FILES

Command = Callable[..., Any]


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Scenes with enough held-out images."""
    root = tmp_path_factory.mktemp("data") / "scenes"
    write_scenes(root, num_train=24, num_val=100, num_test=2, size=32)
    return root


@pytest.fixture(scope="module")
def calibrate(command: Command, many: Path) -> Command:
    def run(bundle: Path, output: Path, *overrides: str) -> Any:
        given = (f"bundle={bundle}", "data=scenes", f"data.root={many}", f"output={output}", "device=cpu")
        return command("calibrate", *given, *overrides)

    return run


@pytest.fixture(scope="module")
def green(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An image that is no scene: it is green all over."""
    from PIL import Image

    path = tmp_path_factory.mktemp("green") / "green.png"
    Image.new("RGB", (64, 64), (0, 255, 0)).save(path)
    return path


@pytest.fixture(scope="module")
def calibrated(
    calibrate: Command, bundle: Path, green: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Any, Path, dict[str, str]]:
    """What the command printed, the folder that it wrote, and the digests that the model had before."""
    before = {path.name: sha256(path) for path in bundle.iterdir()}
    folder = tmp_path_factory.mktemp("calibrated")
    ran = calibrate(bundle, folder, "correct.threshold=0.1", "risk=0.5", f"outside=[{green}]", "rank=4")
    assert ran.status == 0, ran.err
    return ran, folder, before


def test_it_writes_a_new_bundle_and_a_report_and_leaves_the_model_as_it_was(
    calibrated: tuple[Any, Path, dict[str, str]], bundle: Path, command: Command
) -> None:
    ran, folder, before = calibrated
    assert {path.name: sha256(path) for path in bundle.iterdir()} == before
    assert command("check", folder).out.startswith(f"{folder / 'bundle'}: the weights fit and are finite; all digests")
    found = json.loads((folder / "calibration.json").read_text())
    assert found["correctness"] == {"metric": "CIDEr", "threshold": 0.1}
    assert found["fitted"] == {"data": "scenes", "split": "val", "num_images": 50}
    assert found["num_images"] == 50
    assert found["out_of_domain"]["num_outside"] == 1
    assert "ECE, 2 bins of equal mass" in ran.out
    assert f"--min-confidence {found['risk_control']['min_confidence']:.4f}" in ran.out
    assert "<svg" in (folder / "page.html").read_text()


def test_captions_have_confidences_and_are_otherwise_the_same(
    calibrated: tuple[Any, Path, dict[str, str]], bundle: Path, many: Path, command: Command
) -> None:
    _, folder, _ = calibrated
    image = next((many / "test2017").glob("*.jpg"))
    plain = json.loads(command("caption", image, "--model", bundle, "--json").out)
    found = json.loads(command("caption", image, "--model", folder, "--json").out)
    assert (found["caption"], found["score"]) == (plain["caption"], pytest.approx(plain["score"], abs=1e-4))
    assert 0 < found["confidence"] < 1
    assert (found["withheld"], found["out_of_domain"]) == (None, found["distance"] > 1)
    assert all(("confidence" in word) == (word["text"] != "<eos>") for word in found["words"])
    printed = command("caption", image, "--model", folder)
    assert printed.out == f"{image}: {found['caption']} (confidence {found['confidence']:.2f})\n"


def test_an_image_of_another_kind_is_reported(
    calibrated: tuple[Any, Path, dict[str, str]], green: Path, command: Command, tmp_path: Path
) -> None:
    _, folder, _ = calibrated
    ran = command("caption", green, "--model", folder)
    assert (ran.status, f"{green} is unlike the training images" in ran.err) == (0, True)
    page = tmp_path / "page.html"
    assert command("explain", green, "--model", folder, "-o", page).status == 0
    assert "But this image is unlike the training images" in page.read_text()


def test_captions_below_the_confidence_are_withheld_and_say_why(
    calibrated: tuple[Any, Path, dict[str, str]], many: Path, command: Command
) -> None:
    _, folder, _ = calibrated
    images = sorted((many / "val2017").glob("*.jpg"))[:40]
    lines = [json.loads(line) for line in command("caption", *images, "--model", folder, "--json").out.splitlines()]
    middle = float(np.median([line["confidence"] for line in lines]))
    ran = command("caption", *images, "--model", folder, "--json", "--min-confidence", middle)
    for line, found in zip(lines, map(json.loads, ran.out.splitlines()), strict=True):
        if line["confidence"] < middle:
            assert found["caption"] is None
            assert found["withheld"] == f"confidence {line['confidence']:.4f} is below {middle:.4f}"
            assert line["caption"] not in json.dumps(found)
        else:
            assert found == line
    assert "20 of 40 captions were withheld" in ran.err
    some = command("caption", *images, "--model", folder, "--coverage", "0.5").out
    assert 5 < some.count("(withheld: confidence 0.") < 35
    assert "which a share of 0.5 of the captions reached in calibration" in some


def test_alternative_texts_are_sentences(
    calibrated: tuple[Any, Path, dict[str, str]], many: Path, command: Command
) -> None:
    _, folder, _ = calibrated
    image = next((many / "test2017").glob("*.jpg"))
    ran = command("caption", image, "--model", folder, "--alt-text", "--notice")
    assert ran.out.startswith(f"{image}: Machine-written caption: ")
    assert ran.out.endswith(".\n")
    found = json.loads(command("caption", "--alt-text", "--json", image, "--model", folder).out)
    assert found["alt_text"][0].isupper()
    assert command("caption", "--model", folder, "--alt-text", "--notice", image, image).status == 2
    assert command("caption", image, "--model", folder, "--notice", "Mine:").status == 2


def test_an_evaluation_reports_the_calibration(
    calibrated: tuple[Any, Path, dict[str, str]], many: Path, command: Command, tmp_path: Path
) -> None:
    _, folder, _ = calibrated
    ran = command(
        "evaluate", f"bundle={folder}", "data=scenes", f"data.root={many}", f"output={tmp_path}", "data.split=val",
        "metrics.names=[CIDEr]", "examples=1", "trainer.accelerator=cpu",
    )  # fmt: skip
    assert ran.status == 0, ran.err
    found = json.loads((tmp_path / "metrics.json").read_text())["calibration"]
    assert found["num_images"] == 100
    assert 0 <= found["captions"]["equal_mass"]["ece"] <= 1
    assert "of the risk at 1" in ran.out
    assert "<h2>Confidence</h2>" in (tmp_path / "page.html").read_text()
    assert "confidence,distance" in (tmp_path / "per_image.csv").read_text().splitlines()[0]


def test_a_model_without_confidences_says_how_to_get_them(bundle: Path, many: Path, command: Command) -> None:
    image = next((many / "test2017").glob("*.jpg"))
    for option in (("--min-confidence", "0.5"), ("--coverage", "0.7")):
        assert (
            "calibrate it with `captioning calibrate " in command("caption", image, "--model", bundle, *option).message
        )


def test_another_search_is_reported(calibrated: tuple[Any, Path, dict[str, str]], many: Path, command: Command) -> None:
    _, folder, _ = calibrated
    image = next((many / "test2017").glob("*.jpg"))
    assert "for the model's own search" in command("caption", image, "--model", folder, "--beam-size", "2").err
    assert "for the model's own search" not in command("caption", image, "--model", folder, "--num-best", "2").err


def test_python_has_confidences_and_withholds(calibrated: tuple[Any, Path, dict[str, str]], many: Path) -> None:
    _, folder, _ = calibrated
    captioner = Captioner.from_pretrained(folder)
    captions = captioner.caption(sorted((many / "val2017").glob("*.jpg"))[:9])
    assert [caption.withheld for caption in captioner.withhold(captions, min_confidence=0.0)] == [None] * 9
    assert all(caption.withheld for caption in captioner.withhold(captions, min_confidence=1.0))
    for wrong in ({}, {"min_confidence": 0.5, "coverage": 0.5}, {"min_confidence": 2.0}, {"coverage": 0.0}):
        with pytest.raises(InputError):
            captioner.withhold(captions, **wrong)
    ends = captions[0].words[-1]
    assert (ends.text, ends.confidence) in (("<eos>", None), (ends.text, pytest.approx(ends.confidence or 0)))


@pytest.mark.parametrize("name", FILES)
def test_a_damaged_or_missing_file_is_found(
    calibrated: tuple[Any, Path, dict[str, str]], name: str, tmp_path: Path
) -> None:
    bundle = shutil.copytree(calibrated[1] / "bundle", tmp_path / "bundle")
    content = (bundle / name).read_bytes()
    (bundle / name).write_bytes(content[:-9])
    with pytest.raises(InputError, match="damaged, changed or missing"):
        Captioner.from_pretrained(bundle)
    write_digests(bundle)
    with pytest.raises(InputError, match=r"damaged|broken JSON"):
        Captioner.from_pretrained(bundle)
    (bundle / name).unlink()
    with pytest.raises(InputError, match=f"{name} not found"):
        Captioner.from_pretrained(bundle)


def test_values_that_would_change_what_a_confidence_is_are_refused(
    calibrated: tuple[Any, Path, dict[str, str]], tmp_path: Path
) -> None:
    bundle = shutil.copytree(calibrated[1] / "bundle", tmp_path / "bundle")
    values = json.loads((bundle / "calibration.json").read_text())
    for key, wrong in (
        ("farthest", 0.0),
        ("quantiles", [0.5] * 100),
        ("quantiles", [2.0] * 101),
        ("vectors", "grid"),
        ("captions", {**values["captions"], "deviations": [0.0] * 5}),
        ("words", {**values["words"], "weights": [0.0] * 3}),
    ):
        (bundle / "calibration.json").write_text(json.dumps({**values, key: wrong}))
        write_digests(bundle)
        with pytest.raises(InputError, match=r"calibration\.json"):
            Captioner.from_pretrained(bundle)


def test_a_saved_captioner_keeps_its_confidences(
    calibrated: tuple[Any, Path, dict[str, str]], many: Path, tmp_path: Path
) -> None:
    captioner = Captioner.from_pretrained(calibrated[1])
    again = Captioner.from_pretrained(captioner.save(tmp_path / "saved"))
    image = next((many / "test2017").glob("*.jpg"))
    one, other = captioner.caption(image), again.caption(image)
    assert replace(one, words=()) == replace(other, words=())


def test_what_cannot_be_calibrated_is_refused_before_any_work(
    calibrate: Command, bundle: Path, scenes: Path, calibrated: tuple[Any, Path, dict[str, str]], tmp_path: Path
) -> None:
    assert "choose data.split=val or test" in calibrate(bundle, tmp_path, "data.split=train").message
    assert "expected at least 100" in calibrate(bundle, tmp_path, f"data.root={scenes}").message
    assert "exists already" in calibrate(bundle, calibrated[1]).message
    assert "BLEU-1" in calibrate(bundle, tmp_path, "correct.metric=BLEU").message
    assert "there is no image" in calibrate(bundle, tmp_path, "outside=[nothing.jpg]").message
    assert "one model" in calibrate(bundle, tmp_path, f"bundle=[{bundle},{bundle}]").message
