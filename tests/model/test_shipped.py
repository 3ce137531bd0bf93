from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from PIL import Image

from captioning import Captioner
from captioning.errors import InputError
from captioning.model import shipped
from captioning.model.check import check_bundle
from captioning.model.where import locate

BUNDLE = Path(__file__).parents[1] / "fixtures" / "finetuned" / "bundle"


def test_the_package_s_model_is_undamaged_and_small() -> None:
    folder = shipped.shipped()[shipped.DEFAULT]
    assert "3 golden examples give the same captions" in check_bundle(folder)
    assert sum(path.stat().st_size for path in folder.iterdir()) <= 25e6


def test_the_package_s_model_says_how_likely_its_caption_is_right() -> None:
    caption = Captioner.from_pretrained(shipped.DEFAULT).caption(Image.new("RGB", (320, 200), "magenta"))
    assert caption.text and 0 < caption.confidence < 1 and caption.distance > 0


@pytest.fixture
def models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A package with one model; the other folder does not exist."""
    shutil.copytree(BUNDLE, tmp_path / "models" / "tiny")
    (tmp_path / "models" / "notes").mkdir()
    monkeypatch.setattr(shipped, "_FOLDERS", (tmp_path / "none", tmp_path / "models"))
    monkeypatch.chdir(tmp_path)
    return tmp_path / "models"


def test_a_model_of_the_package_loads_by_its_name(models: Path) -> None:
    assert shipped.shipped() == {"tiny": models / "tiny"}
    assert locate(Path("tiny")) == models / "tiny"
    assert Captioner.from_pretrained("tiny").tokenizer.vocabulary


def test_a_folder_of_the_same_name_comes_first(models: Path, tmp_path: Path) -> None:
    shutil.copytree(BUNDLE, tmp_path / "tiny")
    assert locate(Path("tiny")) == Path("tiny")


def test_a_data_set_of_the_same_name_does_not_hide_the_model(models: Path, tmp_path: Path) -> None:
    (tmp_path / "tiny" / "Images").mkdir(parents=True)
    assert locate(Path("tiny")) == models / "tiny"


def test_a_folder_of_runs_of_the_same_name_is_not_passed_over(models: Path, tmp_path: Path) -> None:
    shutil.copytree(BUNDLE, tmp_path / "tiny" / "first" / "bundle")
    with pytest.raises(InputError, match="tiny holds 1 runs; name one of them"):
        locate(Path("tiny"))


def test_an_unknown_name_lists_the_models_that_exist(models: Path) -> None:
    with pytest.raises(InputError, match=r"tinny does not exist; .* or one of the package's models: tiny"):
        locate(Path("tinny"))
