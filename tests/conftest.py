"""Fixtures that every test may use, and the settings of Hypothesis for all tests.

The small ones have sizes that are different primes, so that no dimension passes for another: I = 3 images,
N = 5 captions, T = 7 steps, V = 11 tokens, F = 13 features, R = 2 places.
"""

from __future__ import annotations

import gc
import importlib
import inspect
import os
import pkgutil
import sys
import traceback
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from hypothesis import HealthCheck, settings
from lightning_utilities.core.rank_zero import rank_zero_only
from torch import nn

from captioning.commands import main
from captioning.data.batch import CaptionBatch, collate
from captioning.data.scenes import write_scenes
from captioning.decoders import (
    AgainstImages,
    AgainstLanguageModel,
    Decoder,
    Distractors,
    Ensemble,
    Hard,
    LanguageModel,
    Member,
    Soft,
    WithoutImage,
)
from captioning.decoders.ngrams import observed_ngrams
from captioning.decoders.word_table import WordTable
from captioning.encoders.features import ImageFeatures, Objects
from captioning.errors import InputError
from captioning.recurrent import GRU, Bidirectional, GravesStack, Stacked
from captioning.text import SpecialTokens, Tokenizer, train_words

torch.set_num_threads(1)  # on small tensors a second thread only waits
yaml.SafeLoader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # Hydra reads hundreds of files for each command
gc.freeze()  # the collector would search the imported libraries again and again

# The same examples in every run, and no limits on time: a slow or busy machine fails no test.
settings.register_profile("tests", deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("tests")

PRIMES = (17, 19, 23, 29, 31, 37, 41, 43)
"""Widths of a model under test; none is a size of the fixtures."""
DISTRACTORS = Distractors.of(
    ImageFeatures(torch.linspace(-1, 1, 26).view(2, 13), torch.linspace(-2, 1, 104).view(2, 4, 13))
)
"""Two other images, for decoders that contrast an image with them."""
WRAPPERS: dict[type, Callable[[Sequence[Callable[[], Decoder[Any]]]], Decoder[Any]]] = {
    Ensemble: lambda inner: Ensemble([build() for build in inner], weights=[1, 3]),
    Member: lambda inner: Member(inner[1](), feature_size=13, standardise=0.5),
    AgainstLanguageModel: lambda inner: AgainstLanguageModel(inner[1](), inner[0](), strength=0.3),
    WithoutImage: lambda _: WithoutImage(
        LanguageModel(recurrent=GRU, feature_size=7, vocab_size=11, embedding_size=17, hidden_size=19), zero_size=7
    ),
    AgainstImages: lambda inner: AgainstImages(inner[1](), DISTRACTORS, strength=0.3),
}
"""Builders of the decoders that consist of others, from builders of two that differ as much as possible."""
CONCEPTS = (8, -1, 5, 4, 9)
"""Token ids of the W = 5 words of a detector; the vocabulary lacks the second."""


def classes(package: str) -> dict[str, type]:
    """The public classes that are defined in the files of a package."""
    files = pkgutil.iter_modules(importlib.import_module(package).__path__, f"{package}.")
    return {
        name: cls
        for file in files
        for name, cls in inspect.getmembers(importlib.import_module(file.name), inspect.isclass)
        if cls.__module__ == file.name and not name.startswith("_")
    }


def every_recurrent() -> dict[str, Callable[[int, int], Any]]:
    """Builders of each cell in `captioning.recurrent`, (input_size, hidden_size) -> layer, and of stacks of two.

    A cell's file needs no entry anywhere: a cell that has no `num_layers` is stacked by `Stacked`, and flags
    with a default of True or False are tried both ways.
    """
    builders: dict[str, Callable[[int, int], Any]] = {}
    for name, cls in classes("captioning.recurrent").items():
        if not issubclass(cls, nn.Module) or cls in (Stacked, GravesStack, Bidirectional):
            continue
        arguments = inspect.signature(cls).parameters
        builders[name] = cls
        own_stack = "num_layers" in arguments
        builders[f"{name}-2"] = partial(cls, num_layers=2) if own_stack else partial(Stacked, layer=cls, num_layers=2)
        if flipped := {key: not a.default for key, a in arguments.items() if isinstance(a.default, bool)}:
            builders[f"{name}-flipped"] = partial(cls, **flipped)
    cell = builders["PeepholeLSTM"]
    # A prime width can only be shared by as many layers as it has units.
    builders["GravesStack"] = lambda e, d: GravesStack(e, d, layer=cell, num_layers=d)
    return builders


def parts(argument: str) -> dict[str, Any]:
    """Values of a decoder's argument `phi` or `recurrent`: two of each that differ as much as possible."""
    if argument == "phi":
        return {"Soft": Soft(), "Hard": Hard(expected_share=1.0)}  # nothing is drawn: rules hold exactly
    layers = every_recurrent()
    return {name: layers[name] for name in ("GRU", "MaxoutLSTM-2")}


def every_sequence_layer() -> dict[str, Callable[[int, int], Any]]:
    """Those of `every_recurrent`, and some that read in both directions and cannot step; D even for these."""
    cells = every_recurrent()
    one = partial(Bidirectional, layer=cells["PeepholeLSTM"])
    summed = partial(Bidirectional, layer=cells["GRU-2"], combine="sum")
    return {**cells, "both": one, "both-sum-2": summed, "both-2": partial(Stacked, layer=one, num_layers=2)}


def every_decoder() -> dict[str, Callable[[], Decoder[Any]]]:
    """Builders of each class in `captioning.decoders`, with each of its `parts`, and with its flags both ways.

    A decoder's file needs no entry anywhere: its widths are the arguments that end in `_size`, its flags those with a
    default of True or False. Parts and flags are paired, not multiplied. `WordTable`, the fast
    form of others, is left out.
    """
    builders: dict[str, Callable[[], Decoder[Any]]] = {}
    for name, cls in classes("captioning.decoders").items():
        if not issubclass(cls, Decoder) or inspect.isabstract(cls) or cls in WRAPPERS or cls is WordTable:
            continue
        arguments = inspect.signature(cls).parameters
        widths = [key for key in arguments if key.endswith("_size")]
        sizes: dict[str, Any] = {**dict(zip(widths, PRIMES, strict=False)), "feature_size": 13, "vocab_size": 11}
        if "categories" in arguments:
            sizes["categories"] = ["cat", "dog", "sofa"]
        if "concepts" in arguments:
            sizes["concepts"] = CONCEPTS
        if "num_words" in arguments:
            sizes["num_words"] = len(CONCEPTS)
        flipped = {key: not a.default for key, a in arguments.items() if isinstance(a.default, bool)}
        argument = next((key for key in ("recurrent", "phi") if key in arguments), None)
        choices = [(part, {argument: choice}) for part, choice in parts(argument).items()] if argument else [("", {})]
        settings = [("", {}), ("flipped", flipped)] if flipped else [("", {})]
        for i in range(max(len(choices), len(settings))):
            (part, chosen), (label, flags) = choices[i % len(choices)], settings[i % len(settings)]
            builders["-".join(filter(None, (name, part, label)))] = partial(primes, cls, sizes, **chosen, **flags)
    inner = [next(builders[key] for key in builders if key.startswith(name)) for name in ("ShowAndTell", "UpDown")]
    return builders | {cls.__name__: partial(wrap, inner) for cls, wrap in WRAPPERS.items()}


def primes(cls: Callable[..., Decoder[Any]], sizes: dict[str, int], **others: Any) -> Decoder[Any]:
    """A decoder whose widths are different primes, or all the same where it refuses them (a tied softmax).

    A decoder of observed n-grams has observed most of those that there are of 11 tokens.
    """
    if "num_ngrams" in inspect.signature(cls).parameters:
        random = torch.Generator().manual_seed(0)
        captions = torch.randint(11, (1000, 9), generator=random).tolist()
        ngrams = observed_ngrams(captions, vocab_size=11, order=4)
        decoder: Any = cls(**sizes, **others, num_ngrams=[len(codes) for codes in ngrams])
        decoder.observe(ngrams)
        return decoder  # type: ignore[no-any-return]
    try:
        return cls(**sizes, **others)
    except InputError:
        widths = {key for key in sizes if key.endswith("_size")} - {"feature_size", "vocab_size"}
        return cls(**{**sizes, **dict.fromkeys(widths, 17)}, **others)


def one_of_each_decoder() -> dict[str, Callable[[], Decoder[Any]]]:
    """The first builder of each class in `every_decoder`."""
    builders: dict[str, Callable[[], Decoder[Any]]] = {}
    for name, builder in every_decoder().items():
        builders.setdefault(name.split("-")[0], builder)
    return builders


def build_loud(builder: Callable[[], nn.Module]) -> nn.Module:
    """A model in eval mode in which every weight is large enough to matter; the same at each call."""
    torch.manual_seed(0)
    model = builder().eval()
    for weight in model.parameters():
        nn.init.uniform_(weight, -0.7, 0.7)
    return model


@pytest.fixture(params=every_sequence_layer().values(), ids=every_sequence_layer())
def sequence_layer(request: pytest.FixtureRequest) -> Any:
    """Each layer of the package in turn, those in both directions too, E = 17, D = 38 = 2 · 19."""
    return build_loud(lambda: request.param(17, 38))


@pytest.fixture(params=every_recurrent().values(), ids=every_recurrent())
def recurrent(request: pytest.FixtureRequest) -> Any:
    """Each recurrent layer of the package in turn, E = 17, D = 19."""
    return build_loud(lambda: request.param(17, 19))


@pytest.fixture(params=every_decoder().values(), ids=every_decoder())
def decoder(request: pytest.FixtureRequest) -> Any:
    """Each builder of `every_decoder` in turn."""
    return build_loud(request.param)


@pytest.fixture(params=one_of_each_decoder().values(), ids=one_of_each_decoder())
def one_decoder(request: pytest.FixtureRequest) -> Any:
    """One decoder of each class in turn."""
    return build_loud(request.param)


@pytest.fixture(params=["ShowAndTell", "UpDown", "Obj2Text", "Bahdanau"])
def a_decoder(request: pytest.FixtureRequest) -> Any:
    """Decoders whose states differ in kind: of one layer, with attention, of objects, and from a sentence."""
    return build_loud(one_of_each_decoder()[request.param])


TRAINED = {name: builder for name, builder in one_of_each_decoder().items() if name != "Ensemble"}
"""The decoders that are trained; an ensemble's members are trained one by one."""


@pytest.fixture(params=TRAINED.values(), ids=TRAINED)
def decoder_to_train(request: pytest.FixtureRequest) -> Any:
    """One decoder of each class in `TRAINED` in turn, with its own initial weights."""
    torch.manual_seed(0)
    return request.param()


OF_ANY_SIZE = {
    name
    for name, b in TRAINED.items()
    if b.func is primes and "num_ngrams" not in inspect.signature(b.args[0]).parameters
}
"""The decoders that another vocabulary can be given: they do not consist of others, and keep no n-grams."""


@pytest.fixture(params=sorted(OF_ANY_SIZE))
def sized_decoder(request: pytest.FixtureRequest) -> Callable[[int], Any]:
    """Builds one decoder of each class in turn, with a vocabulary of the given size and its own initial weights."""
    builder: Any = TRAINED[request.param]
    cls, sizes = builder.args
    return lambda vocab_size: primes(cls, {**sizes, "vocab_size": vocab_size}, **builder.keywords)


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of real data and weights; tests that use it are marked `shared`."""
    folder = Path(os.environ.get("CAPTIONING_SHARED", Path(__file__).resolve().parents[2] / "shared"))
    if not (folder / "data").is_dir():
        pytest.skip(f"no real data: {folder}/data does not exist (set CAPTIONING_SHARED to its folder)")
    return folder


@pytest.fixture(scope="session")
def scenes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data set in COCO's layout: 24, 8 and 8 images of 32 pixels, five captions each. Not to be changed."""
    root = tmp_path_factory.mktemp("data") / "scenes"
    write_scenes(root, num_train=24, num_val=8, num_test=8, size=32)
    return root


@pytest.fixture(scope="session")
def tokenizer() -> Tokenizer:
    """Seven words and the four special tokens."""
    return train_words(["a dog runs on a field", "a cat sleeps"], min_count=1)


@pytest.fixture(scope="session")
def special(tokenizer: Tokenizer) -> SpecialTokens:
    """The ids of the four special tokens."""
    return tokenizer.special


@pytest.fixture
def features(request: pytest.FixtureRequest) -> ImageFeatures:
    """Features of I = 3 images; the last one has one real place, the others two; they show 2, 1 and no objects.

    Of the words in `CONCEPTS` they show 2, 1 and none.

    Their final state is one of both directions, each as wide as the greater half of F. Where the decoder under test has
    a recurrent layer, it is one of that layer's.
    """
    random = torch.Generator().manual_seed(1)
    features = ImageFeatures(
        pooled=torch.randn(3, 13, generator=random),
        grid=torch.randn(3, 2, 13, generator=random),
        mask=torch.tensor([[True, True], [True, True], [True, False]]),
        objects=Objects(
            categories=torch.tensor([[2, 0], [1, 0], [0, 0]]),
            boxes=torch.rand(3, 2, 4, generator=random),
            mask=torch.tensor([[True, True], [True, False], [False, False]]),
        ),
        final=(torch.randn(3, 2, 7, generator=random),),
        words=torch.tensor([[0.9, 0.8, 0.2, 0.6, 0.3], [0.1, 0.3, 0.7, 0.0, 0.1], [0.2, 0.9, 0.1, 0.4, 0.0]]),
    )
    for name in {"decoder", "one_decoder", "a_decoder", "decoder_to_train"} & set(request.fixturenames):
        if layer := getattr(request.getfixturevalue(name), "recurrent", None):
            shapes = [s.transpose(0, 1).shape for s in layer.initial(3, like=features.pooled)]
            features = replace(features, final=tuple(torch.randn(shape, generator=random) for shape in shapes))
    return features


@pytest.fixture
def batch(features: ImageFeatures) -> CaptionBatch:
    """N = 5 captions of 7, 4, 3, 2 and 1 tokens; the longest one was clipped, the shortest one is empty."""
    captions = [[[1, 4, 8, 2], [1, 5, 2]], [[1, 2]], [[1, 4, 9, 10, 4, 5, 6, 7], [1, 6, 3, 7, 2]]]
    return collate(("x", "y", "z"), captions, pad=0, features=features)


@pytest.fixture(scope="session")
def forked() -> Callable[..., int]:
    """Starts `captioning` in a fork of this process, which has imported the libraries: forked(arguments, log).

    It returns the process's id. A rank makes it one of two processes that train together, at a port.
    """
    for name in ("captioning.training.run", "captioning.commands._hydra", "captioning.metrics.coco"):
        importlib.import_module(name)

    def start(arguments: Sequence[str], said: Path, *, rank: int | None = None, port: int = 0) -> int:
        if pid := os.fork():
            return pid
        status = 1
        try:
            os.setsid()
            out = os.open(said, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
            os.dup2(out, 1)
            os.dup2(out, 2)
            sys.stdout, sys.stderr = (open(number, "w", buffering=1, closefd=False) for number in (1, 2))  # noqa: SIM115
            if rank is not None:  # as an external launcher would start them
                ranks = {"LOCAL_RANK": rank, "NODE_RANK": 0, "WORLD_SIZE": 2, "MASTER_PORT": port}
                os.environ.update({"MASTER_ADDR": "127.0.0.1", **{name: str(value) for name, value in ranks.items()}})
                rank_zero_only.rank = rank  # type: ignore[attr-defined]
            try:
                status = main(list(arguments))
            except SystemExit as stop:
                status = int(stop.code or 0)
        except BaseException:  # noqa: BLE001 - nothing may return into pytest
            traceback.print_exc()
        finally:
            os._exit(status)

    return start
