"""From a configuration to a model and its data."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import hydra
import numpy as np
import pytest
import torch
from hydra.core.global_hydra import GlobalHydra
from omegaconf import DictConfig
from safetensors.torch import save_file
from torch import nn

from captioning.commands import config_folder
from captioning.data import CaptionDataModule
from captioning.data.features.store import FeatureWriter
from captioning.data.readers import Coco
from captioning.encoders import SmallCNN
from captioning.errors import InputError
from captioning.model.captioner import Captioner
from captioning.text import train_words
from captioning.text.word_vectors import WordVectors
from captioning.training.assemble import assemble, fit_standardise, prepare
from captioning.training.captioning import CaptioningModule
from captioning.training.run import count_parameters


def compose(*overrides: str) -> DictConfig:
    tiny = ("encoder.size=[8,8]", "encoder.channels=[8,8]", "decoder.hidden_size=5")
    GlobalHydra.instance().clear()
    with hydra.initialize_config_dir(str(config_folder()), version_base="1.3"):
        return hydra.compose("train", [*tiny, "decoder.embedding_size=7", "name=x", "output=x", *overrides])


@pytest.fixture(scope="module")
def frozen(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    """The overrides of an encoder that has its weights and keeps them."""
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("weights") / "encoder.safetensors"
    save_file(SmallCNN((8, 8), channels=(8, 8)).state_dict(), path)
    return f"encoder.weights={path}", "finetuning=frozen"


def built(root: Path, *overrides: str) -> tuple[CaptioningModule, CaptionDataModule]:
    torch.manual_seed(0)
    config = compose(f"data.root={root}", *overrides)
    module, data = assemble(config)
    prepare(config, module, data)
    return cast(CaptioningModule, module), data


@pytest.fixture
def train_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let no split but train be read."""
    read = Coco.read

    def only_train(self: Coco, split: str, *, check_files: bool = True) -> Any:
        assert split == "train"
        return read(self, split, check_files=check_files)

    monkeypatch.setattr(Coco, "read", only_train)


@pytest.mark.usefixtures("train_alone")
def test_vocabulary_and_statistics_come_from_the_training_split_alone(scenes: Path, frozen: tuple[str, str]) -> None:
    module, data = built(scenes, *frozen, "standardise=true", "text.min_count=1")
    captioner: Any = module.captioner
    assert captioner.tokenizer.to_json() == train_words(data.splits.captions("train"), min_count=1).to_json()
    assert not torch.equal(captioner.standardise.std, torch.ones(6))


def test_statistics_are_the_same_from_cached_features_as_from_images(
    scenes: Path, tmp_path: Path, frozen: tuple[str, str]
) -> None:
    module, data = built(scenes, *frozen, "standardise=true")
    plain: Any = module.captioner
    ids = [image.image_id for image in data.splits.images("train")]
    with (
        FeatureWriter(tmp_path / "train", plain.encoder.identity(), ids, dtype="float32") as writer,
        torch.inference_mode(),
    ):
        for batch in data.evaluation_dataloader("train"):
            writer.write(plain.encoder(batch.images))
    cached: Any = built(scenes, f"data.features={tmp_path}", *frozen, "standardise=true")[0].captioner
    for name in ("mean", "std"):
        torch.testing.assert_close(getattr(cached.standardise, name), getattr(plain.standardise, name))


@pytest.mark.parametrize("eval_batch_size", [3, 5, 64])
def test_statistics_are_of_as_many_images_whatever_the_batch(
    scenes: Path, frozen: tuple[str, str], eval_batch_size: int
) -> None:
    module, data = built(scenes, *frozen, "standardise=true", f"data.eval_batch_size={eval_batch_size}")
    captioner: Any = module.captioner
    fit_standardise(captioner, data, most=5)
    images = captioner.pixels([image.path for image in data.splits.images("train")[:5]])
    with torch.inference_mode():
        expected = captioner.encoder(images).pooled.mean(0)
    torch.testing.assert_close(captioner.standardise.mean, expected)


def test_features_of_random_weights_cannot_be_standardised(scenes: Path) -> None:
    with pytest.raises(InputError, match=r"standardise=True with encoder\.weights=null: the statistics would be those"):
        built(scenes, "standardise=true", "finetuning=whole")


def test_a_fine_tuned_encoder_keeps_the_statistics_of_its_start(scenes: Path, frozen: tuple[str, str]) -> None:
    expected: Any = built(scenes, *frozen, "standardise=true")[0].captioner.standardise
    found: Any = built(scenes, frozen[0], "finetuning=whole", "standardise=true")[0].captioner.standardise
    assert not torch.equal(found.std, torch.ones(6))
    for name in ("mean", "std"):
        torch.testing.assert_close(getattr(found, name), getattr(expected, name))


@pytest.mark.parametrize(
    ("decoder", "objective", "message"),
    [
        ("mrnn", "doubly_stochastic", "DoublyStochastic needs attention over regions, which MRNN does not have"),
        ("mrnn", "reinforce", "Reinforce needs attention over regions, which MRNN does not have"),
        (
            "hard_attention",
            "cross_entropy",
            "CrossEntropy has no gradient through the regions.* set objective=reinforce",
        ),
        (
            "hard_attention",
            "doubly_stochastic",
            "DoublyStochastic has no gradient through the regions.* set objective=reinforce",
        ),
        ("soft_attention", "reinforce", "needs sampled regions, which ShowAttendAndTell .* decoder=hard_attention"),
        ("att2in", "reinforce", "needs sampled regions, which Att2in .* decoder=hard_attention"),
    ],
)
def test_an_objective_must_be_one_that_the_decoder_learns_from(
    scenes: Path, decoder: str, objective: str, message: str
) -> None:
    with pytest.raises(InputError, match=message):
        built(scenes, "encoder.grid=true", f"decoder={decoder}", f"objective={objective}")


def test_settings_of_another_class_than_the_chosen_one_are_refused_with_how_to_leave_them_out(scenes: Path) -> None:
    with pytest.raises(InputError, match=r"objective\.weight: LeaveOneOut takes no weight\..* ~objective\.weight$"):
        built(scenes, "objective=leave_one_out", "+objective.weight=0.01")
    with pytest.raises(InputError, match=r"decoder\.feature_map: ShowAndTell takes no feature_map"):
        built(scenes, "+decoder.feature_map=3")


def test_an_encoder_with_random_weights_must_be_trained(scenes: Path) -> None:
    settings = ("data=scenes",)
    assert built(scenes, *settings)[0].finetuning is not None
    with pytest.raises(InputError, match="random weights say nothing; set finetuning=whole"):
        built(scenes, *settings, "finetuning=frozen")


@pytest.mark.parametrize("encoder", ["resnet50", "efficientnet_lite"])
def test_an_encoder_with_published_weights_is_frozen_unless_it_is_asked_for(encoder: str) -> None:
    GlobalHydra.instance().clear()
    with hydra.initialize_config_dir(str(config_folder()), version_base="1.3"):
        assert hydra.compose("train", [f"encoder={encoder}"]).finetuning is None
        assert hydra.compose("train", [f"encoder={encoder}", "finetuning=whole"]).finetuning is not None
        assert hydra.compose("train", ["finetuning=frozen"]).finetuning is None


def test_a_captioner_knows_what_its_bundle_needs(scenes: Path) -> None:
    captioner: Any = built(scenes)[0].captioner
    assert set(captioner.config) == {"encoder", "decoder", "search", "standardise"}
    assert captioner.config["decoder"]["vocab_size"] == len(captioner.tokenizer)
    assert captioner.config["decoder"]["feature_size"] == 8 + 13


def test_a_run_s_bundle_scales_features_as_the_run_did(scenes: Path, tmp_path: Path, frozen: tuple[str, str]) -> None:
    module, data = built(scenes, *frozen, "standardise=0.2")
    captioner = module.captioner.eval()
    bundled = Captioner.from_pretrained(captioner.save(tmp_path / "bundle"))
    images = [image.path for image in data.splits.images("val")]
    assert bundled.caption(images) == captioner.caption(images)


@pytest.mark.usefixtures("train_alone")
def test_categories_of_objects_come_from_the_training_split_alone(scenes: Path) -> None:
    module, data = built(scenes, "decoder=obj2text", "data.objects=true")
    decoder: Any = module.captioner.decoder
    assert list(decoder.categories) == data.splits.categories("train")


def test_a_captioner_s_random_numbers_start_from_the_run_s_seed(scenes: Path) -> None:
    assert built(scenes, "seed=5")[0].seed == 5


@pytest.mark.parametrize("frozen", ["true", "abc"])
def test_there_must_be_something_to_freeze(scenes: Path, frozen: str) -> None:
    with pytest.raises(
        InputError, match=r"freeze_embeddings=\w+: expected false, or true beside embeddings=FILE or sou"
    ):
        built(scenes, f"freeze_embeddings={frozen}")


def test_only_an_encoder_of_sentences_has_source_embeddings(scenes: Path) -> None:
    with pytest.raises(InputError, match=r"source_embeddings=v\.npz: the encoder \S+ reads images, expected sentences"):
        built(scenes, "source_embeddings=v.npz")


@pytest.fixture(scope="module")
def sentences(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Two languages' files, and vectors of both, 7 wide."""
    root = tmp_path_factory.mktemp("sentences")
    for language, words in (("de", ["Ein", "Hund", "rennt"]), ("en", ["a", "dog", "runs"])):
        (root / f"train.{language}").write_text(" ".join(words) + "\n")
        lower = [word.lower() for word in words]
        WordVectors(lower, np.eye(3, 7, dtype=np.float32)).write(root / f"{language}.npz")
    return str(root)


TRANSLATION = (
    "experiment=multi30k/sutskever", "text=words", "text@source_text=words", "text.min_count=1",
    "source_text.min_count=1", "encoder.hidden_size=5", "encoder.embedding_size=7", "decoder.hidden_size=5",
    "decoder.embedding_size=7", "name=x", "output=x",
)  # fmt: skip


def translator(root: str, *overrides: str) -> tuple[DictConfig, Captioner]:
    GlobalHydra.instance().clear()
    with hydra.initialize_config_dir(str(config_folder()), version_base="1.3"):
        config = hydra.compose("train", [*TRANSLATION, f"data.root={root}", *overrides])
    return config, assemble(config)[0].captioner


@pytest.mark.parametrize("given", [(), ("embeddings",), ("source_embeddings",), ("embeddings", "source_embeddings")])
def test_both_languages_words_start_from_vectors_and_are_frozen_where_they_do(
    sentences: str, given: tuple[str, ...]
) -> None:
    files = {"embeddings": "en.npz", "source_embeddings": "de.npz"}
    settings = [f"{name}={sentences}/{files[name]}" for name in given]
    _, captioner = translator(sentences, *settings, *(["freeze_embeddings=true"] if given else []))
    for name, model in (("embeddings", captioner.decoder), ("source_embeddings", captioner.encoder)):
        table = model.embedding.weight
        assert isinstance(table, nn.Parameter) == (name not in given)
        assert bool((table[-3:] == 0).any()) == (name in given)


def test_an_encoder_s_parameters_are_counted_if_it_is_trained_from_scratch(
    sentences: str, scenes: Path, frozen: tuple[str, str], caplog: pytest.LogCaptureFixture
) -> None:
    config, captioner = translator(sentences)
    lstm = 2 * (4 * 5 * (7 + 5 + 2)) - 4 * 5 * 2  # two layers of 5 cells, the second reads the first's 5
    expected = {
        "decoder_parameters": 7 * 7 + lstm + 7 * 5 + 7,
        "encoder_parameters": 7 * 7 + lstm,
    }
    with caplog.at_level("INFO"):
        assert count_parameters(config, captioner) == expected
    assert f"encoder: {expected['encoder_parameters']} parameters" in caplog.text
    own, other = built(scenes)[0].captioner, built(scenes, *frozen)[0].captioner
    assert set(count_parameters(compose(), own)) == {"decoder_parameters", "encoder_parameters"}
    assert set(count_parameters(compose(*frozen), other)) == {"decoder_parameters"}


def test_flickr8k_s_language_model_is_built_without_images(tmp_path: Path) -> None:
    (tmp_path / "Flickr8k.token.txt").write_text("".join(f"a.jpg#{n}\tA dog runs .\n" for n in range(5)))
    (tmp_path / "Flickr_8k.trainImages.txt").write_text("a.jpg\n")
    GlobalHydra.instance().clear()
    with hydra.initialize_config_dir(str(config_folder()), version_base="1.3"):
        experiment = ("experiment=flickr8k/language_model", f"data.root={tmp_path}", "name=x", "output=x")
        config = hydra.compose("train", [*experiment, "decoder.hidden_size=5", "decoder.embedding_size=7"])
    module, data = assemble(config)
    (batch,) = data.train_dataloader()
    assert module.captioner.features(batch).pooled.shape == (5, 1)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("metrics.names=[WER]", "expected metrics among BLEU, METEOR, .*found 'WER'"),
        ("metrics.names=[BLEU]", "metrics.monitor=CIDEr is not computed by .*; add it"),
        ("metrics.names=[CIDEr,SPICE]", "SPICE needs"),
        ("metrics.backend=x", "expected one of the backends captioning, pycocoevalcap"),
    ],
)
def test_metrics_that_validation_cannot_compute_are_reported_before_training(
    scenes: Path, override: str, message: str
) -> None:
    with pytest.raises(InputError, match=message):
        built(scenes, override)
