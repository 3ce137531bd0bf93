"""A service that captions images: POST one or several to /captions, and get their captions as JSON.

    pip install fastapi uvicorn python-multipart
    MODEL=runs/best uvicorn --factory app:from_environment --app-dir examples/service
    curl -F images=@dog.jpg -F images=@cat.jpg http://127.0.0.1:8000/captions

Requests that wait at the same time are captioned in one batch, by one thread. A request that takes too long, or whose
client has gone, is taken out of the queue.
"""

from __future__ import annotations

import asyncio
import os
from concurrent.futures import Future
from dataclasses import dataclass
from queue import Full, Queue
from threading import Thread
from typing import Any

import torch
from fastapi import FastAPI, HTTPException, Request
from fastapi.responses import JSONResponse
from torch import Tensor

from captioning import Captioner
from captioning.data.pixels import pixels
from captioning.errors import InputError
from captioning.model.caption import Caption


@dataclass(frozen=True)
class Limits:
    """What a request may hold, how many images may wait, and how many are captioned together."""

    images: int = 16
    megabytes: float = 32
    seconds: float = 30
    waiting: int = 256
    batch_size: int = 16


class Worker:
    """One thread that captions the images of all requests, in batches of those that wait."""

    def __init__(self, captioner: Captioner, limits: Limits) -> None:
        self.captioner, self.batch_size = captioner, limits.batch_size
        self.waiting: Queue[tuple[Tensor, Future[Caption]]] = Queue(limits.waiting)
        Thread(target=self._run, daemon=True).start()

    def caption(self, image: Tensor) -> Future[Caption]:
        """Put an image into the queue. Raise queue.Full if too many are waiting."""
        future: Future[Caption] = Future()
        self.waiting.put_nowait((image, future))
        return future

    def _run(self) -> None:
        while True:
            taken = [self.waiting.get()]
            while len(taken) < self.batch_size and not self.waiting.empty():
                taken.append(self.waiting.get())
            batch = [(image, future) for image, future in taken if future.set_running_or_notify_cancel()]
            if not batch:
                continue
            try:
                captions = self.captioner.decode(torch.stack([image for image, _ in batch]))
                for (_, future), caption in zip(batch, captions, strict=True):
                    future.set_result(caption)
            except Exception as error:  # noqa: BLE001 - the thread serves all requests, and each reports it
                for _, future in batch:
                    future.set_exception(error)


def create(captioner: Captioner, limits: Limits | None = None) -> FastAPI:
    """Create the service."""
    limits = limits or Limits()
    app = FastAPI(title="captioning")
    app.state.worker = worker = Worker(captioner, limits)

    @app.exception_handler(InputError)
    async def refuse(_: Request, error: InputError) -> JSONResponse:
        return JSONResponse({"detail": str(error)}, 422)

    @app.post("/captions")
    async def captions(request: Request) -> list[dict[str, Any]]:
        if not (length := request.headers.get("content-length", "")).isdecimal():
            raise HTTPException(411, "the request has no Content-Length")
        if int(length) > limits.megabytes * 1e6:
            raise HTTPException(413, f"the request is larger than {limits.megabytes:g} MB")
        async with request.form(max_files=limits.images, max_fields=0) as form:
            given = [(file.filename or "the image", await file.read()) for file in form.getlist("images")]
        if not given:
            raise HTTPException(422, "the request has no image; send multipart/form-data with files named images")
        images = [await asyncio.to_thread(pixels, data, captioner.image_transform, name=name) for name, data in given]
        futures: list[Future[Caption]] = []
        try:
            for image in images:
                futures.append(worker.caption(image))  # noqa: PERF401 - those before a full queue are cancelled
        except Full:
            for future in futures:
                future.cancel()
            raise HTTPException(503, "too many images are waiting; try again later") from None
        found = await finished(request, futures, limits.seconds)
        return [
            {
                "name": name,
                "caption": own.text,
                "score": own.score,
                "words": [{"text": word.text, "log_prob": word.log_prob} for word in own.words],
            }
            for (name, _), own in zip(given, found, strict=True)
        ]

    return app


async def finished(request: Request, futures: list[Future[Caption]], seconds: float) -> list[Caption]:
    """Wait for captions. What has not begun is cancelled after a time, or when the client has gone."""

    async def results() -> list[Caption]:
        return [await asyncio.wrap_future(future) for future in futures]

    async def client_gone() -> None:
        while (await request.receive())["type"] != "http.disconnect":
            pass

    work, gone = asyncio.create_task(results()), asyncio.create_task(client_gone())
    try:
        done, _ = await asyncio.wait({work, gone}, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        if work not in done:
            raise HTTPException(504, f"there is no caption after {seconds:g} seconds")
        return work.result()
    finally:
        for waiting in (work, gone, *futures):
            waiting.cancel()


def from_environment() -> FastAPI:
    """Create the service for the model that the environment variable MODEL names."""
    return create(Captioner.from_pretrained(os.environ["MODEL"]).pack())
