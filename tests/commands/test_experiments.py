"""Every shipped experiment trains, validates, decodes and writes a bundle: one batch on data of its own kind."""

from __future__ import annotations

import json
import math
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.torch import save_file

from captioning.commands import config_folder
from captioning.data import Splits
from captioning.data.readers import Coco
from captioning.encoders import SmallCNN
from captioning.model.captioner import Captioner
from captioning.model.load import load_model

FOLDER = config_folder() / "experiment"
EXPERIMENTS = sorted(
    str(path.relative_to(FOLDER).with_suffix("")) for path in FOLDER.glob("*/[!_]*.yaml")
)  # tests/commands/test_finetune.py has the one without data of its own


@pytest.fixture(scope="session")
def roots(scenes: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[str]]:
    """Overrides that point each kind of experiment at the same few images in its own data set's layout."""
    read = {split: Splits(Coco(str(scenes))).images(split) for split in ("train", "val")}
    splits = {split: [(image.path.name, image.captions) for image in images] for split, images in read.items()}

    karpathy = {
        "images": [
            {
                "filename": image.path.name,
                "filepath": image.path.parent.name,
                "split": split,
                "cocoid": image.image_id,
                "sentences": [{"raw": caption} for caption in image.captions],
            }
            for split, images in read.items()
            for image in images
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
        "multi30k": [f"data.root={parallel_text(splits, tmp_path_factory.mktemp('multi30k'))}"],
    }


def parallel_text(splits: dict[str, Any], folder: Path) -> Path:
    """Captions as one language, and the same spelled backwards as another."""
    for split, images in splits.items():
        sentences = [captions[0] for _, captions in images]
        for language, lines in (("en", sentences), ("de", [sentence[::-1] for sentence in sentences])):
            (folder / f"{split}.{language}").write_text("".join(f"{line}\n" for line in lines))
    return folder


@pytest.fixture(scope="session")
def weights(tmp_path_factory: pytest.TempPathFactory) -> dict[bool, Path]:
    """Weights of a small encoder, without and with a grid, that stand in for an experiment's published ones."""
    folder = tmp_path_factory.mktemp("weights")
    files = {grid: folder / f"{grid}.safetensors" for grid in (False, True)}
    for grid, file in files.items():
        save_file(SmallCNN((16, 16), channels=(8, 16), grid=grid).state_dict(), file)
    return files


@pytest.fixture(scope="session")
def regions(
    command: Callable[..., Any], roots: dict[str, list[str]], scenes: Path, tmp_path_factory: pytest.TempPathFactory
) -> list[str]:
    """Overrides that put one to three small regions an image in the place of a detector's."""
    folder, random = tmp_path_factory.mktemp("regions"), np.random.default_rng(0)
    for split in ("train", "val"):
        for n, image in enumerate(Splits(Coco(str(scenes))).images(split)):
            values = random.normal(size=(1 + n % 3, 5)).astype(np.float32)
            np.savez(folder / f"{image.image_id}.npz", feat=values)
    sizes = ["encoder.feature_size=5", "encoder.num_regions=3"]
    places = [f"regions={folder}", f"features={folder / 'store'}"]
    ran = command("extract", "data=coco", *roots["coco"], "encoder=regions", *sizes, *places)
    assert ran.status == 0, ran.err
    return [*sizes, f"data.features={folder / 'store'}"]


@pytest.fixture(scope="session")
def word_detector(command: Callable[..., Any], scenes: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The bundle of a small word detector."""
    folder = tmp_path_factory.mktemp("word_detector") / "run"
    ran = command(
        "train", "experiment=scenes/word_detector", f"data.root={scenes}", "encoder.size=[16,16]",
        "encoder.channels=[8,16]", "trainer.max_epochs=1", "trainer.check_val_every_n_epoch=1",
        "trainer.accelerator=cpu", "trainer.log_every_n_steps=1", "+trainer.enable_progress_bar=false",
        "callbacks.progress=null", "logger=csv", f"output={folder}",
    )  # fmt: skip
    assert ran.status == 0, ran.err
    return folder / "bundle"


def text_of(experiment: str) -> str:
    """An experiment's file, after those on which it is built."""
    text = (FOLDER / f"{experiment}.yaml").read_text()
    return "".join(map(text_of, re.findall(r"^  - (\w+/\w+)$", text, re.MULTILINE))) + text


def encoder_of(
    experiment: str, text: str, weights: dict[bool, Path], regions: list[str], aligner: Path, word_detector: Path
) -> list[str]:
    """Overrides that put a small encoder in the place of a large one; frozen where that one is."""
    if "override /encoder: grid_cells" in text:
        return [f"encoder.weights={aligner}"]
    if "override /encoder: detected_words" in text:
        return [f"encoder.weights={word_detector}"]
    if "override /encoder: regions" in text:
        return regions
    if "override /encoder: none" in text or "override /encoder: text" in text:
        return []
    small = ["encoder=small_cnn", "encoder.size=[16,16]", "encoder.channels=[8,16]"]
    if experiment.startswith("scenes/"):
        return small
    return [*small, "finetuning=frozen", f"encoder.weights={weights['grid: true' in text]}"]


@pytest.mark.parametrize("experiment", EXPERIMENTS)
def test_runs(
    experiment: str,
    train_composed: Callable[..., None],
    roots: dict[str, list[str]],
    weights: dict[bool, Path],
    regions: list[str],
    aligner: Path,
    region_data: Path,
    word_detector: Path,
    tmp_path: Path,
) -> None:
    text = text_of(experiment)
    wide = "coco/" in experiment and "grid: true" in text and "override /decoder: null" not in text  # 1,000 and more
    narrow = ["decoder.hidden_size=24"] if wide else []
    describes_regions = "override /data: regions" in text
    phases = ["then.trainer.max_epochs=1", "then.finetuning.num_stages=2", "then.then.trainer.max_epochs=1"]
    train_composed(
        tmp_path / "run",
        f"experiment={experiment}",
        *narrow,
        *(phases if "override /then: finetuned_encoder" in text else []),
        *([f"data.root={region_data}"] if describes_regions else roots[experiment.partition("/")[0]]),
        *encoder_of(experiment, text, weights, regions, aligner, word_detector),
        "text.min_count=1",
        "data.batch_size=2",
        "data.max_length=null",  # one for real captions would cut most of the scenes'
        *([] if "override /search: null" in text else ["search.max_length=4"]),
        "trainer.max_epochs=1",
        "trainer.accelerator=cpu",
        "trainer.precision=32-true",
        "+trainer.limit_train_batches=1",
        "trainer.log_every_n_steps=1",
        "+trainer.enable_progress_bar=false",
        "callbacks.progress=null",
        "callbacks.checkpoint=null",  # hundreds of megabytes; that it resumes is tested elsewhere
        "logger=csv",
    )
    found = json.loads((tmp_path / "run" / "metrics.json").read_text())
    if "override /decoder: null" in text:
        assert 0 < found["metrics"].get("AP", found["metrics"].get("recall")) <= 1
        assert load_model(tmp_path / "run" / "bundle").head_name in ("detector", "matcher")
        return
    assert math.isfinite(found["metrics"].get("CIDEr", found["metrics"].get("sacreBLEU")))
    assert 1 < found["language_model"]["perplexity"] < math.inf
    num_captions = len(json.loads((tmp_path / "run" / "captions.json").read_text()))
    assert num_captions > 8 if describes_regions else num_captions == 8  # each image once
    assert Captioner.from_pretrained(tmp_path / "run" / "bundle").decoder.vocab_size > 10


@pytest.mark.shared
def test_obj2text_says_captions_of_coco_s_own_annotated_objects(
    command: Callable[..., Any], shared: Path, tmp_path: Path
) -> None:
    ran = command(
        "train", "experiment=coco/obj2text", "data=coco2017", f"data.root={shared / 'data' / 'coco_mini'}",
        "data.objects=true", "data.captions_per_image=1", "encoder=none", "decoder.image=none", "standardise=false",
        "trainer.max_epochs=3", "trainer.accelerator=cpu", "trainer.precision=32-true", "trainer.log_every_n_steps=1",
        "+trainer.enable_progress_bar=false", "callbacks.progress=null", "logger=csv", f"output={tmp_path / 'run'}",
    )  # fmt: skip
    assert ran.status == 0, ran.err
    found = json.loads((tmp_path / "run" / "metrics.json").read_text())
    assert found["signature"]["num_images"] == 79
    assert found["metrics"]["BLEU-1"] > 0.1
