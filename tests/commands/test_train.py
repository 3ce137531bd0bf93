"""captioning train: a run's folder, its repetition, its continuation, its sweeps."""

from __future__ import annotations

import csv
import json
import random
import re
import shutil
from collections.abc import Callable
from dataclasses import replace
from itertools import chain, count, repeat
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from pycocotools.coco import COCO
from safetensors.torch import load_file, save_file

from captioning import Captioner
from captioning.data import Splits
from captioning.data.readers import Coco
from captioning.encoders import SmallCNN
from captioning.evaluation.predictions import Evaluation, evaluate
from captioning.metrics.diversity import summary
from captioning.model.checkpoint import model_weights
from captioning.reports.runs import TEXT_STATISTICS

Command = Callable[..., Any]
NAMES = ["BLEU-1", "BLEU-2", "BLEU-3", "BLEU-4", "ROUGE-L", "CIDEr"]


def read(path: Path) -> Any:
    return json.loads(path.read_text())


def same_weights(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return all(torch.equal(value, other[name]) for name, value in one.items())


def same_run(one: Path, other: Path) -> dict[str, bool]:
    """Which of two runs' results are the same, bit by bit."""
    best = [load_file(folder / "bundle" / "model.safetensors") for folder in (one, other)]
    last = [torch.load(folder / "checkpoints" / "last.ckpt", weights_only=True) for folder in (one, other)]
    files = ("metrics.json", "captions.json", "per_image.csv")
    return {
        "best weights": same_weights(*best),
        "last weights": same_weights(*(checkpoint["state_dict"] for checkpoint in last)),
        **{name: (one / name).read_bytes() == (other / name).read_bytes() for name in files},
    }


def test_a_run_s_folder_holds_all_that_is_needed_to_repeat_and_use_it(run_folder: Path) -> None:
    config = yaml.safe_load((run_folder / ".hydra" / "config.yaml").read_text())
    assert config["decoder"]["_target_"] == "captioning.decoders.ShowAndTell"
    assert config["decoder"]["hidden_size"] == 12
    assert "24 images, 120 captions" in (run_folder / "train.log").read_text()
    best, last = sorted((run_folder / "checkpoints").glob("*.ckpt"))
    assert (best.stem[:-1], last.name) == ("epoch_", "last.ckpt")
    assert sorted((run_folder / "checkpoints").glob("*.sha256")) == [Path(f"{best}.sha256"), Path(f"{last}.sha256")]
    assert torch.load(last, weights_only=True)["epoch"] == 1  # whichever was the best
    assert (run_folder / "bundle" / "model.safetensors").is_file()
    assert {path.name for path in run_folder.iterdir()} == {
        ".hydra", "train.log", "checkpoints", "csv", "bundle", "metrics.json", "captions.json", "per_image.csv",
        "SHA256SUMS", "statistics.safetensors", "training.json", ".lock",
    }  # fmt: skip


def test_metrics_are_fractions_with_what_moves_them(run_folder: Path) -> None:
    metrics = read(run_folder / "metrics.json")
    assert list(metrics) == ["metrics", "intervals", "language_model", "captions", "signature"]
    assert list(metrics["metrics"]) == NAMES
    assert all(0 <= value <= 1 for name, value in metrics["metrics"].items() if name != "CIDEr")
    assert list(metrics["language_model"]) == ["loss", "perplexity", *TEXT_STATISTICS]
    assert list(metrics["captions"]) == ["unfinished", *summary(["a"])]
    signature = metrics["signature"]
    assert (signature["data"], signature["split"]) == ("scenes", "val")
    assert (signature["num_images"], signature["num_references"]) == (8, 40)
    assert signature["search"]["name"] == "BeamSearch"
    assert signature["search"]["max_length"] == 6
    assert read(run_folder / "bundle" / "metrics.json") == metrics


def test_captions_are_in_coco_s_results_format(run_folder: Path, scenes: Path) -> None:
    truth = COCO(scenes / "annotations" / "captions_val2017.json")
    results = truth.loadRes(str(run_folder / "captions.json"))
    assert results.getImgIds() == truth.getImgIds()
    assert all(isinstance(entry["caption"], str) for entry in read(run_folder / "captions.json"))


def test_every_image_has_its_own_scores(run_folder: Path) -> None:
    with (run_folder / "per_image.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == ["image_id", "caption", "log_probability", "finished", *NAMES]
    captions = {str(entry["image_id"]): entry["caption"] for entry in read(run_folder / "captions.json")}
    assert {row["image_id"]: row["caption"] for row in rows} == captions
    assert all(float(row["log_probability"]) < 0 for row in rows)


def test_a_run_tells_what_it_took(run_folder: Path) -> None:
    took = read(run_folder / "training.json")
    assert set(took) == {"decoder_parameters", "encoder_parameters", "seconds", "precision", "epochs", "steps"}
    assert took["precision"] == "32-true"


def test_a_processor_that_multiplies_no_bfloat16_trains_in_float32(
    train: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", dict)
    ran = train(tmp_path / "run", "trainer.precision=bf16-mixed", "+trainer.limit_train_batches=1")
    assert ran.status == 0, ran.err
    assert read(tmp_path / "run" / "training.json")["precision"] == "32-true"
    assert "this CPU has no bfloat16 products" in (tmp_path / "run" / "train.log").read_text()


@pytest.mark.parametrize("text", ["characters", "byte_bpe"])
def test_captions_may_be_of_other_tokens_than_words(train: Command, scenes: Path, tmp_path: Path, text: str) -> None:
    one_step = ("data.max_length=200", "search.max_length=9", "+trainer.limit_train_batches=1")
    ran = train(tmp_path / "run", f"text={text}", *one_step)
    assert ran.status == 0, ran.err
    captioner = Captioner.from_pretrained(tmp_path / "run" / "bundle")
    truth = Splits(Coco(str(scenes))).captions("train")
    assert [captioner.tokenizer.decode(ids) for ids in captioner.tokenizer.encode(truth)] == truth
    caption = captioner.caption(next((scenes / "val2017").iterdir()))
    assert caption.text or caption.finished


def test_the_same_seed_gives_the_same_run_bit_by_bit_and_another_does_not(
    train: Command, run_folder: Path, tmp_path: Path
) -> None:
    torch.manual_seed(99)  # whatever ran before in this process does not matter
    random.seed(99)
    np.random.seed(99)
    assert train(tmp_path / "again", "finetuning=whole", "trainer.max_epochs=2").status == 0
    assert all(same_run(run_folder, tmp_path / "again").values())
    assert train(tmp_path / "other", "finetuning=whole", "trainer.max_epochs=2", "seed=2").status == 0
    assert not any(same_run(run_folder, tmp_path / "other").values())


def test_a_run_that_is_resumed_in_its_folder_equals_an_uninterrupted_one(
    train: Command, run_folder: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    assert train(run, "finetuning=whole", "trainer.max_epochs=1").status == 0
    shutil.rmtree(run / "bundle")  # as if it had been interrupted
    last = run / "checkpoints" / "last.ckpt"
    checkpoint = torch.load(last, weights_only=True)
    checkpoint["callbacks"]["Timer"]["time_elapsed"]["train"] = 1000.0
    torch.save(checkpoint, last)
    Path(f"{last}.sha256").unlink()
    went_on = train(run, "finetuning=whole", "trainer.max_epochs=2", f"checkpoint={last}")
    assert went_on.status == 0
    assert read(run / "training.json")["seconds"] > 1000  # its first half's are counted
    assert all(same_run(run_folder, run).values())
    assert len(list(run.rglob("csv/*/metrics.csv"))) == 2  # the first epoch's are kept


@pytest.mark.parametrize("name", ["last", "epoch_?"])
def test_every_checkpoint_can_be_resumed_by_its_name(train: Command, tmp_path: Path, name: str) -> None:
    run = tmp_path / "run"
    assert train(run).status == 0
    shutil.rmtree(run / "bundle")
    (checkpoint,) = (run / "checkpoints").glob(f"{name}.ckpt")
    assert train(run, "trainer.max_epochs=2", f"checkpoint={checkpoint}").status == 0


def files_of(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_run_that_has_ended_is_not_overwritten(train: Command, run_folder: Path) -> None:
    before = files_of(run_folder)
    assert "holds a finished run; choose another folder" in train(run_folder, "seed=2").message
    assert files_of(run_folder) == before


def test_a_run_that_was_interrupted_is_not_begun_anew_in_its_folder(
    train: Command, run_folder: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    shutil.copytree(run_folder, run)
    shutil.rmtree(run / "bundle")
    before = files_of(run)
    message = train(run, "seed=2").message
    assert "holds an interrupted run; resume it with resume=auto, or choose" in message
    assert files_of(run) == before


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("decoder.hidden_size=13", "another model: decoder.hidden_size=12 (here 13); resume with"),
        ("encoder.channels=[8,8]", "encoder.channels=[8, 16] (here [8, 8])"),
        ("decoder=mrnn", "decoder._target_=captioning.decoders.ShowAndTell (here captioning.decoders.MRNN)"),
        ("text.min_count=2", "another vocabulary; resume with"),
    ],
)
def test_a_run_does_not_resume_from_another_model_s_checkpoint(
    train: Command, run_folder: Path, tmp_path: Path, override: str, message: str
) -> None:
    checkpoint = f"checkpoint={run_folder}/checkpoints/last.ckpt"
    assert message in train(tmp_path / "run", checkpoint, "trainer.max_epochs=3", override).message


# ---- which epoch counts -----------------------------------------------------------------------------------------


def figures(monkeypatch: pytest.MonkeyPatch, *ciders: float) -> None:
    """Let validation find these CIDErs, one after the other and the last for ever, and losses that rise."""
    found = chain(ciders, repeat(ciders[-1]))
    losses = count(1.0)

    def scripted(*arguments: Any) -> Evaluation:
        evaluation = evaluate(*arguments)
        scores = replace(evaluation.scores, corpus={**evaluation.scores.corpus, "CIDEr": next(found)})
        return replace(evaluation, scores=scores, loss=next(losses))

    monkeypatch.setattr("captioning.training.captioning.evaluate", scripted)


def test_the_epoch_of_the_highest_cider_is_evaluated_and_bundled_and_training_stops_when_it_has_not_risen(
    train: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    figures(monkeypatch, 0.2, 0.5, 0.3, 0.4)
    run = tmp_path / "run"
    assert train(run, "trainer.max_epochs=6", "callbacks.early_stopping.patience=2").status == 0
    assert {path.name for path in (run / "checkpoints").glob("*.ckpt")} == {"epoch_1.ckpt", "last.ckpt"}
    best, last = (torch.load(run / "checkpoints" / f"{name}.ckpt", weights_only=True) for name in ("epoch_1", "last"))
    assert last["epoch"] == 3
    bundle = load_file(run / "bundle" / "model.safetensors")
    assert same_weights(bundle, model_weights(best))
    assert not same_weights(bundle, model_weights(last))
    captions = [entry["caption"] for entry in read(run / "captions.json")]
    truth = Splits(Coco(read_config(run)["data"]["root"]))
    bundled = Captioner.from_pretrained(run / "bundle")
    assert captions == [caption.text for caption in bundled.caption([image.path for image in truth.images("val")])]


def read_config(run: Path) -> Any:
    return yaml.safe_load((run / ".hydra" / "config.yaml").read_text())


# ---- sweeps -----------------------------------------------------------------------------------------------------


def test_a_sweep_ends_in_one_table_and_a_failing_run_does_not_stop_it(
    train: Command, scenes: Path, tmp_path: Path
) -> None:
    ran = train(tmp_path, "decoder=show_and_tell,mrnn", "seed=1,-3", "-m")
    assert ran.status == 1
    assert "Traceback" not in ran.err
    with (tmp_path / "sweep.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["decoder"], row["seed"], bool(row["CIDEr"])) for row in rows] == [
        (decoder, seed, seed != "-3") for decoder in ("show_and_tell", "mrnn") for seed in ("1", "-3")
    ]
    assert ran.out.count("1 of 2") == 2
    assert "2 of 4 runs failed: 1, 3; see their error.txt" in ran.out
    assert (tmp_path / "1" / "error.txt").is_file()
    for run, row in (("0", rows[0]), ("2", rows[2])):
        assert float(row["CIDEr"]) == read(tmp_path / run / "metrics.json")["metrics"]["CIDEr"]


def test_a_sweep_s_table_is_never_of_another_s_runs(train: Command, tmp_path: Path) -> None:
    assert train(tmp_path, "seed=1,2", "-m").status == 0
    before = files_of(tmp_path)
    assert "holds a sweep's runs; choose another folder" in train(tmp_path, "seed=8,9", "-m").message
    assert files_of(tmp_path) == before


# ---- a user's mistakes ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["seed=2", "decoder.hiden_size=3"], "did you mean 'hidden_size'"),
        (["decoderr=mrnn"], "did you mean 'decoder'"),
        (["decoder=mrn"], "mrn"),
        (["data=coco2018"], "coco2018"),
        (["experiment=scenes/show_and_tel"], "show_and_tel"),
        (["trainer.max_epochs"], "trainer.max_epochs"),
        (["data=flickr8k"], "data.root must be given, as data.root=VALUE"),
        (["seed=1,2"], "-m"),
        (["data.root=/images (1)/a=b"], "needs two pairs of quotes: \"KEY='VALUE'\""),
    ],
)
def test_a_configuration_that_does_not_compose_is_reported_with_one_that_does(
    command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, overrides: list[str], message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    assert message in command("train", *overrides).message
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("decoder.hidden_size=wide", "decoder.hidden_size=wide: expected a whole number"),
        ("search.beam_size=0", "beam_size=0"),
        ("decoder.dropout=2", "dropout"),
        ("data.root=nowhere", "make it: captioning scenes nowhere"),
        ("data.features=nowhere", "nowhere"),
        ("checkpoint=nowhere.ckpt", "nowhere.ckpt"),
        ("data.split=valid", "valid"),
        ("standardise=true", "standardise=false"),
        ("text.min_count=100000", "min_count"),
        ("finetuning.num_stages=99", "num_stages=99"),
        ("output=/dev/null/run", "/dev/null"),
        ("text=characters", "would truncate"),
        ("data.augment={flip:0.5}", "expected values of some of scale, ratio, horizontal_flip"),
    ],
)
def test_a_mistake_is_one_message_with_what_to_do(
    train: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, override: str, message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    ran = train(tmp_path / "run", "finetuning=whole", override)
    assert message in ran.message
    assert not list(tmp_path.rglob("*.ckpt"))


def test_a_file_that_is_no_checkpoint_is_reported_and_not_run(train: Command, tmp_path: Path) -> None:
    class Evil:
        def __reduce__(self) -> Any:
            return Path.mkdir, (tmp_path / "hacked",)

    torch.save({"state_dict": Evil(), "captioning": {"config": {}}}, tmp_path / "evil.ckpt")
    (tmp_path / "garbage.ckpt").write_bytes(b"hello world" * 10)
    for name in ("evil", "garbage"):
        message = train(tmp_path / name, "finetuning=whole", f"checkpoint={tmp_path}/{name}.ckpt").message
        assert f"{name}.ckpt is not a checkpoint of captioning" in message
        assert "weights_only" not in message  # torch advises to run what the file holds
    assert not (tmp_path / "hacked").exists()


def test_a_choice_of_group_may_stand_after_the_keys_that_need_it(command: Command) -> None:
    ran = command("train", "decoder.multimodal_size=3", "decoder=mrnn", "--cfg", "job")
    assert ran.status == 0
    assert "multimodal_size: 3" in ran.out


def test_a_full_disk_is_reported_without_a_traceback(
    train: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "captions.json").symlink_to("/dev/full")
    assert "No space left" in train(tmp_path / "run", "finetuning=whole").message


def test_an_image_that_is_missing_or_broken_is_named(train: Command, scenes: Path, tmp_path: Path) -> None:
    root = tmp_path / "scenes"
    shutil.copytree(scenes, root)
    first, second, *_ = sorted((root / "train2017").iterdir())
    first.write_bytes(first.read_bytes()[:300])
    for num_workers in (0, 1):
        message = train(tmp_path / "run", f"data.root={root}", f"data.num_workers={num_workers}").message
        assert re.match(rf"captioning train: 1 of \d+ images cannot be read: {re.escape(str(first))}: ", message)
    second.unlink()
    assert second.name in train(tmp_path / "run2", f"data.root={root}", "finetuning=whole").message


@pytest.fixture
def broken_scenes(scenes: Path, tmp_path: Path) -> tuple[Path, Path]:
    """The scenes with a truncated training image, and that image."""
    root = Path(shutil.copytree(scenes, tmp_path / "scenes"))
    image = sorted((root / "train2017").glob("*.jpg"))[-1]
    image.write_bytes(image.read_bytes()[:-300])
    return root, image


def test_broken_training_image_is_found_before_training_and_skipped_on_request(
    train: Command, broken_scenes: tuple[Path, Path], tmp_path: Path
) -> None:
    root, image = broken_scenes
    ran = train(tmp_path / "run", f"data.root={root}")
    assert "1 of " in ran.message and f"{image}: the image cannot be read" in ran.message
    assert not (tmp_path / "run" / "checkpoints").exists()
    ran = train(tmp_path / "run2", f"data.root={root}", "data.skip_broken=true", "finetuning=whole")
    assert ran.status == 0, ran.err
    log = (tmp_path / "run2" / "train.log").read_text()
    assert f"skipped: {image}" in log
    assert "images cannot be read and are skipped" in log


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda root: shutil.rmtree(root / "val2017"), "val2017"),
        (lambda root: (root / "annotations" / "captions_val2017.json").unlink(), "captions_val2017.json"),
        (lambda root: next((root / "val2017").iterdir()).unlink(), "val2017"),
        (lambda root: next(iter(sorted((root / "val2017").iterdir()))).write_bytes(b"junk"), "not an image"),
    ],
    ids=["no images", "no captions", "an image is missing", "the first image is broken"],
)
def test_what_validation_reads_is_checked_before_the_first_step(
    train: Command, scenes: Path, tmp_path: Path, damage: Callable[[Path], Any], message: str
) -> None:
    root = tmp_path / "scenes"
    shutil.copytree(scenes, root)
    damage(root)
    said = train(tmp_path / "run", f"data.root={root}").message
    assert message in said
    assert not (tmp_path / "run" / "checkpoints").exists()


def test_loggers_that_fail_do_not_stop_a_run(train: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(self: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("pytorch_lightning.loggers.CSVLogger.save", fail)
    assert train(tmp_path / "run").status == 0
    assert (tmp_path / "run" / "train.log").read_text().count("logger.csv failed and logs nothing more") == 1


def test_training_warns_if_all_captions_are_the_same(train: Command, tmp_path: Path) -> None:
    assert train(tmp_path / "run", "search.max_length=1", "text.most=1").status == 0
    assert "all 8 captions are the same: " in (tmp_path / "run" / "train.log").read_text()


def test_validation_is_checked_before_the_training_images_are_encoded(
    train: Command, scenes: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root, weights = Path(shutil.copytree(scenes, tmp_path / "scenes")), tmp_path / "encoder.safetensors"
    (root / "annotations" / "captions_val2017.json").unlink()
    save_file(SmallCNN((16, 16), channels=(8, 16)).state_dict(), weights)

    def encode(*_arguments: Any) -> None:
        raise AssertionError("a training image was encoded")

    monkeypatch.setattr("captioning.training.assemble.fit_standardise", encode)
    frozen = ("standardise=true", "finetuning=frozen", f"encoder.weights={weights}")
    assert "captions_val2017.json" in train(tmp_path / "run", f"data.root={root}", *frozen).message
