"""Thousands of damaged arrays: each is refused with one message, or is harmless."""

from __future__ import annotations

import base64
import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from fuzzing import changed_bytes, changed_json, fuzz
from safetensors.torch import save_file
from torch import nn

from captioning.data.example import CaptionedImage
from captioning.data.features.regions import load_regions, open_regions
from captioning.encoders.weights import load_weights, read_weights, require_finite
from captioning.files.arrays import FLOATS, ArrayKind, open_npy
from captioning.metrics import CocoScorer
from captioning.metrics.detections_file import Detections
from captioning.metrics.ranking import summarize
from captioning.metrics.ranks_file import Ranks
from captioning.metrics.statistics_file import load_statistics, save_statistics
from captioning.metrics.word_counts import WordCounts
from captioning.reports.differences import KINDS
from captioning.text.word_vectors import WordVectors

RANDOM = np.random.default_rng(0)
VALUES = RANDOM.random((7, 5), dtype=np.float32)
IMAGE = CaptionedImage(42, Path("42.jpg"), ("a dog",))
WORDS = WordVectors(["a", "dog", "été", "run"], RANDOM.random((4, 3), dtype=np.float32))
REFERENCES = {3: ["a dog runs", "the dog"], "x.jpg": ["a cat sleeps"], 5: ["a red bus"]}
SCORES = CocoScorer(REFERENCES, metrics=["BLEU", "CIDEr", "ROUGE-L"]).score(
    {3: "a dog", "x.jpg": "the cat", 5: "a bus"}
)


def of_bytes(path: Path) -> Callable[[random.Random], str]:
    """Change bytes of a file."""
    original = path.read_bytes()

    def mutate(drawn: random.Random) -> str:
        content, what = changed_bytes(original, drawn)
        path.write_bytes(content)
        return what

    return mutate


def of_npy_header(path: Path) -> Callable[[random.Random], str]:
    """Write an .npy file whose header has extreme values."""

    def mutate(drawn: random.Random) -> str:
        sizes = (0, 1, 5, 7, 35, -1, True, 2**31, 2**62, 2**63, 2**64, 10**30, 0.5, None, "7")
        header = {
            "descr": drawn.choice(
                ("<f4", "<f4", "|O", "<U0", "|V0", "<f16", ">f4", [("a", "<f4")], "<M8[s]", "|b1", 3)
            ),
            "fortran_order": drawn.choice((False, True, 1, None)),
            "shape": tuple(drawn.choice(sizes) for _ in range(drawn.choice((0, 1, 2, 2, 2, 3, 40)))),
        }
        version = drawn.choice((1, 1, 1, 2, 3, 9))
        text = repr(header).encode() + b"\n"
        length = len(text).to_bytes(2 if version == 1 else 4, "little")
        data = VALUES.tobytes() if drawn.random() < 0.7 else b""
        path.write_bytes(b"\x93NUMPY" + bytes([version, 0]) + length + text + data)
        return str(header)

    return mutate


def of_safetensors_header(path: Path) -> Callable[[random.Random], str]:
    """Change a value of the header of a .safetensors file."""
    original = path.read_bytes()
    length = int.from_bytes(original[:8], "little")
    header = json.loads(original[8 : 8 + length])

    def mutate(drawn: random.Random) -> str:
        text, what = changed_json(header, drawn)
        encoded = text.encode("utf-8", "surrogatepass")
        path.write_bytes(len(encoded).to_bytes(8, "little") + encoded + original[8 + length :])
        return what

    return mutate


@pytest.mark.slow
@pytest.mark.parametrize("how", [of_bytes, of_npy_header])
def test_a_mutated_npy_file_is_refused_or_has_the_expected_kind(how: Callable[..., Any], tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", VALUES)

    def read() -> None:
        found = open_npy(tmp_path / "a.npy", ArrayKind(FLOATS, dimensions=2))
        assert found.dtype.name in FLOATS
        assert found.nbytes == (tmp_path / "a.npy").stat().st_size - found.offset
        np.array(found).sum(dtype=np.float64)

    with np.errstate(all="ignore"):
        fuzz(f"npy {how.__name__}", how(tmp_path / "a.npy"), read)


@pytest.mark.slow
@pytest.mark.parametrize("packed", [False, True])
def test_mutated_word_vectors_of_numpy_are_refused_or_the_same(packed: bool, tmp_path: Path) -> None:
    path = tmp_path / "v.npz"
    (np.savez_compressed if packed else np.savez)(path, words=np.array(WORDS.words), vectors=WORDS.vectors)

    def read() -> None:
        found = WordVectors.read(path)
        assert found.words == WORDS.words
        np.testing.assert_array_equal(found.vectors, WORDS.vectors)

    counts = fuzz(f"word vectors, packed={packed}", of_bytes(path), read)
    assert counts["refused"] > counts["accepted"]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["v.vec", "v.vec.gz"])
def test_mutated_word_vectors_as_text_are_refused_or_finite(name: str, tmp_path: Path) -> None:
    WORDS.write(tmp_path / name)

    def read() -> None:
        found = WordVectors.read(tmp_path / name)
        assert np.isfinite(found.vectors).all()
        assert len(found) == len(found.vectors)

    fuzz(name, of_bytes(tmp_path / name), read)


@pytest.mark.slow
def test_mutated_regions_of_npz_are_refused_or_the_same(tmp_path: Path) -> None:
    np.savez(tmp_path / "42.npz", feat=VALUES, boxes=np.ones((7, 4)))

    def read() -> None:
        found = load_regions(open_regions(tmp_path), [IMAGE], feature_size=5, num_regions=9)
        assert found.grid is not None
        np.testing.assert_array_equal(found.grid[0, :7], VALUES)

    fuzz("regions of npz", of_bytes(tmp_path / "42.npz"), read)


@pytest.mark.slow
def test_mutated_regions_of_tsv_are_refused_or_finite(tmp_path: Path) -> None:
    features = base64.b64encode(VALUES.tobytes())
    (tmp_path / "boxes.tsv").write_bytes(b"42\t640\t480\t7\t" + features + b"\t" + features + b"\n")

    def read() -> None:
        found = load_regions(open_regions(tmp_path / "boxes.tsv"), [IMAGE], feature_size=5, num_regions=9)
        assert found.grid is not None
        assert found.grid.isfinite().all()

    fuzz("regions of tsv", of_bytes(tmp_path / "boxes.tsv"), read)


@pytest.mark.slow
@pytest.mark.parametrize("how", [of_bytes, of_safetensors_header])
def test_mutated_statistics_are_refused_or_have_scores(how: Callable[..., Any], tmp_path: Path) -> None:
    path = tmp_path / "statistics.safetensors"
    save_statistics(path, SCORES, "digest")

    def read() -> None:
        found = load_statistics(path)
        assert len(set(found.image_ids)) == len(found.image_ids)
        for name, table in found.tables.items():
            assert table.shape == SCORES.statistics[name].shape
            assert np.isfinite(table).all()

    fuzz(f"statistics {how.__name__}", how(path), read)


COUNTS = WordCounts(("a", "dog"), np.array([[5, 0], [1, 2], [0, 3]]))
KEPT = {
    "detections.safetensors": Detections.of([3, "x.jpg", 5], COUNTS, RANDOM.random((3, 2))),
    "ranks.safetensors": Ranks(
        [3, "x.jpg", 5],
        "digest",
        {name: summarize(np.array([1, 2, 1]), np.arange(3)) for name in ("image_to_text", "text_to_image")},
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize("how", [of_bytes, of_safetensors_header])
@pytest.mark.parametrize("name", KEPT)
def test_mutated_values_of_images_are_refused_or_can_be_compared(
    name: str, how: Callable[..., Any], tmp_path: Path
) -> None:
    path, kind = tmp_path / name, KINDS[name]
    KEPT[name].save(path)

    def read() -> None:
        found = kind.load(path)
        assert all(np.isfinite(score) for score in kind.scores(found).values())
        assert kind.same(found, found)
        assert len(set(found.image_ids)) == 3

    fuzz(f"{name} {how.__name__}", how(path), read)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "how"),
    [("w.safetensors", of_bytes), ("w.safetensors", of_safetensors_header), ("w.pth", of_bytes)],
)
def test_mutated_weights_are_refused_or_finite(name: str, how: Callable[..., Any], tmp_path: Path) -> None:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(5, 3), nn.BatchNorm1d(3))
    if name.endswith("pth"):
        torch.save(network.state_dict(), tmp_path / name)
    else:
        save_file(network.state_dict(), tmp_path / name)

    def read() -> None:
        load_weights(network, read_weights(tmp_path / name), "weights")
        require_finite(network, "weights")
        assert all(tensor.isfinite().all() for tensor in network.state_dict().values())

    fuzz(f"weights {name} {how.__name__}", how(tmp_path / name), read)
