"""Several captioners as one: what they share, its bundle, and what does not fit together."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from torch import nn
from torch.testing import assert_close

from captioning.data.batch import collate
from captioning.decoders import FC, ShowAndTell, UpDown
from captioning.encoders import SeveralEncoders, SmallCNN
from captioning.encoders.standardise import Standardise
from captioning.encoders.text import TextEncoder
from captioning.encoders.text_transform import TextTransform
from captioning.encoders.transform import ImageTransform
from captioning.errors import InputError
from captioning.files.digests import write_digests
from captioning.model.captioner import Captioner
from captioning.model.check import check_bundle
from captioning.model.ensemble import ensemble
from captioning.objectives import token_losses
from captioning.recurrent import GRU, LSTM, MaxoutLSTM
from captioning.search import BeamSearch
from captioning.text import train_words

CAPTIONS = ["a red ball lies left of the blue box", "a green cat"]
PARTS = {"recurrent.LSTM": LSTM, "recurrent.MaxoutLSTM": MaxoutLSTM, "recurrent.GRU": GRU}
F = 8 + 8 + 5


def captioner(kind: type, seed: int, *, encoder_seed: int = 0, std: float | None = 0.5, **changes: Any) -> Captioner:
    """A captioner whose encoder has the weights of `encoder_seed`."""
    settings = {"captions": CAPTIONS, "channels": (8, 8), "grid": kind is UpDown, "transform": None, **changes}
    tokenizer = train_words(settings["captions"], min_count=1)
    torch.manual_seed(encoder_seed)
    encoder = SmallCNN((32, 32), channels=settings["channels"], grid=settings["grid"])
    torch.manual_seed(seed)
    sizes = {"feature_size": encoder.feature_size, "vocab_size": len(tokenizer), "embedding_size": 7, "hidden_size": 5}
    layer = {ShowAndTell: "LSTM", FC: "MaxoutLSTM"}.get(kind)
    recurrent = {"recurrent": PARTS[f"recurrent.{layer}"]} if layer else {"attention_size": 3}
    plain = {"recurrent": {"_target_": f"captioning.recurrent.{layer}", "_partial_": True}} if layer else recurrent
    model = Captioner(
        encoder,
        kind(**sizes, **recurrent),
        tokenizer,
        transform=settings["transform"],
        standardise=None if std is None else Standardise(encoder.feature_size, deviation=std),
        search=BeamSearch(beam_size=3, max_length=6),
        config={
            "encoder": {
                "_target_": "captioning.encoders.SmallCNN", "size": [32, 32], "channels": list(settings["channels"]),
                "grid": settings["grid"], "weights": "a/file",
            },
            "decoder": {"_target_": f"captioning.decoders.{kind.__name__}", **sizes, **plain},
            "search": {"_target_": "captioning.search.BeamSearch", "beam_size": 3, "max_length": 6},
            "standardise": std,
        },
    ).eval()  # fmt: skip
    for weight in model.decoder.parameters():
        nn.init.uniform_(weight, -1, 1)
    if std is not None:
        model.standardise.fit([model.encoder(torch.rand(9, 3, 32, 32))])
    return model


def pixels(num: int = 5) -> torch.Tensor:
    return torch.rand(num, 3, 32, 32, generator=torch.Generator().manual_seed(5)) * 2 - 1


def image_files(folder: Path) -> list[Path]:
    paths = [folder / f"{colour}.png" for colour in ("red", "blue", "green")]
    for path in paths:
        Image.new("RGB", (40, 30), path.stem).save(path)
    return paths


def batch_of(features):
    captions = [[[1, 4, 7, 2], [1, 5, 2]], [[1, 6, 2]]]
    return collate((0, 1), captions, pad=0, features=features)


@torch.no_grad()
def losses(model: Captioner, inputs: torch.Tensor) -> torch.Tensor:
    features = model.encode(inputs)
    return token_losses(model.decoder, features, batch_of(features))


def edit(folder: Path, change) -> None:
    config = json.loads((folder / "config.json").read_text())
    change(config)
    (folder / "config.json").write_text(json.dumps(config))
    write_digests(folder)


ONE_ENCODER = [(ShowAndTell, {"seed": 1}), (FC, {"seed": 2, "std": None}), (UpDown, {"seed": 3})]
SEVERAL = [(ShowAndTell, {"seed": 1}), (FC, {"seed": 2, "encoder_seed": 7, "channels": (8, 16)}), (UpDown, {"seed": 3})]


@pytest.fixture(params=[ONE_ENCODER, SEVERAL], ids=["one encoder", "several encoders"])
def models(request: pytest.FixtureRequest) -> list[Captioner]:
    return [captioner(kind, **settings) for kind, settings in request.param]


@pytest.mark.parametrize("average", ["probabilities", "log_probabilities"])
def test_an_ensemble_averages_what_the_models_predict_of_the_same_images(models: list[Captioner], average: Any) -> None:
    got = losses(ensemble(models, weights=[1, 2, 1], average=average), pixels(2))
    weights = torch.tensor([0.25, 0.5, 0.25])[:, None, None]
    each, batch = [], batch_of(None)
    for model in models:
        with torch.no_grad():
            logits = model.decoder(model.encode(pixels(2)), batch.inputs(), batch.image_index)
        each.append(logits.log_softmax(1))
    log_probs = torch.stack(each).double()
    mean = (log_probs.exp() * weights).sum(0).log()
    if average == "log_probabilities":
        mean = (log_probs * weights).sum(0).log_softmax(1)
    expected = -mean.gather(1, batch.targets().data[:, None])[:, 0].float()
    assert_close(got, expected, rtol=1e-5, atol=1e-5)


def test_an_ensemble_of_copies_captions_as_the_model(tmp_path: Path) -> None:
    paths = image_files(tmp_path)
    for kind, settings in SEVERAL:
        expected = captioner(kind, **settings).caption(paths)
        got = ensemble([captioner(kind, **settings) for _ in range(2)]).caption(paths)
        assert [c.text for c in got] == [c.text for c in expected]
        assert [c.score for c in got] == pytest.approx([c.score for c in expected], abs=1e-4)


def test_equal_encoders_are_one_and_return_the_grid_that_a_member_needs() -> None:
    models = [captioner(kind, **settings) for kind, settings in ONE_ENCODER]
    both = ensemble(models)
    assert both.encoder is models[2].encoder
    assert both.encoder.identity(both.transform) == models[2].encoder.identity(models[2].transform)
    several = ensemble([captioner(kind, **settings) for kind, settings in SEVERAL])
    assert isinstance(several.encoder, SeveralEncoders)
    assert [member.encoder for member in several.decoder.members] == [0, 1, 0]


def test_a_bundle_of_an_ensemble_captions_as_the_ensemble(models: list[Captioner], tmp_path: Path) -> None:
    paths = image_files(tmp_path)
    both = ensemble(models, weights=[1, 2, 3], average="log_probabilities")
    folder = both.save(tmp_path / "bundle")
    loaded = Captioner.from_pretrained(folder)
    assert loaded.caption(paths) == both.caption(paths)
    check_bundle(folder)
    assert loaded.save(tmp_path / "again").joinpath("config.json").read_text() == (folder / "config.json").read_text()
    assert "a/file" not in (folder / "config.json").read_text()
    assert "Members: ShowAndTell, FC, UpDown." in (folder / "README.md").read_text()


def test_an_ensemble_can_be_a_member_if_it_has_one_encoder(tmp_path: Path) -> None:
    paths = image_files(tmp_path)
    one, several = (ensemble([captioner(kind, **s) for kind, s in models]) for models in (ONE_ENCODER, SEVERAL))
    nested = ensemble([one, captioner(ShowAndTell, 9)])
    assert Captioner.from_pretrained(nested.save(tmp_path / "nested")).caption(paths) == nested.caption(paths)
    with pytest.raises(InputError, match="already those of several encoders; name the members of that ensemble"):
        ensemble([several, captioner(ShowAndTell, 9)])


def test_golden_examples_of_several_encoders_notice_another_model(tmp_path: Path) -> None:
    models = [captioner(kind, **settings) for kind, settings in SEVERAL]
    folder = ensemble(models).save(tmp_path / "bundle")
    torch.manual_seed(8)
    nn.init.uniform_(models[1].decoder.head.weight, -1, 1)
    other = ensemble(models).save(tmp_path / "other")
    (other / "model.safetensors").replace(folder / "model.safetensors")
    write_digests(folder)
    with pytest.raises(InputError, match="golden example"):
        check_bundle(folder)


def test_pixels_are_converted_to_the_colours_of_each_encoder() -> None:
    colours = ImageTransform((32, 32), mean=(0.4, 0.5, 0.6), std=(0.2, 0.3, 0.4), mode="squash")
    models = [captioner(FC, 1), captioner(FC, 2, encoder_seed=7, transform=colours)]
    image = Image.effect_noise((32, 32), 90).convert("RGB")
    features = ensemble(models).encoder(models[0].transform(image)[None])
    assert_close(features.pooled, models[0].encoder(models[0].transform(image)[None]).pooled)
    assert_close(features.others[0].pooled, models[1].encoder(colours(image)[None]).pooled, rtol=1e-4, atol=1e-4)


def translator(seed: int, texts: list[str]) -> Captioner:
    source, target = train_words(texts, min_count=1), train_words(CAPTIONS, min_count=1)
    torch.manual_seed(seed)
    values = {"vocab_size": len(source), "embedding_size": 5, "hidden_size": 7}
    sizes = {"feature_size": 7, "vocab_size": len(target), "embedding_size": 7, "hidden_size": 5}
    layers = {
        name: {"recurrent": {"_target_": f"captioning.recurrent.{name}", "_partial_": True}} for name in ("GRU", "LSTM")
    }
    return Captioner(
        TextEncoder(recurrent=GRU, **values),
        ShowAndTell(recurrent=LSTM, **sizes),
        target,
        transform=TextTransform(source),
        search=BeamSearch(max_length=6),
        config={
            "encoder": {"_target_": "captioning.encoders.TextEncoder", **values, **layers["GRU"]},
            "decoder": {"_target_": "captioning.decoders.ShowAndTell", **sizes, **layers["LSTM"]},
            "search": {"_target_": "captioning.search.BeamSearch", "max_length": 6},
        },
    ).eval()


def test_an_ensemble_of_translators_translates_and_is_stored(tmp_path: Path) -> None:
    both = ensemble([translator(1, ["ein roter ball"]), translator(2, ["ein roter ball"])])
    loaded = Captioner.from_pretrained(both.save(tmp_path / "bundle"))
    assert loaded.translate(["ein ball", "roter"]) == both.translate(["ein ball", "roter"])
    assert 'model.translate("A sentence.")' in (tmp_path / "bundle" / "README.md").read_text()
    with pytest.raises(InputError, match=r"source sentences of models 1 and 2 differ \(7 and 5 tokens, of which 4 is"):
        ensemble([translator(1, ["ein roter ball"]), translator(2, ["eins"])])


def test_models_that_do_not_fit_together_are_refused_with_what_differs() -> None:
    one = captioner(FC, 1)
    with pytest.raises(InputError, match="at least two members, found 1"):
        ensemble([one])
    other = captioner(FC, 1, captions=[CAPTIONS[0], "a green dog"])
    with pytest.raises(InputError, match=r"models 1 and 3 differ \(15 and 15 tokens, of which \d+ is 'cat'"):
        ensemble([one, one, other])
    with pytest.raises(InputError, match="expected 2 numbers above 0"):
        ensemble([one, one], weights=[1])
    larger = captioner(FC, 1, encoder_seed=3, transform=ImageTransform((64, 32), mode="squash"))
    with pytest.raises(InputError, match=r"read different images \(size \(32, 32\) and \(64, 32\)"):
        ensemble([one, larger])
    with pytest.raises(InputError, match="other rules by which text is tokenized"):
        same = captioner(FC, 1)
        same.tokenizer.backend.normalizer = None
        ensemble([one, same])
    with pytest.raises(InputError, match="read images and texts"):
        ensemble([one, translator(1, ["ein"])])


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A bundle with two encoders."""
    return ensemble([captioner(kind, **settings) for kind, settings in SEVERAL]).save(tmp_path / "bundle")


@pytest.mark.parametrize("trust", [(), ("os",)])
def test_a_part_inside_that_names_other_code_is_refused(folder: Path, trust: tuple[str, ...]) -> None:
    edit(folder, lambda config: config["decoder"]["members"][1]["decoder"].update(_target_="os.system"))
    with pytest.raises(InputError, match="is no class that may stand here"):
        Captioner.from_pretrained(folder, trust=trust)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c: c["encoder"]["encoders"][1].update(weights="a/file"), "encoder's weights must be null"),
        (lambda c: c["encoder"]["encoders"].pop(), "expected at least two encoders, found 1"),
        (lambda c: c["encoder"].update(transforms=[{}]), "found 1 transforms of 2 encoders"),
        (lambda c: c["decoder"]["members"][1].update(encoder=2), "reads 29 of encoder 2"),
        (lambda c: c["decoder"]["members"][1].update(encoder=-1), "encoder=-1 must be at least 0"),
        (lambda c: c["decoder"]["members"][1].update(encoder="0"), "encoder='0': Expected `int`"),
        (lambda c: c["decoder"]["members"][1].update(encoder=0), "have 21 and 29 channels and the decoder reads 29"),
        (lambda c: c["decoder"]["members"][1]["decoder"].update(feature_size=21), "the decoder reads 21 of encoder 0"),
        (lambda c: c["decoder"]["members"][0].update(standardise=float("inf")), "found the number Infinity"),
        (lambda c: c["decoder"]["members"][0].update(standardise=-1), "standardise=-1"),
        (lambda c: c["decoder"]["members"][0]["decoder"].update(hidden_size=9000), "far more weights"),
        (lambda c: c["decoder"].update(members=c["decoder"]["members"] * 400), "far more weights"),
        (lambda c: c["decoder"].update(members=[]), "found members of these sizes: none"),
        (lambda c: c["decoder"].update(members=7), "expected a part"),
        (lambda c: c["decoder"]["members"].pop(), "does not fit config.json"),
        (lambda c: c["decoder"].update(weights=["a"]), "weights"),
        (lambda c: c["decoder"].update(average="max"), "average='max'"),
    ],
)
def test_a_changed_bundle_is_refused_without_a_traceback(folder: Path, change: Any, message: str) -> None:
    edit(folder, change)
    with pytest.raises(InputError, match=message):
        Captioner.from_pretrained(folder)


def test_a_standardisation_larger_than_the_file_is_refused(tmp_path: Path) -> None:
    models = [captioner(FC, 1), captioner(FC, 2)]
    folder = ensemble(models).save(tmp_path / "bundle")

    edit(folder, lambda config: config["decoder"]["members"][0].update(feature_size=10_000_000))
    with pytest.raises(InputError, match="far more weights"):
        Captioner.from_pretrained(folder)


def test_a_damaged_bundle_is_refused(folder: Path) -> None:
    with (folder / "model.safetensors").open("r+b") as file:
        file.seek(-1, 2)
        file.write(b"\1")
    with pytest.raises(InputError, match=r"model\.safetensors"):
        Captioner.from_pretrained(folder)
