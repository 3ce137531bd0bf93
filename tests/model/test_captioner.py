"""A captioner: captions of images, whatever its mode and their batch."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch
from PIL import Image
from torch import nn

from captioning import Captioner
from captioning.data.batch import collate
from captioning.decoders import MRNN, Att2in, packed
from captioning.encoders import SmallCNN, TextEncoder
from captioning.errors import InputError
from captioning.recurrent import GRU
from captioning.search import GreedySearch
from captioning.text import train_words


@pytest.fixture
def captioner() -> Captioner:
    torch.manual_seed(3)
    tokenizer = train_words(["a red image", "all of it is blue"], min_count=1)
    encoder = SmallCNN((32, 32), channels=(8, 16))
    sizes = {"feature_size": encoder.feature_size, "vocab_size": len(tokenizer)}
    decoder = MRNN(embedding_size=7, hidden_size=11, multimodal_size=13, dropout=0.1, **sizes)
    return Captioner(encoder, decoder, tokenizer, search=GreedySearch(max_length=7))


@pytest.fixture
def paths(tmp_path: Path) -> list[Path]:
    found = [tmp_path / f"{name}.png" for name in ("red", "green", "blue")]
    for path in found:
        Image.new("RGB", (40, 30), path.stem).save(path)
    return found


def test_captioning_leaves_the_mode_as_it_was(captioner: Captioner, paths: list[Path]) -> None:
    captioner.train()
    captioner.caption(paths[0])
    assert captioner.training
    assert captioner.decoder.training


def test_an_image_s_caption_does_not_depend_on_its_neighbours_in_training_mode_either(
    captioner: Captioner, paths: list[Path]
) -> None:
    captioner.train()  # dropout and batch normalisation would tell
    together = captioner.caption(paths)
    for path, caption in zip(paths, together, strict=True):
        alone = captioner.caption(path)
        assert alone.text == caption.text
        assert alone.score == pytest.approx(caption.score, abs=1e-5)


@pytest.mark.parametrize("is_packed", [False, True])
def test_several_threads_get_the_captions_that_one_gets(
    is_packed: bool, captioner: Captioner, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(packed, "SMALLEST", 1)
    captioner.eval()
    if is_packed:
        captioner.pack()
    images = [Image.new("RGB", (40, 30), (8 * i, 255 - 8 * i, 90)) for i in range(24)]
    expected = [captioner.caption(image, beam_size=3, num_best=2) for image in images]
    with ThreadPoolExecutor(6) as pool:
        found = list(pool.map(lambda image: captioner.caption(image, beam_size=3, num_best=2), images))
    assert found == expected


def test_another_search_replaces_the_model_s_for_one_call(captioner: Captioner, paths: list[Path]) -> None:
    own = captioner.caption(paths[0])
    shorter = captioner.caption(paths[0], search=GreedySearch(max_length=1))
    assert len(shorter.text.split()) <= 1
    assert captioner.caption(paths[0]) == own


def test_the_decoder_alone_may_have_another_precision(captioner: Captioner, paths: list[Path]) -> None:
    captioner.eval()
    own, features = captioner.caption(paths), captioner.encode(captioner.pixels(paths))
    assert captioner.decode_in("bfloat16") is captioner
    assert {weight.dtype for weight in captioner.decoder.parameters()} == {torch.bfloat16}
    assert {weight.dtype for weight in captioner.encoder.parameters()} == {torch.float32}
    assert captioner.encode(captioner.pixels(paths)).pooled.equal(features.pooled.bfloat16())
    for found, expected in zip(captioner.caption(paths), own, strict=True):
        assert found.score != expected.score
        assert found.score == pytest.approx(expected.score, rel=0.05)
    captioner.decode_in("float32")
    assert captioner.encode(captioner.pixels(paths)).pooled.equal(features.pooled)
    with pytest.raises(InputError, match="dtype=int8 must be float32 or bfloat16"):
        captioner.decode_in("int8")


def test_images_keep_the_encoder_s_precision_if_the_decoder_has_another(captioner: Captioner) -> None:
    noise = torch.randint(256, (3, 32, 32), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    inputs = captioner.eval().pixels([noise])
    expected = captioner.encode(inputs).pooled.bfloat16()
    assert captioner.decode_in("bfloat16").encode(inputs).pooled.equal(expected)


def test_a_packed_captioner_finds_the_same_captions(captioner: Captioner, paths: list[Path], monkeypatch) -> None:
    monkeypatch.setattr(packed, "SMALLEST", 1)
    captioner.eval()
    own, weights = captioner.caption(paths), set(captioner.state_dict())
    assert captioner.pack() is captioner
    assert captioner.searched is not captioner.decoder
    assert set(captioner.state_dict()) == weights
    for found, expected in zip(captioner.caption(paths), own, strict=True):
        assert found.text == expected.text
        assert found.score == pytest.approx(expected.score, abs=1e-4)
    assert copy.deepcopy(captioner).caption(paths) == pickle.loads(pickle.dumps(captioner)).caption(paths) == own
    with torch.autocast("cpu", torch.bfloat16):
        assert captioner.searched is captioner.decoder


def test_a_packed_captioner_encodes_with_fused_normalisations(captioner: Captioner, paths: list[Path]) -> None:
    norm = next(module for module in captioner.encoder.modules() if isinstance(module, nn.BatchNorm2d))
    nn.init.uniform_(norm.running_var, 0.2, 0.4)
    pixels, weights = captioner.eval().pixels(paths), set(captioner.state_dict())
    expected = captioner.encode(pixels).pooled
    found = captioner.pack().encode(pixels).pooled
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)
    with torch.no_grad():
        assert not any(isinstance(module, nn.BatchNorm2d) for module in captioner.used_encoder.modules())
        with torch.autocast("cpu", torch.bfloat16):
            assert captioner.used_encoder is captioner.encoder
    assert set(captioner.state_dict()) == weights
    assert copy.deepcopy(captioner).encode(pixels).pooled.equal(expected)


def test_the_encoder_of_a_packed_captioner_still_gets_gradients(captioner: Captioner, paths: list[Path]) -> None:
    pixels = captioner.eval().pack().pixels(paths)
    captioner.encode(pixels)  # makes the copy
    captioner.used_encoder(pixels).pooled.square().sum().backward()
    assert any(weight.grad is not None and weight.grad.norm() > 0 for weight in captioner.encoder.parameters())


@pytest.mark.parametrize(
    "change",
    [
        lambda captioner: captioner.train(),
        lambda captioner: captioner.load_state_dict(captioner.state_dict()),
        lambda captioner: captioner.decode_in("float32"),
        lambda captioner: captioner.double(),
    ],
    ids=["train", "load_state_dict", "decode_in", "double"],
)
def test_what_may_change_the_weights_unpacks_them(
    captioner: Captioner, monkeypatch, change: Callable[[Captioner], object]
) -> None:
    monkeypatch.setattr(packed, "SMALLEST", 1)
    captioner.eval().pack()
    assert captioner.searched is not captioner.decoder
    with torch.no_grad():
        assert captioner.used_encoder is not captioner.encoder
        change(captioner)
        assert captioner.searched is captioner.decoder
        assert captioner.used_encoder is captioner.encoder


def test_an_encoder_without_a_transform_needs_one(captioner: Captioner) -> None:
    encoder = TextEncoder(vocab_size=9, recurrent=GRU, embedding_size=3, hidden_size=5)
    with pytest.raises(InputError, match="encoder text has no transform of its own; give transform="):
        Captioner(encoder, captioner.decoder, captioner.tokenizer)


def test_a_captioner_of_images_translates_nothing(captioner: Captioner) -> None:
    with pytest.raises(InputError, match="captions images and reads no sentences"):
        captioner.translate("ein hund")


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
@pytest.mark.parametrize("name", ["MRNN", "Att2in"])
def test_a_captioner_of_any_precision_captions_images(
    captioner: Captioner, paths: list[Path], dtype: torch.dtype, name: str
) -> None:
    if name == "Att2in":
        encoder = SmallCNN((32, 32), channels=(8, 16), grid=True)
        sizes = {"feature_size": encoder.feature_size, "vocab_size": len(captioner.tokenizer)}
        decoder = Att2in(embedding_size=7, hidden_size=11, attention_size=13, **sizes)
        captioner = Captioner(encoder, decoder, captioner.tokenizer, search=GreedySearch(max_length=7))
    expected = captioner.caption(paths[0])
    caption = captioner.to(dtype).caption(paths[0])
    assert caption.text == expected.text
    assert caption.score == pytest.approx(expected.score, abs=0.3)
    features = captioner.encode(captioner.pixels(paths[:1]))
    assert features.pooled.dtype == dtype
    batch = collate((0,), [[[1, 2]]], pad=0, features=features.cast(torch.float32))
    assert captioner.features(batch).pooled.dtype == dtype
