"""Bundles, checkpoints and feature stores of version 06ae05c still give what that version gave.

`tests/fixtures/README.md` says how the files were made.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch.nn import functional as F

from captioning import Captioner
from captioning.encoders.features import ImageFeatures
from captioning.training import on_cpu

Command = Callable[..., Any]
FIXTURES = Path(__file__).parents[1] / "fixtures"
KINDS = ("cached", "finetuned", "attentive", "translator", "language_model")
every_kind = pytest.mark.parametrize("kind", KINDS)


def read(kind: str) -> Any:
    return json.loads((FIXTURES / kind / "expected.json").read_text(encoding="utf-8"))


def sha256(path: Path) -> str:
    """The digest of every weight's name, dtype, shape and bytes, in the order of names."""
    digest = hashlib.sha256()
    for name, weight in sorted(load_file(path).items()):
        digest.update(f"{name} {weight.dtype} {list(weight.shape)}\n".encode())
        digest.update(weight.contiguous().numpy().tobytes())
    return digest.hexdigest()


def check_captions(command: Command, bundle: Path, expected: list[dict[str, Any]]) -> None:
    """Caption the inputs of `expected`; texts must be equal, scores to 1e-6 of their size."""
    if "text" in expected[0]:
        found = lines_of(command, "translate", "--model", bundle, *(row["text"] for row in expected), "--json")
    elif "image" in expected[0]:
        found = lines_of(
            command, "caption", "--model", bundle, *(FIXTURES / row["image"] for row in expected), "--json"
        )
        found = [{**row, "image": str(Path(row["image"]).relative_to(FIXTURES))} for row in found]
    else:
        found = captions_of_regions(bundle, FIXTURES / "attentive" / "features.safetensors")
    found = [{key: row[key] for key in expected[0]} for row in found]
    assert [{**row, "score": None} for row in found] == [{**row, "score": None} for row in expected]
    assert [row["score"] for row in found] == pytest.approx([row["score"] for row in expected], rel=1e-6)


def lines_of(command: Command, *arguments: str | Path) -> list[dict[str, Any]]:
    ran = command(*arguments)
    assert ran.status == 0, ran.err
    return [json.loads(line) for line in ran.out.splitlines()]


def captions_of_regions(bundle: Path, features: Path) -> list[dict[str, Any]]:
    """Captions of cached regions, for which there is no command."""
    captioner = Captioner.from_pretrained(bundle)
    read = load_file(features)
    regions = ImageFeatures(read["pooled"], read["grid"], read["mask"])
    with torch.inference_mode():
        found = captioner.search(captioner.decoder, captioner.standardise(regions), captioner.tokenizer.special)
    best = (found.tokens[:, 0].tolist(), found.scores[:, 0].tolist(), found.finished[:, 0].tolist())
    return [
        {"caption": captioner.tokenizer.decode(tokens), "score": score, "finished": finished}
        for tokens, score, finished in zip(*best, strict=True)
    ]


@every_kind
def test_an_old_bundle_gives_the_recorded_captions(command: Command, kind: str) -> None:
    expected, bundle = read(kind), FIXTURES / kind / "bundle"
    assert sha256(bundle / "model.safetensors") == expected["weights_sha256"]
    check_captions(command, bundle, expected["captions"])


def test_an_old_language_model_generates_the_recorded_sentences(command: Command) -> None:
    bundle = FIXTURES / "language_model" / "bundle"
    ran = command("generate", "--model", bundle, "--num-samples", "4", "--seed", "3", "--max-length", "20")
    assert ran.out.splitlines() == read("language_model")["sentences"]


@every_kind
def test_an_old_checkpoint_becomes_the_recorded_bundle(command: Command, kind: str, tmp_path: Path) -> None:
    expected, checkpoint = read(kind)["checkpoint"], FIXTURES / kind / "last.ckpt"
    ran = command("bundle", checkpoint, tmp_path / "bundle")
    assert ran.status == 0, ran.err
    assert sha256(tmp_path / "bundle" / "model.safetensors") == expected["weights_sha256"]
    check_captions(command, tmp_path / "bundle", expected["captions"])


@pytest.fixture(scope="module")
def data_set(command: Command, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The generated scenes from which the captioners learned."""
    root = tmp_path_factory.mktemp("data") / "scenes"
    sizes = ("--train", "48", "--val", "8", "--test", "8", "--size", "32", "--seed", "0")
    assert command("scenes", root, *sizes, "--workers", "1").status == 0
    return root


@every_kind
@pytest.mark.filterwarnings("ignore:The dirpath has changed")  # Lightning's words on a checkpoint of another folder
def test_a_run_resumed_from_an_old_checkpoint_learns_the_recorded_weights(
    command: Command, kind: str, data_set: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(on_cpu, "dropout", F.dropout)  # which drew the masks of the recorded runs
    folder, expected = FIXTURES / kind, read(kind)["resumed"]
    overrides = [f"data.root={folder / 'text' if kind == 'translator' else data_set}"]
    if (folder / "store").is_dir():
        overrides.append(f"data.features={folder / 'store'}")
    if kind == "cached":
        overrides.append(f"encoder.weights={encoder_weights(folder / 'bundle', tmp_path)}")
    run = tmp_path / "run"
    ran = command("train", *expected["settings"], *overrides, f"output={run}", f"checkpoint={folder / 'last.ckpt'}")
    assert ran.status == 0, ran.err
    metrics = json.loads((run / "metrics.json").read_text())
    assert metrics["metrics"] == pytest.approx(expected["metrics"], rel=1e-5)
    assert metrics["language_model"]["perplexity"] == pytest.approx(expected["perplexity"], rel=1e-5)
    weights = load_file(run / "bundle" / "model.safetensors")
    norms = {name: weight.double().norm().item() for name, weight in weights.items()}
    assert norms == pytest.approx(expected["norms"], rel=1e-5)


def encoder_weights(bundle: Path, folder: Path) -> Path:
    """Write the encoder's own weights to a file, as `encoder.weights` takes it."""
    weights = load_file(bundle / "model.safetensors")
    own = {name.removeprefix("encoder."): weights[name] for name in weights if name.startswith("encoder.")}
    save_file(own, folder / "encoder.safetensors")
    return folder / "encoder.safetensors"
