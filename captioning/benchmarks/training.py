"""Measure the speed of training steps against their matrix products alone, and of the Trainer against a bare loop.

The Trainer asks for one batch after another. What passes between two requests is one of its steps, with all that it
does beside. Before the next batch, the bare loop takes a step with a copy of the decoder, and the products are computed
once, so all three are measured alternately. Reading and collating batches is not measured. Dropout is 0.5, as in the
experiments. Each row is measured in a process of its own, so that it has its own peak of memory.
"""

from __future__ import annotations

import multiprocessing
import statistics
import tempfile
import time
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from copy import deepcopy
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import LearningRateMonitor, Timer
from pytorch_lightning.loggers import CSVLogger
from torch import nn

from captioning.benchmarks.floor import Product, fastest, recorded
from captioning.benchmarks.timing import seconds, spread
from captioning.data.batch import CaptionBatch, collate
from captioning.decoders import MRNN, Att2in, Bahdanau, Decoder, ShowAndTell, ShowAttendAndTell, UpDown
from captioning.decoders.show_attend_and_tell import Hard, Soft
from captioning.encoders.blind import Blind
from captioning.encoders.features import ImageFeatures
from captioning.memory import keep_freed_memory, peak
from captioning.model.captioner import Captioner
from captioning.objectives import CrossEntropy, DoublyStochastic, Reinforce
from captioning.recurrent import LSTM
from captioning.text import train_words
from captioning.training.captioning import CaptioningModule
from captioning.training.on_cpu import OnCPU
from captioning.training.saving import Checkpoints
from captioning.training.signals import Signals
from captioning.training.trainer import leave_new_memory_as_it_is, quieten_lightning

CLIP = 5.0
"""The largest norm of the gradients, as in conf/trainer/default.yaml."""
ADAM = partial(torch.optim.Adam, lr=1e-4, fused=True)


@dataclass(frozen=True, kw_only=True)
class Sizes:
    """The sizes of the decoders, and of the features that they read.

    Attributes:
        vocabulary: V; 9,487 is that of COCO, 2,541 that of Flickr8k.
        features: F; 1,280 is EfficientNet-Lite's.
        regions: R; 7 x 7 cells, which Bahdanau et al.'s decoder reads as the words of a source.
        width: E, D, A and M. Those of m-RNN's embedding and recurrence are a quarter and a half of it, as in its paper.
    """

    vocabulary: int
    features: int = 1280
    regions: int = 49
    width: int = 512


@dataclass(frozen=True, kw_only=True)
class Case:
    """What one row measures.

    Attributes:
        decoder: a name in `DECODERS`.
        dtype: "float32" or "bfloat16", of products; the weights are float32.
        images: the images of a batch.
        captions_per_image: the captions of each image. Batches of one caption have captions of similar lengths.
        sizes: of the decoder and its features.
        repeat: how often the steps and the products are measured.
    """

    decoder: str
    dtype: str
    images: int
    captions_per_image: int
    sizes: Sizes
    repeat: int


@dataclass(frozen=True)
class TrainingRow:
    """One measurement.

    Attributes:
        decoder: the decoder.
        dtype: of products.
        images: the images of a batch.
        captions: the captions of a batch.
        vocabulary: V.
        captions_per_second: by the median time of a step of the Trainer.
        floor_captions_per_second: by the median time of the products alone.
        ratio: the median over the repetitions of the products' time divided by that of a step; 1 is perfect.
        spread: the interquartile range of these ratios.
        bare_ratio: the same for the time of a step of the bare loop, divided by that of the Trainer's step.
        bare_spread: the interquartile range of these ratios.
        peak_memory_mb: by how much two steps of the Trainer raise the largest resident size of a fresh process that
            holds the decoder and the batch, in 10⁶ bytes; None where the system does not say.
    """

    decoder: str
    dtype: str
    images: int
    captions: int
    vocabulary: int
    captions_per_second: float
    floor_captions_per_second: float
    ratio: float
    spread: float
    bare_ratio: float
    bare_spread: float
    peak_memory_mb: float | None


def _widths(sizes: Sizes) -> dict[str, Any]:
    own = {"feature_size": sizes.features, "vocab_size": sizes.vocabulary, "dropout": 0.5}
    return {**own, "embedding_size": sizes.width, "hidden_size": sizes.width}


def _attentive(sizes: Sizes) -> dict[str, Any]:
    return {**_widths(sizes), "attention_size": sizes.width}


def _mrnn(sizes: Sizes) -> Decoder[Any]:
    narrow = {"embedding_size": sizes.width // 4, "hidden_size": sizes.width // 2, "multimodal_size": sizes.width}
    return MRNN(**{**_widths(sizes), **narrow}, bias=True)


DECODERS: Mapping[str, tuple[Callable[[Sizes], Decoder[Any]], Callable[[], Any]]] = {
    "show_and_tell": (lambda s: ShowAndTell(**_widths(s), recurrent=LSTM, head_bias=True), CrossEntropy),
    "mrnn": (_mrnn, CrossEntropy),
    "soft_attention": (lambda s: ShowAttendAndTell(**_attentive(s), phi=Soft()), DoublyStochastic),
    "hard_attention": (lambda s: ShowAttendAndTell(**_attentive(s), phi=Hard()), Reinforce),
    "att2in": (lambda s: Att2in(**_attentive(s), head_bias=True), CrossEntropy),
    "up_down": (lambda s: UpDown(**_attentive(s)), CrossEntropy),
    "bahdanau": (lambda s: Bahdanau(**_attentive(s), maxout_size=s.width // 2, bidirectional=False), CrossEntropy),
}
"""Builders of the decoders, and of the objectives of their experiments."""

COCO, FLICKR8K = Sizes(vocabulary=9487), Sizes(vocabulary=2541)
_IN_EXPERIMENT = {"mrnn": 80, "bahdanau": 80}


def _cases(decoder: str, dtype: str) -> tuple[Case, Case]:
    case = Case(decoder=decoder, dtype=dtype, images=64, captions_per_image=5, sizes=COCO, repeat=5)
    images = _IN_EXPERIMENT.get(decoder, 48)
    return case, replace(case, images=images, captions_per_image=1, sizes=FLICKR8K, repeat=15)


CASES = tuple(case for decoder in DECODERS for dtype in ("bfloat16", "float32") for case in _cases(decoder, dtype))
"""320 captions of COCO's vocabulary, and the batch of the experiment on Flickr8k, or on Multi30k."""


def bench_training(cases: Sequence[Case] | None = None) -> list[TrainingRow]:
    """Measure each case in a fresh process, with as many threads as this one has."""
    rows = []
    for case in CASES if cases is None else cases:
        with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as process:
            rows.append(process.submit(measure, case, torch.get_num_threads()).result())
    return rows


def measure(case: Case, threads: int) -> TrainingRow:
    """Measure one case in this process, with the allocation of memory that the commands have."""
    keep_freed_memory()
    torch.set_num_threads(threads)
    torch.manual_seed(0)
    build, build_objective = DECODERS[case.decoder]
    decoder, objective = build(case.sizes), build_objective()
    batches = Batches(case, batch_of(case), decoder, objective)
    with tempfile.TemporaryDirectory() as folder:
        trainer(case, Path(folder)).fit(module_of(decoder, deepcopy(objective)), batches)
    return batches.row()


def module_of(decoder: Decoder[Any], objective: Any) -> CaptioningModule:
    """Build the LightningModule that trains the decoder; features are given, so the encoder does nothing."""
    captioner = Captioner(Blind(), decoder, train_words(["a"], min_count=1))
    return CaptioningModule(captioner, objective=objective, optimizer=ADAM)


def trainer(case: Case, folder: Path) -> pl.Trainer:
    """Build a Trainer that does in each step what that of `captioning train` does, but for the progress bar."""
    quieten_lightning()
    leave_new_memory_as_it_is()
    for intended in (
        ".*You defined a `validation_step` but have no `val_dataloader`.*",
        ".*smaller than the logging.*",
    ):
        warnings.filterwarnings("ignore", message=intended)
    return pl.Trainer(
        accelerator="cpu",
        precision="bf16-mixed" if case.dtype == "bfloat16" else "32-true",
        max_epochs=1,
        limit_val_batches=0,
        gradient_clip_val=CLIP,
        log_every_n_steps=10,
        deterministic=True,
        use_distributed_sampler=False,
        enable_model_summary=False,
        enable_progress_bar=False,
        logger=CSVLogger(folder),
        callbacks=[Timer(), Signals(), LearningRateMonitor(), Checkpoints(folder, monitor="val/CIDEr")],
        default_root_dir=folder,
    )


@dataclass
class Batches:
    """The batches that a Trainer is given, as many as there are repetitions and three to warm up.

    In the third, after the first step of the bare loop, the Trainer takes the memory that it needs beside that loop.

    Attributes:
        case: what is measured.
        batch: the batch, which is given again and again.
        decoder: the decoder that the Trainer trains; the bare loop trains a copy.
        objective: the objective of the bare loop.
        times: the seconds of each step of the Trainer, of the bare loop, and of the products.
        memory: the largest resident size before and after two steps of the Trainer, in bytes.
    """

    case: Case
    batch: CaptionBatch
    decoder: Decoder[Any]
    objective: Any
    times: list[tuple[float, float, float]] = field(default_factory=list)
    memory: list[int | None] = field(default_factory=list)

    def __len__(self) -> int:
        return self.case.repeat + 3

    def __iter__(self) -> Iterator[CaptionBatch]:
        """Yield the batches, and measure."""
        copied = deepcopy(self.decoder)
        self.memory.append(peak())
        for _ in range(2):
            yield self.batch
        self.memory.append(peak())
        bare = bare_step(copied, self.objective, self.batch, self.case)
        products = training_products(copied, self.batch)
        floor = fastest(products, getattr(torch, self.case.dtype))
        bare(), floor()
        yield self.batch
        for _ in range(self.case.repeat):
            start = time.perf_counter()
            yield self.batch
            taken = time.perf_counter() - start
            self.times.append((taken, seconds(bare), seconds(floor)))

    def row(self) -> TrainingRow:
        """Return what was measured."""
        case, (before, after) = self.case, self.memory
        taken, bare, floor = zip(*self.times, strict=True)
        ratios = [b / a for a, b in zip(taken, floor, strict=True)]
        bare_ratios = [b / a for a, b in zip(taken, bare, strict=True)]
        captions = len(self.batch.lengths)
        return TrainingRow(
            decoder=case.decoder,
            dtype=case.dtype,
            images=case.images,
            captions=captions,
            vocabulary=case.sizes.vocabulary,
            captions_per_second=captions / statistics.median(taken),
            floor_captions_per_second=captions / statistics.median(floor),
            ratio=statistics.median(ratios),
            spread=spread(ratios),
            bare_ratio=statistics.median(bare_ratios),
            bare_spread=spread(bare_ratios),
            peak_memory_mb=None if before is None or after is None else (after - before) / 1e6,
        )


def bare_step(decoder: Decoder[Any], objective: Any, batch: CaptionBatch, case: Case) -> Callable[[], None]:
    """Build a step that does nothing but what training needs: loss, gradients, clipping and the update."""
    weights, features = list(decoder.parameters()), batch.features
    optimizer = ADAM(weights)

    def step() -> None:
        with torch.autocast("cpu", torch.bfloat16, enabled=case.dtype == "bfloat16"), OnCPU():
            loss = objective(decoder, features, batch)
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(weights, CLIP)
        optimizer.step()

    return step


def training_products(decoder: Decoder[Any], batch: CaptionBatch) -> list[Product]:
    """List the matrix products of a step: those of a forward pass, and of the gradients of both sides of each.

    The gradient of a weight is one product over all time steps. The features have no gradients.
    """
    forward = recorded(lambda: decoder(batch.features, batch.inputs(), batch.image_index))
    return [*forward, *gradients(forward)]


def gradients(products: Iterable[Product]) -> list[Product]:
    """List the products of the gradients of the left matrices, and then of the weights, of products y = xw.

    A batch of products is of the features, which have no gradients.
    """
    found, rows = list[Product](), dict[Product, int]()
    for p in products:
        found.append(replace(p, inputs=p.outputs, outputs=p.inputs))
        if not p.batch:
            weight = replace(p, rows=0)
            rows[weight] = rows.get(weight, 0) + p.rows
    return [*found, *(replace(w, rows=w.inputs, inputs=num) for w, num in rows.items())]


def batch_of(case: Case) -> CaptionBatch:
    """Make a batch of captions as long as Flickr8k's: 4 to 25 tokens, 11 on average; features are random numbers."""
    random, sizes = torch.Generator().manual_seed(0), case.sizes
    lengths = (11 + 4 * torch.randn(case.images, case.captions_per_image, generator=random)).round().clamp(4, 25)
    if case.captions_per_image == 1:  # those in the middle of a pool of 50 batches, sorted by length
        lengths = torch.full_like(lengths, 11)
    captions = [
        [[1, *torch.randint(4, sizes.vocabulary, (n - 1,), generator=random).tolist(), 2] for n in own]
        for own in lengths.int().tolist()
    ]
    grid = torch.randn(case.images, sizes.regions, sizes.features, generator=random)
    return collate(range(case.images), captions, pad=0, features=ImageFeatures(grid.mean(1), grid))
