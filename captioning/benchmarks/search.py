"""Measure the speed of searches against the decoder's matrix products alone.

The weights are random, and `<eos>` is never probable, so each search takes all its steps. Searches are run as a
captioner runs them, with packed weights. The products are recorded in a search without, where they are torch's own.
Each row is measured in a process of its own, so that it has its own peak of memory.
"""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Any, cast

import torch
from torch import nn

from captioning.benchmarks.floor import fastest, merged, recorded
from captioning.benchmarks.timing import compare
from captioning.decoders import MRNN, Decoder, ShowAndTell, ShowAttendAndTell
from captioning.decoders.packed import packed
from captioning.decoders.show_attend_and_tell import Soft
from captioning.encoders.features import ImageFeatures
from captioning.memory import keep_freed_memory, peak
from captioning.recurrent import LSTM
from captioning.search import BeamSearch, GreedySearch, Sampling
from captioning.search.hypotheses import Search
from captioning.text.tokenizer import SpecialTokens

SPECIAL = SpecialTokens(pad=0, bos=1, eos=2, unk=3)
UNLIKELY = -1e4
"""The bias of `<eos>`."""


@dataclass(frozen=True, kw_only=True)
class Sizes:
    """The sizes of the decoders, and of the features that they read.

    Attributes:
        vocabulary: V; 9,487 is that of COCO.
        width: E, D, A and M.
        features: F; 1,280 is EfficientNet-Lite's.
        regions: R; 7 x 7 cells.
        steps: the number of steps of a search.
    """

    vocabulary: int = 9487
    width: int = 512
    features: int = 1280
    regions: int = 49
    steps: int = 20


@dataclass(frozen=True, kw_only=True)
class Case:
    """What one row measures.

    Attributes:
        decoder: a name in `DECODERS`.
        search: a name in `SEARCHES`.
        beam_size: the number of beams, or of samples, of each image.
        images: the number of images that are searched together.
        dtype: "float32" or "bfloat16", of weights and products.
        repeat: how often the search and its products are measured.
    """

    decoder: str
    search: str
    beam_size: int
    images: int
    dtype: str = "float32"
    repeat: int = 7


CASES = (
    Case(decoder="show_and_tell", search="beam", beam_size=5, images=64),
    Case(decoder="show_and_tell", search="beam", beam_size=5, images=256, repeat=5),
    Case(decoder="show_and_tell", search="beam", beam_size=5, images=1, repeat=29),
    Case(decoder="mrnn", search="beam", beam_size=5, images=64),
    Case(decoder="soft_attention", search="beam", beam_size=5, images=64),
    Case(decoder="show_and_tell", search="sampling", beam_size=5, images=64, repeat=5),
    Case(decoder="show_and_tell", search="top-p", beam_size=5, images=64, repeat=5),
    Case(decoder="show_and_tell", search="greedy", beam_size=1, images=64, repeat=15),
    Case(decoder="show_and_tell", search="beam", beam_size=5, images=64, dtype="bfloat16"),
    Case(decoder="show_and_tell", search="beam", beam_size=5, images=1, dtype="bfloat16", repeat=29),
)


@dataclass(frozen=True)
class SearchRow:
    """One measurement.

    Attributes:
        decoder: the decoder.
        search: the search.
        beam_size: the number of beams, or of samples, of each image.
        images: the number of images that are searched together.
        dtype: of weights and products.
        vocabulary: V.
        images_per_second: by the median time of a search.
        floor_images_per_second: by the median time of the products alone.
        ratio: the median over the repetitions of the products' time divided by the search's; 1 is perfect.
        spread: the interquartile range of these ratios.
        peak_memory_mb: by how much the first search raises the largest resident size of a fresh process that holds the
            model and the features, in 10⁶ bytes; None where the system does not say.
    """

    decoder: str
    search: str
    beam_size: int
    images: int
    dtype: str
    vocabulary: int
    images_per_second: float
    floor_images_per_second: float
    ratio: float
    spread: float
    peak_memory_mb: float | None


def _show_and_tell(sizes: Sizes) -> Decoder[Any]:
    return ShowAndTell(
        feature_size=sizes.features,
        vocab_size=sizes.vocabulary,
        recurrent=LSTM,
        embedding_size=sizes.width,
        hidden_size=sizes.width,
        head_bias=True,
    )


def _mrnn(sizes: Sizes) -> Decoder[Any]:
    return MRNN(
        feature_size=sizes.features,
        vocab_size=sizes.vocabulary,
        embedding_size=sizes.width,
        hidden_size=sizes.width,
        multimodal_size=sizes.width,
        bias=True,
    )


def _soft_attention(sizes: Sizes) -> Decoder[Any]:
    return ShowAttendAndTell(
        feature_size=sizes.features,
        vocab_size=sizes.vocabulary,
        phi=Soft(),
        embedding_size=sizes.width,
        hidden_size=sizes.width,
        attention_size=sizes.width,
    )


DECODERS: Mapping[str, Callable[[Sizes], Decoder[Any]]] = {
    "show_and_tell": _show_and_tell,
    "mrnn": _mrnn,
    "soft_attention": _soft_attention,
}


def _sampling(beam_size: int, max_length: int, top_p: float | None = None) -> Search:
    return Sampling(num_samples=beam_size, max_length=max_length, top_p=top_p)


SEARCHES: Mapping[str, Callable[[int, int], Search]] = {
    "beam": lambda beam_size, max_length: BeamSearch(beam_size=beam_size, max_length=max_length),
    "greedy": lambda _, max_length: GreedySearch(max_length=max_length),
    "sampling": _sampling,
    "top-p": partial(_sampling, top_p=0.9),
}


def bench_search(cases: Sequence[Case] | None = None, sizes: Sizes | None = None) -> list[SearchRow]:
    """Measure each case in a fresh process, with as many threads as this one has."""
    rows = []
    for case in CASES if cases is None else cases:
        with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as process:
            rows.append(process.submit(measure, case, sizes or Sizes(), torch.get_num_threads()).result())
    return rows


def measure(case: Case, sizes: Sizes, threads: int) -> SearchRow:
    """Measure one case in this process, with the allocation of memory that the commands have."""
    keep_freed_memory()
    torch.set_num_threads(threads)
    torch.manual_seed(0)
    dtype: torch.dtype = getattr(torch, case.dtype)
    decoder, features = build(case, sizes, dtype)
    search = SEARCHES[case.search](case.beam_size, sizes.steps)
    searched = packed(decoder) or decoder

    @torch.inference_mode()
    def run() -> None:
        search(searched, features, SPECIAL)

    def unpacked() -> None:
        search(decoder, features, SPECIAL)

    before = peak()
    run()
    after = peak()
    timed = compare(run, fastest(merged(recorded(unpacked)), dtype), repeat=case.repeat)
    return SearchRow(
        decoder=case.decoder,
        search=case.search,
        beam_size=case.beam_size,
        images=case.images,
        dtype=case.dtype,
        vocabulary=sizes.vocabulary,
        images_per_second=case.images / timed.seconds,
        floor_images_per_second=case.images / timed.other_seconds,
        ratio=timed.ratio,
        spread=timed.spread,
        peak_memory_mb=None if before is None or after is None else (after - before) / 1e6,
    )


def build(case: Case, sizes: Sizes, dtype: torch.dtype) -> tuple[Decoder[Any], ImageFeatures]:
    """Build a case's decoder, which never ends a caption, and features of random numbers."""
    decoder = DECODERS[case.decoder](sizes).eval()
    with torch.no_grad():
        for weight in decoder.parameters():
            nn.init.normal_(weight, std=weight.shape[-1] ** -0.5)
        cast(nn.Linear, decoder.head).bias[SPECIAL.eos] = UNLIKELY
    grid = torch.randn(case.images, sizes.regions, sizes.features)
    return decoder.to(dtype), ImageFeatures(grid.mean(1), grid).cast(dtype)
