"""Every shipped experiment trains, validates, decodes and writes a bundle: one batch on data of its own kind."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from captioning.bundle import load_bundle
from captioning.commands import config_folder

FOLDER = config_folder() / "experiment"
EXPERIMENTS = sorted(str(path.relative_to(FOLDER).with_suffix("")) for path in FOLDER.glob("**/*.yaml"))


@pytest.fixture(scope="session")
def roots(scenes: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[str]]:
    """Overrides that point each kind of experiment at the same few pictures in its own data set's layout."""
    splits = {}
    for split in ("train", "val"):
        content = json.loads((scenes / f"annotations/captions_{split}2017.json").read_text())
        captions: dict[int, list[str]] = {}
        for annotation in content["annotations"]:
            captions.setdefault(annotation["image_id"], []).append(annotation["caption"])
        splits[split] = [(image["file_name"], captions[image["id"]]) for image in content["images"]]

    karpathy = {
        "images": [
            {
                "filename": name,
                "filepath": f"{split}2017",
                "split": split,
                "imgid": n,
                "cocoid": n,
                "sentences": [{"raw": caption} for caption in captions],
            }
            for n, (split, name, captions) in enumerate((s, *one) for s, images in splits.items() for one in images)
        ]
    }
    json_file = tmp_path_factory.mktemp("coco") / "dataset_coco.json"
    json_file.write_text(json.dumps(karpathy))

    flickr = tmp_path_factory.mktemp("flickr8k")
    (flickr / "Images").mkdir()
    lines = []
    for split, listed in (("train", "train"), ("val", "dev")):
        names = [name for name, _ in splits[split]]
        (flickr / f"Flickr_8k.{listed}Images.txt").write_text("".join(f"{name}\n" for name in names))
        for name, captions in splits[split]:
            shutil.copy(scenes / f"{split}2017" / name, flickr / "Images")
            lines += [f"{name}#{n}\t{caption}\n" for n, caption in enumerate(captions)]
    (flickr / "Flickr8k.token.txt").write_text("".join(lines))
    return {
        "scenes": [f"data.root={scenes}"],
        "coco": [f"data.root={scenes}", f"data.karpathy={json_file}"],
        "flickr8k": [f"data.root={flickr}"],
    }


@pytest.mark.parametrize("experiment", EXPERIMENTS)
def test_runs(experiment: str, command: Callable[..., Any], roots: dict[str, list[str]], tmp_path: Path) -> None:
    kind = experiment.partition("/")[0]
    small = (
        []
        if "encoder=none" in (FOLDER / f"{experiment}.yaml").read_text()
        else [
            "encoder=small_cnn",
            "encoder.size=[16,16]",
            "encoder.channels=[8,8]",
            "encoder.feature_size=16",
        ]
    )
    ran = command(
        "train",
        f"experiment={experiment}",
        *roots[kind],
        *small,
        "text.min_count=1",
        "data.batch_size=2",
        "search.max_length=4",
        "trainer.max_epochs=1",
        "trainer.accelerator=cpu",
        "trainer.precision=32-true",
        "+trainer.limit_train_batches=1",
        "trainer.log_every_n_steps=1",
        "+trainer.enable_progress_bar=false",
        "callbacks.progress=null",
        "logger=csv",
        f"output={tmp_path / 'run'}",
    )
    assert ran.status == 0, ran.err
    metrics = json.loads((tmp_path / "run" / "metrics.json").read_text())["metrics"]
    assert metrics["CIDEr"] >= 0
    assert load_bundle(tmp_path / "run" / "bundle").decoder is not None
