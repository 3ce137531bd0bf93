"""captioning bundle: make the bundle of a checkpoint."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from captioning import Captioner

Command = Callable[..., Any]


def test_the_bundle_of_a_checkpoint_equals_that_of_its_run(
    command: Command, run_folder: Path, scenes: Path, tmp_path: Path
) -> None:
    """The best checkpoint has its epoch in its name. The last one may be another."""
    (best,) = (run_folder / "checkpoints").glob("epoch_*.ckpt")
    ran = command("bundle", best, tmp_path / "bundle")
    assert (ran.status, ran.out) == (0, f"{tmp_path / 'bundle'}\n")
    images = sorted((scenes / "test2017").glob("*.jpg"))
    made, own = (Captioner.from_pretrained(p).caption(images) for p in (tmp_path / "bundle", run_folder / "bundle"))
    assert made == own
    for name in ("config.json", "tokenizer.json", "transform.json", "model.safetensors"):
        assert (tmp_path / "bundle" / name).read_bytes() == (run_folder / "bundle" / name).read_bytes()
    saved = torch.load(best, weights_only=True)
    metrics = json.loads((tmp_path / "bundle" / "metrics.json").read_text())
    assert metrics == {"checkpoint": {"epoch": saved["epoch"], "step": saved["global_step"]}}


def test_a_bundle_of_8_bits_is_a_quarter_as_large_and_captions_alike(
    command: Command, run_folder: Path, scenes: Path, tmp_path: Path
) -> None:
    (metrics := tmp_path / "metrics.json").write_text((run_folder / "metrics.json").read_text())
    small, own = tmp_path / "small", run_folder / "bundle"
    ran = command("bundle", run_folder, small, "--bits", 8, "--metrics", metrics)
    assert (ran.status, ran.out) == (0, f"{small}\n")
    assert (small / "model.safetensors").stat().st_size < 0.3 * (own / "model.safetensors").stat().st_size
    assert json.loads((small / "metrics.json").read_text()) == json.loads(metrics.read_text())
    assert command("check", small).status == 0
    images = sorted((scenes / "test2017").glob("*.jpg"))
    models = [Captioner.from_pretrained(path) for path in (small, own)]
    assert torch.allclose(*(m.encode(m.pixels(images)).pooled for m in models), atol=0.1)
    assert models[0].caption(images)[0].words


def test_a_bundle_that_reads_mirror_images_captions_an_image_and_its_mirror_image_alike(
    command: Command, run_folder: Path, scenes: Path, tmp_path: Path
) -> None:
    made = tmp_path / "mirrored"
    ran = command("bundle", run_folder, made, "--mirrored")
    assert (ran.status, ran.out) == (0, f"{made}\n")
    assert command("check", made).status == 0
    own, found = Captioner.from_pretrained(run_folder), Captioner.from_pretrained(made)
    inputs = own.pixels(sorted((scenes / "test2017").glob("*.jpg")))
    expected = (own.encoder(inputs).pooled + own.encoder(inputs.flip(3)).pooled) / 2
    assert torch.allclose(found.encoder(inputs).pooled, expected, atol=1e-5)
    assert [c.text for c in found.decode(inputs)] == [c.text for c in found.decode(inputs.flip(3))]
    assert (found.search, found.confidences) == (own.search, None)
    twice = command("bundle", made, tmp_path / "twice", "--mirrored")
    assert "that are not mirrored already" in twice.message


def test_only_captioners_read_mirror_images(command: Command, aligner: Path, tmp_path: Path) -> None:
    message = command("bundle", aligner, tmp_path / "out", "--mirrored").message
    assert "this model is a matcher; only captioners read mirror images too" in message


def test_what_cannot_be_bundled_is_refused(command: Command, run_folder: Path, tmp_path: Path) -> None:
    (tmp_path / "other.json").write_text('{"metrics": 1}')
    message = command("bundle", run_folder, tmp_path / "out", "--metrics", tmp_path / "other.json").message
    assert "other.json has no metrics and signature" in message
    message = command("bundle", run_folder, run_folder / "bundle", tmp_path / "out").message
    assert "2 models: only a run's checkpoints" in message
    assert not (tmp_path / "out").exists()


def test_other_files_are_refused_without_running_them(command: Command, tmp_path: Path) -> None:
    class Evil:
        def __reduce__(self) -> Any:
            return Path.mkdir, (tmp_path / "hacked",)

    torch.save({"captioning": Evil()}, tmp_path / "evil.ckpt")
    torch.save({"state_dict": {}}, tmp_path / "other.ckpt")
    (tmp_path / "garbage.ckpt").write_bytes(b"hello world" * 10)
    (tmp_path / "empty.ckpt").touch()
    for name in ("evil.ckpt", "other.ckpt", "garbage.ckpt", "empty.ckpt"):
        message = command("bundle", tmp_path / name, tmp_path / "out").message
        assert f"{name} is not a checkpoint of captioning" in message
        assert "weights_only" not in message  # torch advises to run what the file holds
    assert f"{tmp_path} is no bundle, and no run" in command("bundle", tmp_path, tmp_path / "out").message
    assert "no checkpoint at" in command("bundle", tmp_path / "none.ckpt", tmp_path / "out").message
    assert not (tmp_path / "hacked").exists()
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("out", ["{tmp}/full", "/dev/null/bundle"])
def test_a_folder_that_cannot_be_written_is_reported(
    command: Command, run_folder: Path, tmp_path: Path, out: str
) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "something").touch()
    ran = command("bundle", run_folder / "checkpoints" / "last.ckpt", out.format(tmp=tmp_path))
    assert "exists already" in ran.message or "could not be written" in ran.message


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (lambda saved: saved["captioning"]["config"]["decoder"].update(hidden_size=16_000), "far more weights"),
        (lambda saved: saved["captioning"]["config"]["search"].update(max_length=10**8), "must be at most 4096"),
        (lambda saved: saved["captioning"].pop("tokenizer"), "tokenizer"),
        (lambda saved: saved["captioning"].update(transform=[1]), "transform"),
        (lambda saved: saved["state_dict"]["model.decoder.head.weight"].fill_(torch.nan), "are not finite"),
        (lambda saved: saved["state_dict"].pop("model.decoder.head.weight"), "head.weight is missing"),
    ],
)
def test_a_checkpoint_that_makes_no_whole_model_is_refused(
    command: Command, run_folder: Path, tmp_path: Path, change: Callable[[Any], Any], complaint: str
) -> None:
    saved = torch.load(run_folder / "checkpoints" / "last.ckpt", weights_only=True)
    change(saved)
    torch.save(saved, tmp_path / "changed.ckpt")
    ran = command("bundle", tmp_path / "changed.ckpt", tmp_path / "out")
    assert ran.status == 1
    assert complaint in ran.message
    assert not (tmp_path / "out").exists()
