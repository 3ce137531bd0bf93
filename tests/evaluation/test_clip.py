"""Vectors equal those of transformers' own network, one text and one image at a time, for a tiny CLIP."""

from __future__ import annotations

import json
import logging
import shutil
import socket
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from safetensors.torch import load_file, save_file
from tokenizers.pre_tokenizers import ByteLevel
from torch.nn import functional as F

from captioning.commands import main
from captioning.errors import InputError
from captioning.evaluation.clip import FILES, Clip

SIZE = 28  # of an image in CLIP, in pixels
MEAN, STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
TEXTS = ["A photo depicts a dog", "a", "", "two  CATS,\na café & 3 <dogs>", "a photo depicts a dog"]


@pytest.fixture(scope="session")
def clip_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny CLIP with large weights, in files of the published form. Tests must not change it."""
    transformers = pytest.importorskip("transformers", reason="needs pip install 'captioning[clip]'")
    folder = tmp_path_factory.mktemp("clip") / "clip-vit-tiny"
    letters = sorted(ByteLevel.alphabet())
    pieces = [*letters, *(f"{letter}</w>" for letter in letters), "do", "dog</w>", "<|startoftext|>", "<|endoftext|>"]
    eos = len(pieces) - 1
    widths = {"hidden_size": 22, "intermediate_size": 13, "num_hidden_layers": 2, "num_attention_heads": 2}
    config = transformers.CLIPConfig(
        text_config={"vocab_size": len(pieces), "max_position_embeddings": 41, "eos_token_id": eos, **widths},
        vision_config={"image_size": SIZE, "patch_size": 7, **widths},
        projection_dim=17,
    )
    model = transformers.CLIPModel(config)
    torch.manual_seed(0)
    for weight in model.parameters():
        torch.nn.init.uniform_(weight, -0.7, 0.7)
    model.save_pretrained(folder)
    (folder / "vocab.json").write_text(json.dumps({piece: row for row, piece in enumerate(pieces)}))
    (folder / "merges.txt").write_text("#version: 0.2\nd o\ndo g</w>\n")
    (folder / "tokenizer_config.json").write_text(
        json.dumps({"do_lower_case": True, "model_max_length": 41, "tokenizer_class": "CLIPTokenizer"})
    )
    (folder / "preprocessor_config.json").write_text(
        json.dumps({
            "feature_extractor_type": "CLIPFeatureExtractor", "size": SIZE, "crop_size": SIZE, "resample": 3,
            "do_resize": True, "do_center_crop": True, "do_normalize": True, "image_mean": MEAN, "image_std": STD,
        })
    )  # fmt: skip
    return folder


@pytest.fixture
def copied(clip_folder: Path, tmp_path: Path) -> Path:
    """A copy of the folder that a test may change."""
    return Path(shutil.copytree(clip_folder, tmp_path / "copied"))


@pytest.fixture(scope="session")
def clip(clip_folder: Path) -> Clip:
    return Clip(clip_folder, batch_size=2)


@pytest.fixture
def images(tmp_path: Path) -> list[Path]:
    """Noise of several shapes and modes."""
    noise = np.random.default_rng(0)
    shapes = {"1.png": (31, 47, 3), "2.jpg": (90, 40, 3), "3.png": (28, 28), "4.png": (5, 11, 4), "5.jpg": (61, 28, 3)}
    for name, shape in shapes.items():
        Image.fromarray(noise.integers(0, 256, shape, dtype=np.uint8)).save(tmp_path / name)
    return [tmp_path / name for name in shapes]


@pytest.fixture(scope="session")
def reference(clip_folder: Path) -> Any:
    """Transformers' own model and tokenizer."""
    from transformers import CLIPModel, CLIPTokenizer

    return CLIPModel.from_pretrained(clip_folder), CLIPTokenizer.from_pretrained(clip_folder)


def text_vector(reference: Any, text: str) -> NDArray[np.float64]:
    model, tokenizer = reference
    with torch.no_grad():
        features = model.get_text_features(torch.tensor([tokenizer(text)["input_ids"]])).pooler_output[0]
    return F.normalize(features.double(), dim=0).numpy()


def image_vector(reference: Any, path: Path) -> NDArray[np.float64]:
    """Resize the shorter side to SIZE by Pillow's cubic filter, and crop the centre, as OpenAI's CLIP does."""
    image = Image.open(path)
    if image.mode == "RGBA":
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    image = image.convert("RGB")
    shorter = min(image.size)
    width, height = (int(side * SIZE / shorter) for side in image.size)
    left, top = (width - SIZE) // 2, (height - SIZE) // 2
    cropped = image.resize((width, height), Image.Resampling.BICUBIC).crop((left, top, left + SIZE, top + SIZE))
    pixels = ((np.asarray(cropped) / 255 - MEAN) / STD).transpose(2, 0, 1)
    with torch.no_grad():
        features = reference[0].get_image_features(torch.tensor(pixels[None], dtype=torch.float32)).pooler_output[0]
    return F.normalize(features.double(), dim=0).numpy()


def test_texts_are_embedded_as_one_by_one(clip: Clip, reference: Any) -> None:
    expected = np.stack([text_vector(reference, text) for text in TEXTS])
    found = clip.texts(TEXTS)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5)
    np.testing.assert_allclose(found[0], found[4], rtol=0, atol=1e-5)  # in lower case
    assert np.abs(found[0] - found[1]).max() > 0.01


def test_images_are_embedded_as_one_by_one(clip: Clip, reference: Any, images: list[Path]) -> None:
    expected = np.stack([image_vector(reference, path) for path in images])
    np.testing.assert_allclose(clip.images(images), expected, rtol=0, atol=1e-5)
    assert np.abs(expected[0] - expected[1]).max() > 0.01


def test_the_command_s_scores_follow_the_paper_s_formulas(
    clip_folder: Path, reference: Any, images: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    references = {path.stem: [TEXTS[row], TEXTS[row - 1]] for row, path in enumerate(images)}
    captions = {path.stem: TEXTS[row - 2] for row, path in enumerate(images)}
    truth, results, out = (tmp_path / name for name in ("truth.json", "results.json", "out.json"))
    truth.write_text(json.dumps(references))
    results.write_text(json.dumps(captions))
    options = ["--metrics", "bleu", "--clip", clip_folder, "--images", tmp_path, "--json", out, "--replicates", "20"]
    assert main(["score", *map(str, [truth, results, *options])]) == 0, capsys.readouterr().err
    written = json.loads(out.read_text())

    clip_s, ref_clip_s = [], []
    for path in images:
        caption = text_vector(reference, f"A photo depicts {captions[path.stem]}")
        nearest = max(caption @ text_vector(reference, f"A photo depicts {text}") for text in references[path.stem])
        clip_s.append(2.5 * max(caption @ image_vector(reference, path), 0))
        ref_clip_s.append(2 / (1 / clip_s[-1] + 1 / nearest) if clip_s[-1] > 0 and nearest > 0 else 0)
    assert np.ptp(clip_s) > 0.05
    assert written["metrics"]["CLIP-S"] == pytest.approx(np.mean(clip_s), abs=1e-5)
    assert written["metrics"]["RefCLIP-S"] == pytest.approx(np.mean(ref_clip_s), abs=1e-5)
    assert written["signature"]["CLIPScore"].startswith("clip-vit-tiny ")


def test_a_longer_text_than_clip_reads_is_truncated_and_reported(clip: Clip, caplog: pytest.LogCaptureFixture) -> None:
    words = "cat " * 13  # 39 pieces, start and end
    caplog.set_level(logging.WARNING)
    whole, longer = clip.texts([words]), clip.texts([words + "dog", "a"])
    assert [record.getMessage() for record in caplog.records] == [
        f"truncated 1 texts to CLIP's 41 tokens, the first: {words + 'dog'!r}"
    ]
    np.testing.assert_allclose(longer[:1], whole, rtol=0, atol=1e-5)


def test_a_tokenizer_of_one_file_equals_that_of_two(clip: Clip, copied: Path, reference: Any) -> None:
    (copied / "vocab.json").unlink()
    with pytest.raises(InputError, match=r"missing: tokenizer\.json"):
        Clip(copied)
    reference[1].save_pretrained(copied)
    (copied / "vocab.json").unlink(missing_ok=True)
    (copied / "merges.txt").unlink(missing_ok=True)
    np.testing.assert_allclose(Clip(copied).texts(TEXTS), clip.texts(TEXTS), rtol=0, atol=1e-5)


def test_version_has_the_folder_s_name_and_the_weights_digest(clip: Clip, copied: Path) -> None:
    name, digest = clip.version.split(",")[0].split()
    assert Clip(copied).version.split(",")[0] == f"copied {digest}"
    weights = load_file(copied / "model.safetensors")
    weights["logit_scale"] += 1
    save_file(weights, copied / "model.safetensors", {"format": "pt"})
    assert Clip(copied).version.split(",")[0] != f"copied {digest}"
    assert name == "clip-vit-tiny"


def test_the_network_is_not_used(copied: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any) -> None:
        pytest.fail("used the network")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    config = json.loads((copied / "config.json").read_text())
    (copied / "config.json").write_text(json.dumps({**config, "_attn_implementation": "kernels-community/flash-attn2"}))
    assert Clip(copied).texts(["a"]).shape == (1, 17)


def test_weights_that_lack_a_tensor_are_refused(copied: Path) -> None:
    weights = load_file(copied / "model.safetensors")
    del weights["text_projection.weight"]
    save_file(weights, copied / "model.safetensors", {"format": "pt"})
    with pytest.raises(InputError, match=r"1 of its tensors are missing, such as text_projection\.weight"):
        Clip(copied)


@pytest.mark.parametrize("name", ["config.json", "model.safetensors", "preprocessor_config.json", "vocab.json"])
def test_damaged_files_are_refused(copied: Path, name: str) -> None:
    (copied / name).write_bytes(b"{")
    with pytest.raises(InputError, match=r"copied: not a CLIP model, or a damaged one \("):
        Clip(copied)


def test_an_unknown_device_is_refused(clip_folder: Path) -> None:
    with pytest.raises(InputError, match="device nowhere: "):
        Clip(clip_folder, device="nowhere")


def test_an_image_that_cannot_be_read_is_named(clip: Clip, tmp_path: Path) -> None:
    (tmp_path / "1.jpg").write_text("no image")
    with pytest.raises(InputError, match=r"1\.jpg: not an image"):
        clip.images([tmp_path / "1.jpg"])


@pytest.fixture
def empty_files(tmp_path: Path) -> Path:
    for name in FILES:
        (tmp_path / name).touch()
    return tmp_path


def test_missing_files_are_listed_with_how_to_get_them(empty_files: Path) -> None:
    with pytest.raises(
        InputError, match=r"(?s)nowhere: expected the files of a .*hf download .* --local-dir .*nowhere"
    ):
        Clip(empty_files / "nowhere")
    (empty_files / "config.json").unlink()
    with pytest.raises(InputError, match=r"missing: config\.json\. Nothing is downloaded here"):
        Clip(empty_files)


def test_a_pickle_of_weights_is_not_read(empty_files: Path) -> None:
    (empty_files / "model.safetensors").rename(empty_files / "pytorch_model.bin")
    with pytest.raises(InputError, match=r"expected model\.safetensors, found pytorch_model\.bin, which is a pickle"):
        Clip(empty_files)


def test_a_missing_package_is_reported(empty_files: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(InputError, match=r"needs transformers, which is missing.*: pip install 'captioning\[clip\]'"):
        Clip(empty_files)
