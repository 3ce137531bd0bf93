"""Golden examples: three of a bundle's own captions, which another machine must give too."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from captioning.encoders.features import ImageFeatures, Objects
from captioning.errors import InputError
from captioning.model.caption import Caption
from captioning.model.golden import Golden, make_golden

CAPTIONS = (Caption("a dog", -1.25, True), Caption("", -3.5, False), Caption("ein Hund läuft", -40.0, True))


def whole_features() -> ImageFeatures:
    torch.manual_seed(0)
    objects = Objects(torch.tensor([[1, 0]] * 3), torch.rand(3, 2, 4), torch.tensor([[True, False]] * 3))
    mask = torch.tensor([[True] * 5] * 2 + [[True] * 3 + [False] * 2])
    final = (torch.rand(3, 1, 2), torch.rand(3, 1, 2))
    return ImageFeatures(
        torch.rand(3, 7), torch.rand(3, 5, 7), mask, objects, final, torch.rand(3, 11), torch.rand(3, 13)
    )


@pytest.mark.parametrize("features", [ImageFeatures(torch.rand(3, 7)), whole_features()], ids=["pooled", "all"])
def test_written_examples_are_read_back(features: ImageFeatures, tmp_path: Path) -> None:
    Golden(features, CAPTIONS).write(tmp_path)
    read = Golden.read(tmp_path)
    assert read is not None
    assert read.captions == CAPTIONS
    for own, back in ((features, read.features), (features.objects, read.features.objects)):
        if own is None or back is None:
            assert own is back
            continue
        for name, value in vars(own).items():
            if isinstance(value, torch.Tensor):
                assert value.equal(getattr(back, name))
    assert len(read.features.final or ()) == len(features.final or ())
    assert all(a.equal(b) for a, b in zip(features.final or (), read.features.final or (), strict=True))


def test_a_bundle_of_an_earlier_version_has_none(tmp_path: Path) -> None:
    assert Golden.read(tmp_path) is None


def test_rounding_passes_and_other_captions_do_not() -> None:
    golden = Golden(ImageFeatures(torch.rand(3, 7)), CAPTIONS)
    first, *others = CAPTIONS
    golden.check([Caption("a dog", -1.2504, True), *others], "x")
    for other in (Caption("a cat", -1.25, True), Caption("a dog", -1.26, True), Caption("a dog", -1.25, False)):
        with pytest.raises(InputError, match=r"^x: golden example 1 should give 'a dog' \(-1\.2500\) and gives"):
            golden.check([other, *others], "x")
    with pytest.raises(InputError, match="golden example 1"):
        golden.check([Caption(first.text, float("nan"), True), *others], "x")


@pytest.mark.parametrize("read", ["pooled", "words"])
def test_images_whose_captions_rounding_could_change_are_not_chosen(read: str) -> None:
    values = torch.tensor([[0.5], [0.9], [0.5], [0.1], [0.2], [0.3]])
    features = replace(ImageFeatures(torch.zeros(6, 1)), **{read: values})

    def decode(given: ImageFeatures) -> Sequence[Caption]:
        own = getattr(given, read)[:, 0].tolist()
        return [Caption("low" if x < 0.4 else f"exactly {x}", x, True) for x in own]

    golden = make_golden(decode, features)
    assert getattr(golden.features, read).equal(values[3:])
    assert [caption.text for caption in golden.captions] == ["low"] * 3
    golden.check(decode(golden.features), "x")


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("golden.json", "[]"),
        ("golden.json", "{}"),
        ("golden.json", '[{"text": "a", "score": "high", "finished": true}]'),
        ("golden.json", "["),
        ("golden.safetensors", "not tensors"),
        ("golden.safetensors", ""),
    ],
)
def test_damaged_examples_are_one_message(name: str, content: str, tmp_path: Path) -> None:
    Golden(ImageFeatures(torch.rand(3, 7)), CAPTIONS).write(tmp_path)
    (tmp_path / name).write_text(content)
    with pytest.raises(InputError, match=name.replace(".", r"\.")):
        Golden.read(tmp_path)


def test_examples_without_pooled_features_or_with_half_of_the_objects_are_refused(tmp_path: Path) -> None:
    Golden(whole_features(), CAPTIONS).write(tmp_path)
    path = tmp_path / "golden.safetensors"
    whole = load_file(path)
    for missing in ("pooled", "objects.boxes", "final.0"):
        save_file({name: tensor for name, tensor in whole.items() if name != missing}, path)
        with pytest.raises(InputError, match=r"golden\.safetensors does not hold the features"):
            Golden.read(tmp_path)


def test_the_captions_are_readable_by_people(tmp_path: Path) -> None:
    Golden(ImageFeatures(torch.rand(3, 7)), CAPTIONS).write(tmp_path)
    assert json.loads((tmp_path / "golden.json").read_text())[0] == {"text": "a dog", "score": -1.25, "finished": True}
    assert "läuft" in (tmp_path / "golden.json").read_text(encoding="utf-8")
