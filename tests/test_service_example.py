"""The service of the examples: captions of several images, batches of several requests, and refusals as JSON."""

from __future__ import annotations

import asyncio
import importlib.util
import io
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
import torch
from PIL import Image

from captioning import Captioner
from captioning.decoders import MRNN
from captioning.encoders import SmallCNN
from captioning.search import GreedySearch
from captioning.text import Tokenizer

pytest.importorskip("fastapi", reason="fastapi is not installed: pip install fastapi python-multipart httpx")
pytest.importorskip("python_multipart", reason="python-multipart is not installed: pip install python-multipart")
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")

FILE = Path(__file__).parents[1] / "examples" / "service" / "app.py"


@pytest.fixture(scope="module")
def service() -> Iterator[ModuleType]:
    spec = importlib.util.spec_from_file_location("service_example", FILE)
    module = importlib.util.module_from_spec(spec)
    sys.modules["service_example"] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    yield module
    del sys.modules["service_example"]


@pytest.fixture(scope="module")
def captioner(tokenizer: Tokenizer) -> Captioner:
    torch.manual_seed(3)
    encoder = SmallCNN((32, 32), channels=(8, 16))
    decoder = MRNN(feature_size=encoder.feature_size, vocab_size=len(tokenizer), hidden_size=11)
    return Captioner(encoder, decoder, tokenizer, search=GreedySearch(max_length=5)).eval()


@pytest.fixture
def slow(captioner: Captioner, monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """Lets the captioner wait for `free`, and counts its batches' images in `sizes`."""
    found, decode = SimpleNamespace(sizes=[], free=threading.Event()), captioner.decode

    def wait(inputs: torch.Tensor) -> Any:
        found.sizes.append(len(inputs))
        found.free.wait(10)
        return decode(inputs)

    monkeypatch.setattr(captioner, "decode", wait)
    return found


def client(service: ModuleType, captioner: Captioner, **limits: Any) -> Any:
    from fastapi.testclient import TestClient

    return TestClient(service.create(captioner, service.Limits(**limits)))


def photo(colour: str = "red") -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (40, 30), colour).save(file, "PNG")
    return file.getvalue()


def post(client: Any, *images: bytes) -> Any:
    return client.post("/captions", files=[("images", (f"{i}.png", image)) for i, image in enumerate(images)])


def test_several_images_get_their_captions_scores_and_words(service: ModuleType, captioner: Captioner) -> None:
    images = [photo("red"), photo("blue")]
    answer = post(client(service, captioner), *images)
    assert answer.status_code == 200
    for found, expected, name in zip(answer.json(), captioner.caption(images), ("0.png", "1.png"), strict=True):
        assert (found["name"], found["caption"]) == (name, expected.text)
        assert found["score"] == pytest.approx(expected.score, abs=1e-5)
        assert [word["text"] for word in found["words"]] == [word.text for word in expected.words]


@pytest.mark.parametrize(
    ("limits", "images", "status", "reason"),
    [
        ({}, [b"no image"], 422, "0.png"),
        ({}, [photo(), photo()[:60]], 422, "1.png"),
        ({}, [], 422, "no image"),
        ({"images": 1}, [photo(), photo()], 400, "Too many files"),
        ({"megabytes": 1e-4}, [photo()], 413, "larger than 0.0001 MB"),
        ({"waiting": 1}, [photo()] * 9, 503, "too many images are waiting"),
    ],
)
def test_what_cannot_be_captioned_is_refused_as_json(
    service: ModuleType, captioner: Captioner, slow: SimpleNamespace, limits: Any, images: Any, status: int, reason: str
) -> None:
    answer = post(client(service, captioner, **limits), *images)
    slow.free.set()
    assert answer.status_code == status
    assert reason in answer.json()["detail"]


def test_requests_that_wait_are_captioned_together(
    service: ModuleType, captioner: Captioner, slow: SimpleNamespace
) -> None:
    own = client(service, captioner)
    with ThreadPoolExecutor(5) as pool:
        answers = [pool.submit(post, own, photo()) for _ in range(5)]
        while sum(slow.sizes) + own.app.state.worker.waiting.qsize() < 5:
            time.sleep(0.01)
        slow.free.set()
        assert [answer.result().status_code for answer in answers] == [200] * 5
    assert sum(slow.sizes) == 5
    assert len(slow.sizes) <= 2


def test_a_request_that_takes_too_long_ends_and_its_images_leave_the_queue(
    service: ModuleType, captioner: Captioner, slow: SimpleNamespace
) -> None:
    own = client(service, captioner, seconds=0.2, batch_size=1)
    answer = post(own, photo(), photo())
    assert answer.status_code == 504
    assert "no caption after 0.2 seconds" in answer.json()["detail"]
    slow.free.set()
    assert post(own, photo()).status_code == 200
    assert slow.sizes == [1, 1]  # the second image of the first request was never captioned


def test_images_of_a_client_that_has_gone_leave_the_queue(service: ModuleType) -> None:
    class Gone:
        async def receive(self) -> dict[str, str]:
            return {"type": "http.disconnect"}

    waiting: Any = service.Future()
    with pytest.raises(service.HTTPException):
        asyncio.run(service.finished(Gone(), [waiting], 10.0))
    assert waiting.cancelled()
