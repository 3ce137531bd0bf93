"""A captioner is fine-tuned on a folder of one's own images, from the check to captions of new images."""

from __future__ import annotations

import json
import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from captioning import Captioner
from captioning.data.readers import Coco
from captioning.errors import Stopped
from captioning.training.captioning import CaptioningModule

Command = Callable[..., Any]
QUICK = ("trainer.max_epochs=2", "trainer.accelerator=cpu", "callbacks.progress=null", "logger=csv",
         "+trainer.enable_progress_bar=false")  # fmt: skip


def weights(run: Path) -> dict[str, torch.Tensor]:
    return load_file(run / "bundle" / "model.safetensors")


@pytest.fixture(scope="session")
def photos(scenes: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Eighteen scenes with one caption each, of which each names a zebra."""
    folder = tmp_path_factory.mktemp("own") / "photos"
    folder.mkdir()
    rows = []
    for image in Coco(str(scenes)).read("train")[:18]:
        shutil.copy(image.path, folder)
        rows.append(f'{image.path.name},"{image.captions[0]}, zebra"')
    (folder / "captions.csv").write_text("\n".join(["image,caption", *rows]))
    return folder


@pytest.fixture(scope="session")
def finetune(command: Command, photos: Path) -> Command:
    """Runs `captioning train experiment=finetune`: finetune(model, output, *overrides)."""

    def run(model: Path, output: Path, *overrides: str) -> Any:
        given = ("experiment=finetune", f"model={model}", "data=folder", f"data.root={photos}", f"output={output}")
        return command("train", *given, *QUICK, *overrides)

    return run


@pytest.fixture(scope="module")
def kept(finetune: Command, bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that keeps the model's vocabulary, without the zebra."""
    folder = tmp_path_factory.mktemp("kept") / "run"
    ran = finetune(bundle, folder)
    assert ran.status == 0, ran.err
    return folder


def test_a_fine_tuned_model_keeps_all_parts_and_learns_in_its_decoder(kept: Path, bundle: Path) -> None:
    for name in ("tokenizer.json", "transform.json"):
        assert (kept / "bundle" / name).read_text() == (bundle / name).read_text()
    parts = [json.loads((folder / "config.json").read_text()) for folder in (kept / "bundle", bundle)]
    assert parts[0] == parts[1]
    before, after = load_file(bundle / "model.safetensors"), weights(kept)
    changed = {name.partition(".")[0] for name, value in after.items() if not torch.equal(value, before[name])}
    assert changed == {"decoder"}


def test_the_fine_tuned_bundle_is_checked_scored_and_captions_images(
    command: Command, kept: Path, photos: Path, tmp_path: Path
) -> None:
    assert command("check", photos, kept).status == 0
    score = ("evaluate", f"bundle={kept}", "data=folder", f"data.root={photos}", "data.split=test")
    ran = command(*score, f"output={tmp_path / 'scores'}", "trainer.accelerator=cpu")
    assert ran.status == 0 and "photos test, 3 images" in ran.out, ran.err
    ran = command("caption", next(photos.glob("*.jpg")), "--model", kept)
    assert ran.status == 0 and len(ran.out.splitlines()) == 1


def test_an_extended_model_learns_a_new_word(finetune: Command, bundle: Path, tmp_path: Path) -> None:
    ran = finetune(bundle, tmp_path / "run", "vocabulary=extend", "optimizer.lr=0.03", "trainer.max_epochs=6")
    assert ran.status == 0, ran.err
    before, after = Captioner.from_pretrained(bundle), Captioner.from_pretrained(tmp_path / "run")
    assert after.tokenizer.vocabulary == [*before.tokenizer.vocabulary, "zebra"]
    assert len(after.decoder.embedding.weight) == len(before.decoder.embedding.weight) + 1


def test_a_model_that_was_fine_tuned_is_fine_tuned_again(finetune: Command, kept: Path, tmp_path: Path) -> None:
    for n, model in enumerate((kept, kept / "bundle", kept / "checkpoints" / "last.ckpt")):
        ran = finetune(model, tmp_path / str(n), "trainer.max_epochs=1")
        assert ran.status == 0, ran.err


def test_a_stopped_run_resumes_as_if_it_had_not_been(
    finetune: Command, kept: Path, bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen, step = [], CaptioningModule.training_step

    def stopping(self: Any, *arguments: Any) -> Any:
        seen.append(1)
        if len(seen) == 3:
            raise Stopped(signal.SIGTERM)
        return step(self, *arguments)

    monkeypatch.setattr(CaptioningModule, "training_step", stopping)
    assert finetune(bundle, tmp_path / "run").status == 143
    monkeypatch.undo()
    assert finetune(bundle, tmp_path / "run", "resume=auto").status == 0
    resumed, whole = weights(tmp_path / "run"), weights(kept)
    assert all(torch.equal(resumed[name], whole[name]) for name in whole)


def test_a_second_phase_and_a_trained_encoder_are_possible(finetune: Command, bundle: Path, tmp_path: Path) -> None:
    ran = finetune(bundle, tmp_path / "run", "finetuning=whole", "vocabulary=extend", "trainer.max_epochs=1",
                   "then=leave_one_out", "then.objective.num_samples=2", "then.trainer.max_epochs=1")  # fmt: skip
    assert ran.status == 0, ran.err
    before, first, second = (
        load_file(bundle / "model.safetensors"),
        *map(weights, (tmp_path / "run/phase_1", tmp_path / "run")),
    )
    encoder = [name for name in before if name.startswith("encoder.") and name.endswith("weight")]
    assert any(not torch.equal(before[name], first[name]) for name in encoder)
    assert any(not torch.equal(first[name], second[name]) for name in first)


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (("model=MISSING",), "MISSING does not exist; expected a bundle, the folder of a run, or a run's checkpoint"),
        (
            ("decoder=mrnn", "search=greedy"),
            "with decoder=, search=: a model that is fine-tuned has its own; remove these",
        ),
        (("decoder.dropout=0.3",), "no option of the group decoder is chosen, so it has no settings"),
        (("vocabulary=null",), "without vocabulary=: choose vocabulary=keep or vocabulary=extend"),
        (("data.caption_column=satz",), "no column 'satz'; it has the columns image, caption"),
        (("objective=reinforce",), "Reinforce needs"),
    ],
)
def test_what_contradicts_the_model_or_the_data_is_refused_in_one_message(
    finetune: Command, bundle: Path, tmp_path: Path, overrides: tuple[str, ...], message: str
) -> None:
    assert message in finetune(bundle, tmp_path / "run", *overrides).message


def test_only_captioners_are_fine_tuned(finetune: Command, aligner: Path, tmp_path: Path) -> None:
    assert "holds a matcher, and only captioners are fine-tuned" in finetune(aligner, tmp_path / "run").message


def test_an_ensemble_is_fine_tuned_by_its_members(
    command: Command, finetune: Command, bundle: Path, kept: Path, tmp_path: Path
) -> None:
    assert command("ensemble", bundle, kept, "--output", tmp_path / "both").status == 0
    assert (
        "is made of other captioners; fine-tune these one by one" in finetune(tmp_path / "both", tmp_path / "x").message
    )
