"""The page of the examples: its pixels are the package's, and a browser finds the captions that Python finds."""

from __future__ import annotations

import json
import shutil
import subprocess
import threading
import time
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from browsing import in_browser, started
from PIL import Image
from torch import nn

from captioning import Captioner
from captioning.decoders import UpDown
from captioning.encoders import SmallCNN
from captioning.encoders.transform import INTERPOLATIONS, ImageTransform
from captioning.model.onnx_export import export_onnx
from captioning.search import BeamSearch
from captioning.text import Tokenizer

FOLDER = Path(__file__).parents[1] / "examples" / "browser"
RUNTIME = FOLDER / "ort" / "ort.wasm.min.mjs"
COMPUTE = """
const [path, image, ...transforms] = process.argv.slice(2);
const { preprocess } = await import(path);
const { width, height, data } = JSON.parse(image);
console.log(JSON.stringify(transforms.map((one) => Array.from(preprocess({ width, height, data }, JSON.parse(one))))));
"""
TRANSFORMS = [
    *(ImageTransform((11, 7), mode="squash", interpolation=name) for name in INTERPOLATIONS if name != "nearest"),
    ImageTransform((60, 80), mode="squash", interpolation="bicubic"),  # enlarged
    ImageTransform((16, 16), resize_size=19),
    ImageTransform((13, 16), resize_size=18, interpolation="bicubic"),  # halves are rounded
    ImageTransform((24, 16), resize_size=19),  # padded
]


@pytest.mark.skipif(shutil.which("node") is None, reason="node is not installed")
def test_pixels_are_those_of_the_package(tmp_path: Path) -> None:
    (tmp_path / "compute.mjs").write_text(COMPUTE)
    shutil.copy(FOLDER / "pixels.js", tmp_path / "pixels.mjs")
    image = np.random.default_rng(0).integers(0, 256, (29, 53, 4), dtype=np.uint8)
    given = {"width": 53, "height": 29, "data": image.flatten().tolist()}
    values = [json.dumps(one) for one in (given, *(transform.to_dict() for transform in TRANSFORMS))]
    command = ["node", str(tmp_path / "compute.mjs"), str(tmp_path / "pixels.mjs"), *values]
    ran = subprocess.run(command, capture_output=True, text=True, check=True)
    for transform, found in zip(TRANSFORMS, json.loads(ran.stdout), strict=True):
        expected = transform(Image.fromarray(image[:, :, :3])).flatten()
        step = 1 / 255 / min(transform.std)  # Pillow's weights are fixed-point numbers: some bytes differ by 1
        differences = (torch.tensor(found) - expected).abs()
        assert differences.max() < 1.01 * step, transform
        assert (differences > 1e-4).float().mean() < 0.02, transform


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@in_browser
@pytest.mark.skipif(not RUNTIME.exists(), reason="run examples/browser/prepare first")
@pytest.mark.skipif(find_spec("onnxscript") is None, reason="onnxscript is missing: .[export]")
def test_a_browser_finds_the_captions_that_python_finds(tokenizer: Tokenizer, tmp_path: Path) -> None:
    torch.manual_seed(0)
    encoder = SmallCNN((32, 48), channels=(8, 16), grid=True)
    sizes: dict[str, Any] = {"feature_size": encoder.feature_size, "vocab_size": len(tokenizer)}
    decoder = UpDown(hidden_size=17, embedding_size=13, attention_size=11, **sizes)
    for weight in decoder.parameters():
        nn.init.uniform_(weight, -0.7, 0.7)
    search = BeamSearch(beam_size=3, max_length=9, length_normalization=0.7)
    captioner = Captioner(encoder, decoder, tokenizer, search=search).eval()
    shutil.copytree(FOLDER, tmp_path / "site", ignore=shutil.ignore_patterns("model"))
    export_onnx(captioner, tmp_path / "site" / "model")
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(SimpleHTTPRequestHandler, directory=tmp_path / "site"))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    with server, started(tmp_path / "browser") as browser:

        def shown(before: str) -> str:
            end = time.monotonic() + 60
            script = "return document.querySelector('output').textContent"
            while (text := browser.js(script)) in (before, "…") and time.monotonic() < end:
                time.sleep(0.1)
            return text

        browser.call("/url", {"url": f"http://127.0.0.1:{server.server_port}/"})
        text = shown("The model is being loaded …")
        assert text == "The model is loaded."
        for number, colour in enumerate(("red", "white", "navy")):
            image = Image.linear_gradient("L").convert("RGB").resize((90, 61))
            image.paste(colour, (0, 0, 40 + 9 * number, 30))
            image.save(tmp_path / f"{number}.png")
            browser.upload("input", tmp_path / f"{number}.png")
            expected = captioner.caption(tmp_path / f"{number}.png")
            text = shown(text)
            assert text == f"{expected.text} ({expected.score:.2f})"
        (tmp_path / "no.png").write_text("no image")
        browser.upload("input", tmp_path / "no.png")
        assert shown(text).startswith("no.png: ")
        assert not [line for line in browser.log("browser") if "favicon" not in line]
        server.shutdown()
