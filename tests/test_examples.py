"""The examples learn: each does better than chance, by far, on images that it has not seen."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest
import torch

from captioning.data.scenes import write_scenes

EXAMPLES = Path(__file__).parents[1] / "examples"


def example(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, EXAMPLES / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("scenes") / "scenes"
    write_scenes(root, num_train=100, num_val=20, num_test=1, size=32)
    return root


def test_hidden_words_are_tagged_from_what_stands_around_them(folder: Path) -> None:
    """Two words in three are of the most frequent tag; a layer that reads forwards cannot know what follows."""
    tagging = example("tagging")
    both_ways, _ = tagging.main(folder, steps=60)
    assert both_ways > 0.9
    assert both_ways > tagging.main(folder, recurrent=tagging.LSTM, steps=60)[0] + 0.03


def test_things_are_things_in_singular_and_plural_and_in_names_of_several_words() -> None:
    tag_of = example("tagging").lexicon(["teddy bear", "wine glass", "knife", "bench", "skis", "orange"])
    singular = {"bear", "kitchen", "child", "woman", "baby", "glass", "knife", "bench", "bus"}
    plural = {"bears", "kitchens", "children", "women", "babies", "glasses", "knives", "benches", "buses"}
    things = singular | plural | {"people", "fish", "skis"}
    assert {tag_of[word] for word in things} == {"thing"}
    assert (tag_of["orange"], tag_of["two"]) == ("colour", "number")
    assert not tag_of.keys() & {"the", "sitting", "wine", "teddy", "childs", "womans", "skises"}


def test_categories_are_those_of_the_annotated_objects(folder: Path) -> None:
    captions, categories = example("tagging").read(folder, "train")
    assert len(captions) == 500
    assert {"ball", "house"} <= categories


@pytest.mark.shared
def test_hidden_words_of_real_captions_are_tagged(shared: Path) -> None:
    """On 400 captions of COCO; measured: 0.84, where the most frequent tag alone has 0.755."""
    tagging = example("tagging")
    right, chance = tagging.main(shared / "data" / "coco_mini", steps=250)
    assert chance < 0.8
    assert right > chance + 0.05


@pytest.mark.shared
def test_the_real_caption_of_an_image_is_distinguished_from_another(shared: Path) -> None:
    """On 80 images of COCO; measured: 0.84, where chance is 0.5."""
    assert example("scoring").main(shared / "data" / "coco_mini") > 0.75


def test_the_caption_of_a_set_is_distinguished_from_another(folder: Path) -> None:
    """Chance is 0.5."""
    assert example("scoring").main(folder, steps=40) > 0.9


def test_a_handwriting_network_learns_letters_and_where_they_are(tmp_path: Path) -> None:
    pytest.importorskip("HersheyFonts")
    handwriting = example("handwriting")
    font = handwriting.PlotterFont("futural")
    lines = handwriting.lines_of(font, "lot", handwriting.np.random.default_rng(1), num=20, length=6)
    scores = [
        handwriting.score(handwriting.trained(font, letters="lot", steps=steps, width=32), lines) for steps in (1, 60)
    ]
    assert scores[1][0] < scores[0][0] - 1
    assert scores[1][1] > scores[0][1] + 0.1
    network = handwriting.trained(font, letters="lot", steps=1, width=32)
    handwriting.picture(network, font, "lot to").savefig(tmp_path / "drawn.png")
    assert (tmp_path / "drawn.png").stat().st_size > 1000


def test_chance_is_a_half_where_captions_say_nothing() -> None:
    torch.manual_seed(0)
    assert example("scoring").accuracy(torch.randn(500, 5, 7)) == pytest.approx(0.5, abs=0.02)
