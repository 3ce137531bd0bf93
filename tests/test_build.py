"""A bundle's configuration builds the package's own model parts, and can name nothing else."""

from __future__ import annotations

import sys

import pytest
import torch

from captioning.build import build
from captioning.decoders import Decoder, ShowAndTell
from captioning.errors import InputError
from captioning.recurrent import LSTM, ChoGRU
from captioning.search import BeamSearch, Forbid

DECODER = {
    "_target_": "captioning.decoders.ShowAndTell",
    "feature_size": 13,
    "vocab_size": 11,
    "embedding_size": 17,
    "hidden_size": 19,
    "recurrent": {"_target_": "captioning.recurrent.LSTM", "_partial_": True, "num_layers": 2},
}


def test_a_part_is_built_from_plain_values():
    search = build({"_target_": "captioning.search.BeamSearch", "beam_size": 7}, BeamSearch, source="x")
    assert search.beam_size == 7


def test_a_part_is_found_by_its_own_file_too():
    search = build({"_target_": "captioning.search.beam.BeamSearch"}, BeamSearch, source="x")
    assert type(search) is BeamSearch


def test_nested_and_partial_parts_are_built():
    decoder = build(DECODER, Decoder, source="x")
    assert type(decoder) is ShowAndTell
    assert type(decoder.recurrent) is LSTM
    assert (decoder.recurrent.input_size, decoder.recurrent.num_layers) == (17, 2)
    forbid = {"_target_": "captioning.search.Forbid", "ids": [3, 5]}
    search = build({"_target_": "captioning.search.BeamSearch", "processors": [forbid]}, BeamSearch, source="x")
    assert type(search.processors[0]) is Forbid
    assert search.processors[0].ids == [3, 5]


def test_a_stack_is_built_with_its_layer():
    layer = {"_target_": "captioning.recurrent.ChoGRU", "_partial_": True, "bias": True}
    stack = {"_target_": "captioning.recurrent.Stacked", "_partial_": True, "num_layers": 3, "layer": layer}
    decoder = build({**DECODER, "recurrent": stack}, ShowAndTell, source="x")
    assert [type(layer) for layer in decoder.recurrent.layers] == [ChoGRU] * 3
    assert [layer.b.shape for layer in decoder.recurrent.layers] == [(3 * 19,)] * 3


def test_the_configuration_is_left_as_it_was():
    before = repr(DECODER)
    build(DECODER, Decoder, source="x")
    assert repr(DECODER) == before


@pytest.mark.parametrize(
    "target",
    [
        "os.system",
        "builtins.eval",
        "torch.load",
        "torch.nn.Linear",
        "captioning.bundle.Path",
        "captioning.bundle.load_bundle",
        "captioning.captioner.Captioner",
        "captioning.text.Tokenizer",
        "captioning.data.CocoDataModule",
        # Other people's code, reached through our own modules.
        "captioning.encoders.features.torch",
        "captioning.encoders.features.torch.load",
        "captioning.encoders.features.Tensor",
        "captioning.decoders.mrnn.nn.Linear",
        "captioning.decoders.mrnn.Tensor",
        "captioning.decoders.decoder.Any",
        "captioning.decoders.decoder.TypeVar",
        "captioning.decoders.decoder.ImageFeatures.__init__",
        "captioning.recurrent.layer.PackedSequence",
        "captioning.search.beam.InputError",
        "captioning.search.beam.SpecialTokens",
        # Not classes, not there, not names.
        "captioning.decoders.mrnn.scaled_tanh",
        "captioning.search.processors.apply",
        "captioning.decoders.mrnn",
        "captioning.decoders.Unheard",
        "captioning.decoders.unheard.Unheard",
        "captioning.decoders..MRNN",
        "captioning.decoders.MRNN\n",
        "captioning_evil.decoders.MRNN",
        "xcaptioning.decoders.MRNN",
        "",
        None,
        7,
        ["captioning.decoders.MRNN"],
    ],
)
@pytest.mark.parametrize("place", ["top", "nested", "partial", "in a list"])
def test_no_other_code_can_be_named(target, place):
    evil = {"_target_": target}
    config = {
        "top": evil,
        "nested": {**DECODER, "recurrent": evil},
        "partial": {**DECODER, "recurrent": {**evil, "_partial_": True}},
        "in a list": {"_target_": "captioning.search.BeamSearch", "processors": [evil]},
    }[place]
    with pytest.raises(InputError, match=r"^config\.json: .* is no encoder, decoder, recurrent layer or search of"):
        build(config, object, source="config.json")


def test_a_refused_target_is_not_even_imported():
    assert "antigravity" not in sys.modules
    with pytest.raises(InputError):
        build({"_target_": "antigravity.Thing"}, object, source="config.json")
    assert "antigravity" not in sys.modules


def test_a_part_of_another_kind_is_refused():
    with pytest.raises(InputError, match=r"^config\.json: captioning\.search\.BeamSearch is not a Decoder$"):
        build({"_target_": "captioning.search.BeamSearch"}, Decoder, source="config.json")
    with pytest.raises(InputError, match=r"^config\.json: None is not a Decoder$"):
        build({"beam_size": 3}, Decoder, source="config.json")
    with pytest.raises(InputError, match="is not a Decoder"):
        build({**DECODER, "_partial_": True}, Decoder, source="config.json")


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"hiden_size": 19}, "unexpected keyword argument 'hiden_size'"),
        ({"recurrent": {**DECODER["recurrent"], "size": 3}}, "unexpected keyword argument 'size'"),
        ({"hidden_size": -1}, "hidden_size must be greater than zero"),
        ({"hidden_size": "wide"}, "str"),
    ],
)
def test_arguments_that_do_not_fit_are_named(change, complaint):
    message = r"^config\.json: captioning\.decoders\.ShowAndTell cannot be built from feature_size, vocab_size, .*: .*"
    with pytest.raises(InputError, match=message + complaint):
        build({**DECODER, **change}, Decoder, source="config.json")


def test_missing_arguments_are_named():
    message = "MRNN cannot be built from no arguments: .*missing.*'feature_size' and 'vocab_size'"
    with pytest.raises(InputError, match=message):
        build({"_target_": "captioning.decoders.MRNN"}, Decoder, source="config.json")


def test_a_setting_out_of_range_says_where_it_stands():
    config = {"_target_": "captioning.search.BeamSearch", "beam_size": 2, "num_best": 3}
    message = r"^config\.json: captioning\.search\.BeamSearch cannot be built from beam_size, num_best: num_best=3 must"
    with pytest.raises(InputError, match=message):
        build(config, BeamSearch, source="config.json")


@pytest.mark.parametrize("target", ["captioning.decoders.Decoder", "captioning.search.Processor"])
def test_interfaces_cannot_be_built(target):
    with pytest.raises(InputError, match=f"{target} cannot be built from no arguments"):
        build({"_target_": target}, object, source="config.json")


def test_what_is_built_is_as_if_built_by_hand():
    torch.manual_seed(0)
    built = build(DECODER, Decoder, source="x")
    torch.manual_seed(0)
    sizes = {"feature_size": 13, "vocab_size": 11, "embedding_size": 17, "hidden_size": 19}
    by_hand = ShowAndTell(**sizes, recurrent=lambda e, d: LSTM(e, d, num_layers=2))
    for a, b in zip(built.parameters(), by_hand.parameters(), strict=True):
        assert a.equal(b)
