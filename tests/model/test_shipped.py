from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from captioning import Captioner
from captioning.errors import InputError
from captioning.model import shipped
from captioning.model.where import locate

BUNDLE = Path(__file__).parents[1] / "fixtures" / "finetuned" / "bundle"


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


def test_an_unknown_name_lists_the_models_that_exist(models: Path) -> None:
    with pytest.raises(InputError, match=r"tinny does not exist; .* or one of the package's models: tiny"):
        locate(Path("tinny"))
