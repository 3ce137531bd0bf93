"""A captioner against a language model or other images: what it computes, its bundle, and what does not fit."""

from __future__ import annotations

import json
from collections.abc import Callable
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file
from torch import nn
from torch.testing import assert_close

from captioning.data.batch import CaptionBatch, collate
from captioning.decoders import FC, LanguageModel, ShowAndTell, UpDown
from captioning.decoders.decoder import Decoder
from captioning.encoders import Blind, SmallCNN
from captioning.encoders.encoder import Encoder
from captioning.encoders.features import ImageFeatures
from captioning.encoders.standardise import Standardise
from captioning.errors import InputError
from captioning.files.digests import write_digests
from captioning.model.captioner import Captioner
from captioning.model.check import check_bundle
from captioning.model.contrast import against_images, against_language_model
from captioning.model.ensemble import ensemble
from captioning.recurrent import GRU, LSTM, MaxoutLSTM
from captioning.search import BeamSearch
from captioning.text import train_words

CAPTIONS = ["a red ball lies left of the blue box", "a green cat"]
LAYERS = {ShowAndTell: LSTM, FC: MaxoutLSTM, LanguageModel: GRU}
SEARCH = {"beam_size": 3, "max_length": 6}
CNN = {"size": [32, 32], "channels": [8, 8], "grid": True}


def model(
    kind: type[Decoder[Any]], seed: int, *, blind: bool = False, captions: list[str] = CAPTIONS, encoder_seed: int = 0
) -> Captioner:
    """A model with random weights, whose features are standardised."""
    tokenizer = train_words(captions, min_count=1)
    torch.manual_seed(encoder_seed)
    encoder: Encoder = Blind() if blind else SmallCNN((32, 32), channels=(8, 8), grid=True)
    sizes = {"feature_size": encoder.feature_size, "vocab_size": len(tokenizer), "embedding_size": 7, "hidden_size": 5}
    layer = LAYERS.get(kind)
    more: dict[str, Any] = {"recurrent": layer} if layer else {"attention_size": 3}
    plain = {"recurrent": {"_target_": f"captioning.recurrent.{layer.__name__}", "_partial_": True}} if layer else more
    torch.manual_seed(seed)
    made = Captioner(
        encoder,
        kind(**sizes, **more),
        tokenizer,
        standardise=Standardise(encoder.feature_size, deviation=0.5),
        search=BeamSearch(**SEARCH),
        config={
            "encoder": {"_target_": f"captioning.encoders.{type(encoder).__name__}", **({} if blind else CNN)},
            "decoder": {"_target_": f"captioning.decoders.{kind.__name__}", **sizes, **plain},
            "search": {"_target_": "captioning.search.BeamSearch", **SEARCH},
            "standardise": 0.5,
        },
    ).eval()
    for weight in made.decoder.parameters():
        nn.init.uniform_(weight, -1, 1)
    if not blind:
        made.standardise.fit([encoder(torch.rand(9, 3, 32, 32))])
    return made


@pytest.fixture
def paths(tmp_path: Path) -> list[Path]:
    """Photos, as files of a folder."""
    folder = tmp_path / "images"
    folder.mkdir()
    for colour in ("red", "blue", "green", "white"):
        Image.new("RGB", (40, 30), colour).save(folder / f"{colour}.png")
    return sorted(folder.iterdir())


def batch_of(captioner: Captioner) -> CaptionBatch:
    """One caption of each of two images; their features are given apart from it."""
    captions = [[own] for own in captioner.tokenizer.encode(CAPTIONS)]
    return collate((0, 1), captions, pad=0, features=ImageFeatures(torch.zeros(2, 1)))


@torch.no_grad()
def next_words(made: Captioner, images: list[Path]) -> torch.Tensor:
    """log P of each next word of the two captions, (tokens, V), as the model alone computes it in float64."""
    made, batch = deepcopy(made).double(), batch_of(made)
    features = made.encode(made.pixels(images))
    return made.decoder(features, batch.inputs(), batch.image_index).log_softmax(1)


@pytest.mark.parametrize("kind", [LanguageModel, FC, ShowAndTell])
def test_a_model_is_divided_by_a_blind_model_of_another_width(kind: type[Decoder[Any]], paths: list[Path]) -> None:
    captioner, other = model(ShowAndTell, 1), model(kind, 2, blind=True)
    found = next_words(against_language_model(captioner, other, strength=0.7), paths[:2])
    expected = next_words(captioner, paths[:2]) - 0.7 * next_words(other, paths[:2])
    assert_close(found, expected.log_softmax(1))
    assert found.isfinite().all()


def test_a_language_model_serves_with_any_encoder(paths: list[Path]) -> None:
    captioner, other = model(ShowAndTell, 1), model(LanguageModel, 2)
    found = next_words(against_language_model(captioner, other, strength=0.7), paths[:2])
    expected = next_words(captioner, paths[:2]) - 0.7 * next_words(other, paths[:2])
    assert_close(found, expected.log_softmax(1))


@pytest.mark.parametrize("kind", [ShowAndTell, UpDown])
def test_a_model_is_divided_by_the_mean_over_other_images(kind: type[Decoder[Any]], paths: list[Path]) -> None:
    captioner = model(kind, 1)
    found = next_words(against_images(captioner, paths[1:], strength=0.7, batch_size=2), paths[:2])
    others = torch.stack([next_words(captioner, [path, path]).exp() for path in paths[1:]])
    assert len(others) == 3
    assert_close(
        found, (next_words(captioner, paths[:2]) - 0.7 * others.mean(0).log()).log_softmax(1), rtol=1e-4, atol=1e-5
    )


def both_kinds(strength: float, paths: list[Path]) -> list[Captioner]:
    return [
        against_language_model(model(UpDown, 1), model(LanguageModel, 2, blind=True), strength=strength),
        against_images(model(UpDown, 1), paths[1:], strength=strength),
    ]


def test_without_strength_the_captions_are_the_captioner_s(paths: list[Path]) -> None:
    expected = model(UpDown, 1).caption(paths, num_best=3)
    for made in both_kinds(0.0, paths):
        found = made.caption(paths, num_best=3)
        assert [c.text for c in found] == [c.text for c in expected]
        assert [c.score for c in found] == pytest.approx([c.score for c in expected], abs=1e-4)


def test_a_bundle_captions_as_the_model_and_its_golden_examples_hold(paths: list[Path], tmp_path: Path) -> None:
    for number, made in enumerate(both_kinds(0.7, paths)):
        folder = made.save(tmp_path / str(number))
        loaded = Captioner.from_pretrained(folder)
        assert loaded.caption(paths, num_best=3) == made.caption(paths, num_best=3)
        assert loaded.caption(paths) != model(UpDown, 1).caption(paths)
        check_bundle(folder)
        again = loaded.save(tmp_path / f"again{number}")
        assert (again / "config.json").read_text() == (folder / "config.json").read_text()
        assert "Contrasts: UpDown" in (folder / "README.md").read_text()


def test_other_images_are_weights_and_another_one_is_noticed(paths: list[Path], tmp_path: Path) -> None:
    folder, other = (
        against_images(model(UpDown, 1), images, strength=0.7).save(tmp_path / name)
        for name, images in (("some", paths[:2]), ("others", paths[2:]))
    )
    shapes = {
        name: list(x.shape) for name, x in load_file(folder / "model.safetensors").items() if "distractors" in name
    }
    assert shapes == {"decoder.distractors.grid": [2, 256, 21], "decoder.distractors.pooled": [2, 21]}
    (other / "model.safetensors").replace(folder / "model.safetensors")
    write_digests(folder)
    with pytest.raises(InputError, match="golden example"):
        check_bundle(folder)


def test_contrasted_models_make_an_ensemble_and_are_contrasted_again(paths: list[Path], tmp_path: Path) -> None:
    one, two = both_kinds(0.7, paths)
    both = ensemble([one, two])
    assert Captioner.from_pretrained(both.save(tmp_path / "both")).caption(paths) == both.caption(paths)
    twice = against_language_model(two, model(FC, 3, blind=True), strength=0.2)
    assert Captioner.from_pretrained(twice.save(tmp_path / "twice")).caption(paths) == twice.caption(paths)


def test_an_ensemble_of_blind_models_is_a_language_model(paths: list[Path], tmp_path: Path) -> None:
    languages = ensemble([model(LanguageModel, 2, blind=True), model(FC, 3, blind=True)])
    made = against_language_model(model(UpDown, 1), languages, strength=0.7)
    assert Captioner.from_pretrained(made.save(tmp_path / "bundle")).caption(paths) == made.caption(paths)


def test_models_that_do_not_fit_are_refused(paths: list[Path]) -> None:
    captioner, other = model(ShowAndTell, 1), model(LanguageModel, 2, blind=True, captions=["a red dog", "a green cat"])
    with pytest.raises(InputError, match=r"captioner and the language model differ \(15 and 9 tokens, of which \d+ is"):
        against_language_model(captioner, other, strength=0.5)
    with pytest.raises(InputError, match="is a ShowAndTell and reads what the image shows"):
        against_language_model(captioner, captioner, strength=0.5)
    for strength in (-0.5, float("nan"), float("inf")):
        with pytest.raises(InputError, match="must be at least 0"):
            against_images(captioner, paths, strength=strength)
    with pytest.raises(InputError, match="at least one other image, found none"):
        against_images(captioner, [], strength=0.5)
    several = ensemble([captioner, model(FC, 3, encoder_seed=9)])
    with pytest.raises(InputError, match="contrast each member"):
        against_images(several, paths, strength=0.5)


def edit(folder: Path, change: Callable[[Any], Any]) -> None:
    config = json.loads((folder / "config.json").read_text())
    change(config["decoder"])
    (folder / "config.json").write_text(json.dumps(config))
    write_digests(folder)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c: c["distractors"].update(num_images=2), "does not fit config.json"),
        (lambda c: c["distractors"].update(num_images=0), "num_images=0 must be at least 1"),
        (lambda c: c["distractors"].update(num_images="3"), "num_images='3': Expected `int`"),
        (lambda c: c["distractors"].update(num_images=10_000_000, num_regions=10_000_000), "far more weights"),
        (lambda c: c["distractors"].update(feature_size=20), "the decoder reads 20 of encoder 0"),
        (lambda c: c["distractors"].update(num_regions=None), "does not fit config.json"),
        (lambda c: c["distractors"].update(num_regions=None, masked=True), "masked=true needs num_regions"),
        (lambda c: c["distractors"].update(num_words=4), "does not fit config.json"),
        (lambda c: c.update(distractors=[[0.0]]), "expected a part"),
        (lambda c: c.update(distractors=c["decoder"]), "expected a Distractors, found a UpDown"),
        (lambda c: c.update(strength=-1), "strength=-1 must be at least 0"),
        (lambda c: c["distractors"].update(_target_="os.system"), "is no class that may stand here"),
    ],
)
def test_a_changed_bundle_is_refused_without_a_traceback(
    paths: list[Path], tmp_path: Path, change: Any, message: str
) -> None:
    folder = against_images(model(UpDown, 1), paths[1:], strength=0.7).save(tmp_path / "bundle")
    edit(folder, change)
    with pytest.raises(InputError, match=message):
        Captioner.from_pretrained(folder)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c: c["language_model"].update(zero_size=2), "the decoder reads 1 of encoder 0"),
        (lambda c: c["language_model"].update(zero_size=0), "zero_size=0 must be at least 1"),
        (lambda c: c.update(language_model=c["language_model"]["decoder"]), "the decoder reads 1 of encoder 0"),
        (lambda c: c["decoder"].update(feature_size=1), "the decoder reads 1 of encoder 0"),
        (lambda c: c["language_model"]["decoder"].update(vocab_size=9), "has 15 tokens and the language model 9"),
    ],
)
def test_a_changed_language_model_is_refused_without_a_traceback(tmp_path: Path, change: Any, message: str) -> None:
    made = against_language_model(model(UpDown, 1), model(LanguageModel, 2, blind=True), strength=0.7)
    folder = made.save(tmp_path / "bundle")
    edit(folder, change)
    with pytest.raises(InputError, match=message):
        Captioner.from_pretrained(folder)
