"""Exported decoders, with functions of torch in the place of ONNX Runtime; and folders that hold no exported model."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from captioning.data.batch import CaptionBatch
from captioning.encoders.features import ImageFeatures
from captioning.errors import InputError
from captioning.model.named_tensors import features_of, state_of, state_tensors, tensors_with_rows
from captioning.model.onnx_model import OnnxDecoder, TensorSpec, load_onnx
from captioning.search import BeamSearch
from captioning.text import Tokenizer


@torch.no_grad()
def stand_in(decoder: Any, features: ImageFeatures) -> OnnxDecoder:
    """The exported decoder, as it would be if torch computed its files."""
    template = decoder.start(features)
    with_rows = tensors_with_rows(template)
    names = [name for name in ("pooled", "grid", "mask", "words") if getattr(features, name) is not None]

    @torch.no_grad()
    def start(given: Iterable[Tensor]) -> list[Tensor]:
        return list(state_tensors(decoder.start(features_of(dict(zip(names, given, strict=False))))).values())

    @torch.no_grad()
    def step(given: Iterable[Tensor]) -> list[Tensor]:
        tokens, *state = given
        logits, following = decoder.step(tokens, state_of(template, state))
        return [logits, *(x for name, x in state_tensors(following).items() if name in with_rows)]

    specs = [
        TensorSpec(name, ["rows" if name in with_rows else "images", *x.shape[1:]], "float32")
        for name, x in state_tensors(template).items()
    ]
    return OnnxDecoder(start, step, specs, vocab_size=decoder.vocab_size)  # type: ignore[arg-type]


@pytest.fixture(params=["ShowAndTell", "UpDown"])
def pair(request: pytest.FixtureRequest, features: ImageFeatures) -> tuple[Any, OnnxDecoder]:
    from conftest import build_loud, one_of_each_decoder  # type: ignore[import-not-found]

    decoder = build_loud(one_of_each_decoder()[request.param])
    return decoder, stand_in(decoder, features)


def test_a_search_of_an_exported_decoder_finds_the_same_captions(
    pair: tuple[Any, OnnxDecoder], features: ImageFeatures, tokenizer: Tokenizer
) -> None:
    decoder, exported = pair
    search = BeamSearch(beam_size=3, num_best=3, max_length=6)
    expected, found = (search(one, features, tokenizer.special) for one in (decoder, exported))
    assert found.tokens.tolist() == expected.tokens.tolist()
    assert_close(found.scores, expected.scores)


@torch.no_grad()
def test_teacher_forcing_of_an_exported_decoder_gives_the_same_logits(
    pair: tuple[Any, OnnxDecoder], batch: CaptionBatch
) -> None:
    decoder, exported = pair
    expected, found = (one(batch.features, batch.inputs(), batch.image_index) for one in (decoder, exported))
    assert_close(found, expected, rtol=1e-5, atol=1e-5)


def test_a_folder_without_an_exported_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"holds no config.json and step.onnx; expected a folder of `captioning exp"):
        load_onnx(tmp_path)


def test_a_folder_without_digests_is_refused(tmp_path: Path) -> None:
    for name in ("config.json", "step.onnx"):
        (tmp_path / name).write_text("{}")
    with pytest.raises(InputError, match="has no SHA256SUMS"):
        load_onnx(tmp_path)
