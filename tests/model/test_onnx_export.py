"""Exported captioners: the same logits and captions as torch's, for any number of images, or a clear refusal."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import CONCEPTS, build_loud, one_of_each_decoder
from torch import Tensor, nn
from torch.testing import assert_close

from captioning import Captioner
from captioning.decoders import MRNN, Att2in, Decoder, ShowAndTell, ShowAttendAndTell, Soft, UpDown
from captioning.encoders import Regions, SmallCNN, TextEncoder, TextTransform, TimmEncoder
from captioning.encoders.encoder import Encoder
from captioning.encoders.features import ImageFeatures
from captioning.encoders.standardise import Standardise
from captioning.encoders.transform import ImageTransform
from captioning.errors import InputError
from captioning.model.onnx_export import export_onnx
from captioning.model.onnx_model import load_onnx
from captioning.recurrent import GRU, LSTM
from captioning.search import BeamSearch, Gnmt, GreedySearch, NoRepeatNgrams, Sampling
from captioning.text import Tokenizer

REFUSED = {"Obj2Text", "VisualConcepts", "Bahdanau"}
"""Decoders of objects, of n-grams that a table holds, and of sentences read in both directions."""
SIZES = {"embedding_size": 17, "hidden_size": 19}
DECODERS: dict[str, Callable[..., Decoder[Any]]] = {
    "show_and_tell_lstm": lambda **own: ShowAndTell(recurrent=LSTM, **SIZES, **own),
    "show_and_tell_gru": lambda **own: ShowAndTell(recurrent=GRU, **SIZES, **own),
    "mrnn": lambda **own: MRNN(multimodal_size=23, **SIZES, **own),
    "soft_attention": lambda **own: ShowAttendAndTell(phi=Soft(), attention_size=23, **SIZES, **own),
    "up_down": lambda **own: UpDown(attention_size=23, **SIZES, **own),
    "att2in": lambda **own: Att2in(attention_size=23, **SIZES, **own),
}


def installed() -> bool:
    """Whether the extra is installed; its packages are not imported, as that takes a second."""
    from importlib.util import find_spec

    return all(find_spec(name) for name in ("onnx", "onnxruntime", "onnxscript"))


needs_onnx = pytest.mark.skipif(not installed(), reason="onnx, onnxruntime or onnxscript is missing: .[export]")
exports = [needs_onnx, pytest.mark.slow, pytest.mark.filterwarnings("ignore")]  # torch's exporter takes seconds


def build(tokenizer: Tokenizer, decoder: str = "show_and_tell_gru", encoder: Encoder | None = None) -> Captioner:
    torch.manual_seed(0)
    encoder = encoder or SmallCNN((32, 24), channels=(8, 16, 24), grid=True)
    head = DECODERS[decoder](feature_size=encoder.feature_size, vocab_size=len(tokenizer))
    for weight in head.parameters():
        nn.init.uniform_(weight, -0.7, 0.7)
    standardise = Standardise(encoder.feature_size, deviation=0.5)
    nn.init.uniform_(standardise.mean)
    search = BeamSearch(beam_size=3, max_length=7, length_normalization=0.5)
    return Captioner(encoder, head, tokenizer, standardise=standardise, search=search).eval()


def photos(count: int) -> list[np.ndarray]:
    random = np.random.default_rng(0)
    return [random.integers(0, 256, (40, 30, 3), dtype=np.uint8) for _ in range(count)]


@torch.no_grad()
def assert_same(model: Captioner, exported: Captioner, num_images: int = 3) -> None:
    """Compare the logits of some steps, and captions with their alternatives and other words."""
    inputs = model.pixels(photos(num_images))
    rows = torch.arange(num_images + 4) % num_images
    states = [own.decoder.start(own.encode(inputs)).rows(rows) for own in (model, exported)]
    for tokens in torch.randint(len(model.tokenizer), (4, len(rows)), generator=torch.Generator().manual_seed(0)):
        steps = [own.decoder.step(tokens, state) for own, state in zip((model, exported), states, strict=True)]
        assert_close(steps[1][0], steps[0][0], rtol=1e-4, atol=1e-4)
        states = [state for _, state in steps]
    expected, found = (own.caption(photos(num_images), num_best=2, runners_up=2) for own in (model, exported))
    for one, other in zip(expected, found, strict=True):
        assert (other.text, other.finished) == (one.text, one.finished)
        assert other.score == pytest.approx(one.score, abs=1e-4)
        assert [a.text for a in other.alternatives] == [a.text for a in one.alternatives]
        assert [[w.text for w in own.runners_up] for own in other.words] == [
            [w.text for w in own.runners_up] for own in one.words
        ]


@pytest.mark.parametrize("decoder", [pytest.param(name, marks=exports) for name in DECODERS])
def test_logits_and_captions_are_those_of_torch(decoder: str, tokenizer: Tokenizer, tmp_path: Path) -> None:
    model = build(tokenizer, decoder)
    before = copy.deepcopy(model.state_dict())
    exported = load_onnx(export_onnx(model, tmp_path / "exported"))
    assert exported.search == model.search
    for number in (1, 3):
        assert_same(model, exported, number)
    assert all(value.equal(before[name]) for name, value in model.state_dict().items())
    names = {path.name for path in (tmp_path / "exported").iterdir()}
    assert names == {"encoder.onnx", "start.onnx", "step.onnx", "config.json", "tokenizer.json", "SHA256SUMS"}
    damaged = tmp_path / "exported" / "step.onnx"
    damaged.write_bytes(damaged.read_bytes() + b"\0")
    with pytest.raises(InputError, match=r"damaged, changed or missing \(step.onnx\)"):
        load_onnx(tmp_path / "exported")


@pytest.mark.parametrize("name", [pytest.param("tf_efficientnet_lite0", marks=exports)])
def test_efficientnet_lite_gives_the_same_captions(name: str, tokenizer: Tokenizer, tmp_path: Path) -> None:
    torch.manual_seed(0)
    encoder = TimmEncoder(name, None, grid=True, size=64)
    model = build(tokenizer, "soft_attention", encoder)
    assert_same(model, load_onnx(export_onnx(model, tmp_path / "exported")))


class Linear(Encoder):
    """All features that a decoder may read, as linear maps of the pixels' means."""

    def __init__(self, decoder: Any) -> None:
        half = (0.5, 0.5, 0.5)
        super().__init__("linear", grid=True, transform=ImageTransform((8, 8), mean=half, std=half, mode="squash"))
        self.feature_size = 13
        layer = getattr(decoder, "recurrent", None)
        states = layer.initial(1, like=torch.zeros(1)) if hasattr(layer, "initial") else ()
        self.shapes = [state[:, 0].shape for state in states]
        widths = [13, 4 * 13, len(CONCEPTS), *(shape.numel() for shape in self.shapes)]
        self.maps = nn.ModuleList(nn.Linear(3, width) for width in widths)

    def forward(self, images: Tensor) -> ImageFeatures:
        pooled, grid, words, *final = (layer(images.mean((2, 3))) for layer in self.maps)
        states = tuple(x.unflatten(1, shape) for x, shape in zip(final, self.shapes, strict=True))
        return ImageFeatures(pooled, grid.unflatten(1, (4, 13)), words=words.sigmoid(), final=states or None)


@pytest.mark.parametrize("name", [pytest.param(name, marks=exports) for name in one_of_each_decoder()])
def test_every_decoder_is_exported_or_refused_by_name(name: str, tokenizer: Tokenizer, tmp_path: Path) -> None:
    decoder = build_loud(one_of_each_decoder()[name])
    model = Captioner(Linear(decoder), decoder, tokenizer, search=BeamSearch(beam_size=3, max_length=7)).eval()
    if name in REFUSED:
        with pytest.raises(InputError, match=f"{name} is a decoder that cannot be exported"):
            export_onnx(model, tmp_path / "exported")
    else:
        assert_same(model, load_onnx(export_onnx(model, tmp_path / "exported")))


class Unexportable(ShowAndTell):
    """A decoder whose steps depend on the values of tokens; subclassed only to be refused."""

    def step(self, tokens: Tensor, state: Any) -> tuple[Tensor, Any]:
        logits, state = super().step(tokens, state)
        return logits * (2 if tokens.sum().item() > 3 else 1), state


@pytest.mark.parametrize("kind", [pytest.param(Unexportable, marks=exports)])
def test_a_decoder_that_cannot_be_exported_is_named_and_nothing_is_left(
    kind: type[ShowAndTell], tokenizer: Tokenizer, tmp_path: Path
) -> None:
    model = build(tokenizer)
    sizes = {"feature_size": model.encoder.feature_size, "vocab_size": len(tokenizer)}
    model.decoder = kind(recurrent=GRU, **SIZES, **sizes)
    with pytest.raises(InputError, match="Unexportable is a decoder that cannot be exported"):
        export_onnx(model.eval(), tmp_path / "exported")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "search",
    [
        Sampling(),
        BeamSearch(length_normalization=Gnmt(0.6)),
        BeamSearch(processors=[NoRepeatNgrams(3)]),
        GreedySearch(processors=[NoRepeatNgrams(3)]),
    ],
)
def test_searches_that_config_json_cannot_describe_are_refused(
    search: Any, tokenizer: Tokenizer, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match="with these settings cannot be exported; expected a beam search without"):
        export_onnx(build(tokenizer), tmp_path / "exported", search=search)


def test_models_that_read_no_images_are_refused(tokenizer: Tokenizer, tmp_path: Path) -> None:
    model = build(tokenizer, encoder=Regions("detector", feature_size=13, num_regions=3))
    with pytest.raises(InputError, match="features come from files"):
        export_onnx(model, tmp_path / "exported")
    model = build(tokenizer)
    model.encoder = TextEncoder(vocab_size=len(tokenizer), recurrent=GRU, **SIZES)
    model.transform = TextTransform(tokenizer)
    with pytest.raises(InputError, match="translates sentences"):
        export_onnx(model, tmp_path / "exported")


def test_a_folder_that_is_not_empty_is_refused(tokenizer: Tokenizer, tmp_path: Path) -> None:
    (tmp_path / "kept").touch()
    with pytest.raises(InputError, match="exists already; name another folder"):
        export_onnx(build(tokenizer), tmp_path)


def test_missing_packages_are_named_with_the_extra(
    tokenizer: Tokenizer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def missing(*_: Any, **__: Any) -> None:
        raise ModuleNotFoundError("No module named 'onnxscript'")

    monkeypatch.setattr(torch.onnx, "export", missing)
    with pytest.raises(InputError, match=r"pip install 'captioning\[export\]'"):
        export_onnx(build(tokenizer), tmp_path / "exported")
    assert not list(tmp_path.iterdir())
