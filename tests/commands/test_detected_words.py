"""From a word detector to captions that mention its words, through feature stores and bundles."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from captioning import Captioner
from captioning.decoders import LstmA
from captioning.encoders import WithDetector
from captioning.search import CoveringSearch

Command = Callable[..., Any]
SMALL = (
    "trainer.max_epochs=1", "trainer.check_val_every_n_epoch=1", "trainer.accelerator=cpu",
    "trainer.log_every_n_steps=1", "+trainer.enable_progress_bar=false", "callbacks.progress=null", "logger=csv",
    "schedule=constant",
)  # fmt: skip


@pytest.fixture(scope="module")
def words(command: Command, scenes: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The bundle of a word detector."""
    folder = tmp_path_factory.mktemp("words") / "run"
    tiny = ("encoder.size=[16,16]", "encoder.channels=[8,16]")
    ran = command("train", "experiment=scenes/word_detector", f"data.root={scenes}", *SMALL, *tiny, f"output={folder}")
    assert ran.status == 0, ran.err
    return folder / "bundle"


@pytest.fixture(scope="module")
def stored(command: Command, scenes: Path, words: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Cached features with the detector's words."""
    folder = tmp_path_factory.mktemp("stored") / "features"
    settings = ("data=scenes", f"data.root={scenes}", "encoder=detected_words", f"encoder.weights={words}")
    ran = command("extract", *settings, f"features={folder}")
    assert ran.status == 0, ran.err
    return folder


@pytest.fixture(scope="module")
def run(command: Command, scenes: Path, words: Path, stored: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of visual concepts on these features."""
    folder = tmp_path_factory.mktemp("concepts") / "run"
    ran = command(
        "train", "experiment=scenes/visual_concepts", f"data.root={scenes}", f"encoder.weights={words}",
        f"data.features={stored}", *SMALL, f"output={folder}",
    )  # fmt: skip
    assert ran.status == 0, ran.err
    return folder


def test_a_bundle_captions_photographs_without_the_detector_s_bundle(
    command: Command, run: Path, scenes: Path, tmp_path: Path
) -> None:
    moved = shutil.copytree(run / "bundle", tmp_path / "moved")
    model = Captioner.from_pretrained(moved)
    encoder, search = model.encoder, model.search
    assert isinstance(encoder, WithDetector) and isinstance(search, CoveringSearch)
    vocabulary = model.tokenizer.vocabulary
    special = ("<pad>", "<bos>", "<eos>", "<unk>")
    for word, token in zip(encoder.words, search.concepts, strict=True):
        assert token == -1 if word in special else vocabulary[token] == word
    image = sorted((scenes / "val2017").glob("*.jpg"))[0]
    assert model.caption(str(image)).text
    assert command("check", run).status == 0


def test_the_result_does_not_list_the_words(run: Path) -> None:
    signature = json.loads((run / "metrics.json").read_text())["signature"]
    assert "num_words" in str(signature) and "concepts" not in str(signature)


def test_a_covering_search_knows_the_words_of_any_model(
    command: Command, words: Path, stored: Path, scenes: Path, tmp_path: Path
) -> None:
    data = ("data=scenes", f"data.root={scenes}", f"data.features={stored}")
    ran = command(
        "train", *data, "encoder=detected_words", f"encoder.weights={words}", "decoder=show_and_tell", *SMALL,
        "decoder.embedding_size=8", "decoder.hidden_size=8", "search=greedy", f"output={tmp_path / 'run'}",
    )  # fmt: skip
    assert ran.status == 0, ran.err
    ran = command(
        "evaluate", *data, f"bundle={tmp_path / 'run' / 'bundle'}", "search=covering", "search.num_best=3",
        "search.beam_size=5", "search.threshold=0.1", f"output={tmp_path / 'scores'}",
    )  # fmt: skip
    assert ran.status == 0, ran.err
    assert json.loads((tmp_path / "scores" / "metrics.json").read_text())["signature"]["search"]["num_best"] == 3


def test_any_decoder_reads_the_words_beside_the_image(
    command: Command, words: Path, scenes: Path, tmp_path: Path
) -> None:
    ran = command(
        "train", "data=scenes", f"data.root={scenes}", "encoder=image_and_words", f"encoder.weights={words}",
        "decoder=par_inject", *SMALL, "search=greedy", f"output={tmp_path / 'run'}",
    )  # fmt: skip
    assert ran.status == 0, ran.err
    model = Captioner.from_pretrained(tmp_path / "run" / "bundle")
    encoder: Any = model.encoder
    assert encoder.feature_size == encoder.encoder.feature_size + len(encoder.words)


def test_lstm_a_reads_the_words_in_training_and_in_its_bundle(
    command: Command, words: Path, stored: Path, scenes: Path, tmp_path: Path
) -> None:
    ran = command(
        "train", "data=scenes", f"data.root={scenes}", f"data.features={stored}", "encoder=detected_words",
        f"encoder.weights={words}", "decoder=lstm_a3", "recurrent@decoder.recurrent=gru", "decoder.embedding_size=8",
        "decoder.hidden_size=8", *SMALL, "search=greedy", f"output={tmp_path / 'run'}",
    )  # fmt: skip
    assert ran.status == 0, ran.err
    model = Captioner.from_pretrained(tmp_path / "run" / "bundle")
    encoder, decoder = model.encoder, model.decoder
    assert isinstance(decoder, LstmA) and isinstance(encoder, WithDetector)
    assert (decoder.first, decoder.each, decoder.num_words) == (("words", "image"), (), len(encoder.words))
    assert command("check", tmp_path / "run").status == 0


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (("decoder=lstm_a1",), "LstmA reads the words that a detector finds (num_words), and the encoder has none"),
        (("decoder=visual_concepts",), "VisualConcepts reads the words that a detector finds (concepts), and the enco"),
        (("encoder=detected_words",), "image_and_words to the bundle of a word detector"),
        (("encoder=detected_words", "encoder.weights=nowhere"), "nowhere does not exist; a bundle is"),
    ],
)
def test_a_missing_detector_is_explained(
    command: Command, scenes: Path, tmp_path: Path, settings: tuple[str, ...], message: str
) -> None:
    ran = command("train", "data=scenes", f"data.root={scenes}", *settings, *SMALL, f"output={tmp_path / 'run'}")
    assert ran.status == 1
    assert message in ran.message


def test_a_captioner_is_no_detector(command: Command, run: Path, scenes: Path, tmp_path: Path) -> None:
    settings = ("encoder=detected_words", f"encoder.weights={run / 'bundle'}", f"output={tmp_path / 'run'}")
    ran = command("train", "data=scenes", f"data.root={scenes}", *settings, *SMALL)
    assert "holds a decoder, expected a word detector" in ran.message


def test_features_of_another_detector_are_refused(
    command: Command, words: Path, stored: Path, scenes: Path, tmp_path: Path
) -> None:
    tiny = ("encoder.size=[16,16]", "encoder.channels=[8,16]", "seed=2")
    folder = tmp_path / "words"
    command("train", "experiment=scenes/word_detector", f"data.root={scenes}", *SMALL, *tiny, f"output={folder}")
    ran = command(
        "train", "experiment=scenes/visual_concepts", f"data.root={scenes}", f"encoder.weights={folder / 'bundle'}",
        f"data.features={stored}", *SMALL, f"output={tmp_path / 'run'}",
    )  # fmt: skip
    assert "holds features of another encoder: weights is" in ran.message
