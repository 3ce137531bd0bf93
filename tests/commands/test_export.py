"""captioning export: the exported folder captions as the bundle does, and what is refused."""

from __future__ import annotations

from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from captioning import Captioner
from captioning.model.onnx_model import load_onnx

Command = Callable[..., Any]
INSTALLED = all(find_spec(name) for name in ("onnx", "onnxruntime", "onnxscript"))


@pytest.mark.slow
@pytest.mark.skipif(not INSTALLED, reason="onnx, onnxruntime or onnxscript is missing: .[export]")
@pytest.mark.filterwarnings("ignore")
def test_an_exported_bundle_gives_the_same_captions(
    command: Command, bundle: Path, scenes: Path, tmp_path: Path
) -> None:
    ran = command("export", bundle, tmp_path / "exported", "--beam-size", "2")
    assert (ran.status, ran.out) == (0, f"{tmp_path / 'exported'}\n")
    images = sorted((scenes / "test2017").glob("*.jpg"))
    exported, model = load_onnx(tmp_path / "exported"), Captioner.from_pretrained(bundle)
    for found, expected in zip(exported.caption(images), model.caption(images, beam_size=2), strict=True):
        assert found.text == expected.text
        assert found.score == pytest.approx(expected.score, abs=1e-4)


def test_a_folder_that_is_not_empty_is_refused(command: Command, bundle: Path) -> None:
    assert f"{bundle} exists already" in command("export", bundle, bundle).message
