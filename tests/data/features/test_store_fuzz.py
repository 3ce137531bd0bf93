"""Thousands of damaged feature stores: each is refused with one message, or holds the same features."""

from __future__ import annotations

import json
import random
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from fuzzing import NUM_MUTATIONS, changed_bytes, changed_json, fuzz

from captioning.data.features.manifest import _digest
from captioning.data.features.store import FeatureStore, FeatureWriter
from captioning.encoders.features import ImageFeatures
from captioning.errors import InputError

IDS: list[int | str] = ["a.jpg", 13, "b.jpg", 7, "13", 2, 3]
IDENTITY = {
    "class": "SmallCNN",
    "model": "small_cnn",
    "transform": {"size": [4, 4], "mean": [0.5]},
    "weights": "0" * 64,
}


@pytest.fixture
def original(tmp_path: Path) -> Iterator[Path]:
    """A store of seven rows in several blocks, with the states of image files."""
    torch.manual_seed(0)
    files = [tmp_path / f"{row}.jpg" for row in range(len(IDS))]
    for path in files:
        path.write_text(path.name)
    features = ImageFeatures(torch.randn(7, 5), torch.randn(7, 3, 5), torch.arange(21).view(7, 3) % 5 > 0)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("captioning.data.features.blocks.BLOCK_BYTES", 120)
        with FeatureWriter(tmp_path / "original", IDENTITY, IDS, dtype="float32", files=files) as writer:
            writer.write(features)
        yield tmp_path / "original"


def as_version_1(folder: Path) -> None:
    content = json.loads((folder / "manifest.json").read_text())
    del content["digests"], content["sha256"]
    (folder / "manifest.json").write_text(json.dumps(content | {"format_version": 1}))


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["bytes of arrays", "bytes of the manifest", "values of the manifest"])
@pytest.mark.parametrize("version", [2, 1])
def test_a_mutated_store_is_refused_or_the_same(original: Path, tmp_path: Path, kind: str, version: int) -> None:
    if version == 1:
        as_version_1(original)
    expected = FeatureStore(original)
    features, folder = expected.features(IDS), tmp_path / "mutated"
    shutil.copytree(original, folder)

    def mutate(drawn: random.Random) -> str:
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(original, folder)
        names = [f"{name}.npy" for name in ("pooled", "grid", "mask", "files")]
        path = folder / (drawn.choice(names) if kind == "bytes of arrays" else "manifest.json")
        if kind == "values of the manifest":
            text, what = changed_json(json.loads(path.read_text()), drawn)
            path.write_text(text, encoding="utf-8")
        else:
            content, what = changed_bytes(path.read_bytes(), drawn)
            path.write_bytes(content)
        return f"{path.name} {what}"

    def read() -> None:
        store = FeatureStore(folder)
        store.verify()
        store.check(IDENTITY, IDS)
        found = store.features(IDS)
        assert found.pooled.isfinite().all()
        assert found.grid is None or found.grid.isfinite().all()
        assert found.grid is not None or found.mask is None
        if version == 2:  # version 1 has no digests
            assert torch.equal(found.pooled, features.pooled)
            assert torch.equal(found.grid, features.grid)
            assert torch.equal(found.mask, features.mask)
            assert list(store.image_ids) == list(expected.image_ids)
            assert store.identity == expected.identity

    counts = fuzz(f"store of version {version}, {kind}", mutate, read)
    if version == 2:
        assert counts["refused"] > 0.9 * NUM_MUTATIONS


@pytest.mark.slow
def test_a_hostile_manifest_with_a_right_digest_is_refused_or_harmless(original: Path, tmp_path: Path) -> None:
    folder = tmp_path / "mutated"
    shutil.copytree(original, folder)
    content = json.loads((original / "manifest.json").read_text())
    del content["sha256"]

    def mutate(drawn: random.Random) -> str:
        text, what = changed_json(content, drawn)
        changed = json.loads(text)
        (folder / "manifest.json").write_text(json.dumps({**changed, "sha256": _digest(changed)}))
        return what

    def read() -> None:
        store = FeatureStore(folder)
        store.verify()
        found = store.features(list(store.image_ids))
        assert found.pooled.isfinite().all()
        store.check(store.identity, list(store.image_ids))

    fuzz("hostile manifest", mutate, read)


@pytest.mark.slow
def test_a_mutated_part_of_a_store_is_not_continued_or_is_the_same(tmp_path: Path) -> None:
    torch.manual_seed(0)
    rows, folder = torch.randn(7, 5), tmp_path / "mutated"
    with FeatureWriter(tmp_path / "part", IDENTITY, IDS, dtype="float32") as writer:
        writer.write(ImageFeatures(rows[:4]))

    def mutate(drawn: random.Random) -> str:
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(tmp_path / "part", folder)
        path = folder / drawn.choice(("manifest.json", "pooled.npy"))
        content, what = changed_bytes(path.read_bytes(), drawn)
        path.write_bytes(content)
        return f"{path.name} {what}"

    drawn, accepted = random.Random("part of a store"), 0
    for _ in range(NUM_MUTATIONS):
        what = mutate(drawn)
        try:
            writer = FeatureWriter(folder, IDENTITY, IDS, dtype="float32")
        except InputError:
            continue
        accepted += 1
        with writer:
            writer.write(ImageFeatures(rows[writer.rows_done :]))
        assert torch.equal(FeatureStore(folder).features(IDS).pooled, rows), what
    print(f"\npart of a store: {accepted} of {NUM_MUTATIONS} accepted")
