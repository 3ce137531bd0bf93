"""A bundle's configuration builds the package's own model parts, and can name nothing else."""

from __future__ import annotations

import sys

import pytest
import torch

from captioning.decoders import Decoder, ShowAndTell
from captioning.encoders import Encoder, SmallCNN
from captioning.encoders.detectors import NoisyOr
from captioning.errors import InputError
from captioning.model.safe_build import build, check, packages
from captioning.recurrent import LSTM, ChoGRU
from captioning.search import BeamSearch, Forbid, Gnmt
from captioning.search.hypotheses import Search

DECODER = {
    "_target_": "captioning.decoders.ShowAndTell",
    "feature_size": 13,
    "vocab_size": 11,
    "embedding_size": 17,
    "hidden_size": 19,
    "recurrent": {"_target_": "captioning.recurrent.LSTM", "_partial_": True, "num_layers": 2},
}


WORDS = {
    "_target_": "captioning.encoders.DetectedWords",
    "encoder": {"_target_": "captioning.encoders.SmallCNN", "size": [8, 8], "channels": [8, 8], "grid": True},
    "word_detector": {"_target_": "captioning.encoders.detectors.NoisyOr", "feature_size": 6, "vocab_size": 3},
    "words": ["<pad>", "a", "${oc.env:HOME}"],
}


def test_an_encoder_is_built_with_its_word_detector():
    encoder = build(WORDS, Encoder, source="x")
    assert type(encoder.encoder) is SmallCNN
    assert type(encoder.detector) is NoisyOr
    assert encoder.words[2] == "${oc.env:HOME}"  # text stays text


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
    assert search.processors[0].ids == (3, 5)


def test_a_search_is_built_with_its_length_rule():
    rule = {"_target_": "captioning.search.Gnmt", "alpha": 0.6}
    search = build({**BEAM, "length_normalization": rule}, BeamSearch, source="x")
    assert search.length_normalization == Gnmt(0.6)
    for wrong, complaint in (
        ({"_target_": "captioning.search.Forbid", "ids": []}, "expected a number, or a rule such as"),
        ({"_target_": "captioning.search.Gnmt", "alpha": 11.0}, r"alpha=11\.0 must be at most 10"),
        ({"_target_": "captioning.search.Gnmt", "alpha": "1"}, "Expected `float`"),
        ({"_target_": "captioning.search.LengthRule"}, "abstract"),
        ({"alpha": 0.6}, "expected a part"),
        ("0.6", "Expected `float`"),
    ):
        with pytest.raises(InputError, match=complaint):
            build({**BEAM, "length_normalization": wrong}, BeamSearch, source="x")


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
        "captioning.model.bundle.Path",
        "captioning.model.bundle.read_bundle",
        "captioning.model.captioner.Captioner",
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
def test_no_other_code_can_be_named(target):
    evil = {"_target_": target}
    for config, base in (
        (evil, Decoder),
        ({**DECODER, "recurrent": evil}, Decoder),
        ({**DECODER, "recurrent": {**evil, "_partial_": True}}, Decoder),
        ({"_target_": "captioning.search.BeamSearch", "processors": [evil]}, Search),
    ):
        with pytest.raises(InputError, match=r"^config\.json: .* is no class that may stand here .*name other code"):
            build(config, base, source="config.json")


def test_a_refused_target_is_not_even_imported():
    assert "antigravity" not in sys.modules
    with pytest.raises(InputError):
        build({"_target_": "antigravity.Thing"}, Decoder, source="config.json")
    assert "antigravity" not in sys.modules


RESNET = {"_target_": "captioning.encoders.TorchvisionEncoder", "model": "resnet18", "weights": None}
BEAM = {"_target_": "captioning.search.BeamSearch"}
LAYER = {"_target_": "captioning.recurrent.LSTM", "_partial_": True}


@pytest.mark.parametrize(
    ("config", "base", "complaint"),
    [
        (BEAM, Decoder, r"'captioning\.search\.BeamSearch' is no class that may stand here \(captioning\.decoders\)"),
        (LAYER, Decoder, r"\(captioning\.decoders\)"),
        (RESNET, Search, r"\(captioning\.search\)"),
        ({"beam_size": 3}, Decoder, "None is no class"),
        ({**DECODER, "_partial_": True}, Decoder, "is no Decoder with _partial_$"),
        ({**DECODER, "recurrent": RESNET}, Decoder, r"\(captioning\.recurrent or captioning\.decoders\)"),
        ({**DECODER, "recurrent": BEAM}, Decoder, r"\(captioning\.recurrent or captioning\.decoders\)"),
        ({**BEAM, "processors": [RESNET]}, Search, r"\(captioning\.search\)"),
        ({**BEAM, "processors": {"x": [DECODER]}}, Search, r"\(captioning\.search\)"),
        ({**BEAM, "processors": [BEAM]}, Search, "is no Processor or LengthRule$"),
        (
            {**BEAM, "processors": [{"_target_": "captioning.search.Hypotheses"}]},
            Search,
            "is no Processor or LengthRule$",
        ),
        ({"_target_": "captioning.search.Forbid", "ids": [3]}, Search, "is no Search$"),
        ({"_target_": "captioning.search.Hypotheses", "tokens": 1}, Search, "is no Search$"),
        ({"_target_": "captioning.encoders.ImageTransform", "size": [3, 3]}, Encoder, "is no Encoder$"),
        ({**RESNET, "grid": BEAM}, Encoder, r"\(captioning\.recurrent or captioning\.encoders\)"),
        ({**WORDS, "word_detector": {"_target_": "captioning.encoders.ImageTransform"}}, Encoder, "is no Module$"),
        ({**WORDS, "encoder": {**RESNET, "weights": "file.pth"}}, Encoder, "weights must be null, found 'file.pth'"),
        ({"_target_": "captioning.search.beam.Decoder"}, Search, r"\(captioning\.search\)"),
    ],
)
def test_each_package_has_its_own_place(config, base, complaint):
    with pytest.raises(InputError, match=rf"^config\.json: .*{complaint}"):
        build(config, base, source="config.json")


def test_a_decoder_may_hold_parts_of_decoders(monkeypatch):
    class Part:
        __module__, __qualname__ = "captioning.decoders.mrnn", "Part"

        def __call__(self, input_size, hidden_size):
            return LSTM(input_size, hidden_size)

    monkeypatch.setattr("captioning.decoders.mrnn.Part", Part, raising=False)
    decoder = build({**DECODER, "recurrent": {"_target_": "captioning.decoders.mrnn.Part"}}, Decoder, source="x")
    assert type(decoder.recurrent) is LSTM


def test_nothing_is_built_of_a_part_that_is_refused(monkeypatch):
    built = []
    monkeypatch.setattr(Forbid, "__init__", lambda self, ids: built.append(ids))
    forbid = {"_target_": "captioning.search.Forbid", "ids": [3]}
    with pytest.raises(InputError, match="is no Search"):
        build({**forbid, "ids": forbid}, Search, source="config.json")
    assert not built


@pytest.mark.parametrize(
    "encoder",
    [
        {"_target_": "captioning.encoders.TorchvisionEncoder", "model": "resnet18", "weights": "DEFAULT"},
        {"_target_": "captioning.encoders.TimmEncoder", "model": "resnet18", "weights": "pretrained"},
        {"_target_": "captioning.encoders.SmallCNN", "weights": "/etc/passwd"},
    ],
)
@pytest.mark.parametrize("place", ["encoder", "search", "processors", "decoder", "recurrent"])
def test_no_encoder_reads_or_fetches_weights_wherever_it_stands(encoder, place):
    config, base = {
        "encoder": (encoder, Encoder),
        "search": (encoder, Search),
        "processors": ({**BEAM, "processors": [encoder]}, Search),
        "decoder": (encoder, Decoder),
        "recurrent": ({**DECODER, "recurrent": encoder}, Decoder),
    }[place]
    with pytest.raises(InputError, match=r"an encoder's weights must be null|is no class that may stand here"):
        build(config, base, source="config.json")


def test_nesting_without_end_is_refused():
    config = {**BEAM, "processors": []}
    for _ in range(100_000):
        config["processors"] = [config["processors"]]
    with pytest.raises(InputError, match=r"^config\.json is damaged: it is nested too deeply"):
        build(config, Search, source="config.json")


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


@pytest.mark.parametrize(
    ("target", "base"), [("captioning.decoders.Decoder", Decoder), ("captioning.search.hypotheses.Search", Search)]
)
def test_interfaces_cannot_be_built(target, base):
    with pytest.raises(InputError, match=f"{target} cannot be built from no arguments"):
        build({"_target_": target}, base, source="config.json")


def test_a_built_part_equals_one_from_its_constructor():
    torch.manual_seed(0)
    built = build(DECODER, Decoder, source="x")
    torch.manual_seed(0)
    sizes = {"feature_size": 13, "vocab_size": 11, "embedding_size": 17, "hidden_size": 19}
    by_hand = ShowAndTell(**sizes, recurrent=lambda e, d: LSTM(e, d, num_layers=2))
    for a, b in zip(built.parameters(), by_hand.parameters(), strict=True):
        assert a.equal(b)


@pytest.fixture
def lab(tmp_path, monkeypatch):
    """A package `lab` that defines a decoder, and re-exports what others define."""
    (tmp_path / "lab").mkdir()
    (tmp_path / "lab" / "__init__.py").write_text(
        "import os, subprocess\nfrom subprocess import Popen\nfrom captioning.decoders import MRNN\n"
        "from captioning.decoders import ShowAndTell as Base\nfrom captioning.decoders.decoder import Decoder\n"
        "class Thing:\n  pass\nclass Mine(Base):\n  pass\ndef function(**given):\n  pass\n"
    )
    (tmp_path / "labs.py").write_text("from lab import Mine\n")
    (tmp_path / "lab" / "broken.py").write_text("import nowhere\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    yield
    for name in [name for name in sys.modules if name.partition(".")[0] in ("lab", "labs")]:
        del sys.modules[name]


def test_a_class_of_a_trusted_package_is_built(lab):
    decoder = build({**DECODER, "_target_": "lab.Mine"}, Decoder, source="x", trust=["lab"])
    assert type(decoder).__module__ == "lab"
    nested = {**DECODER, "recurrent": {"_target_": "torch.nn.LSTM", "_partial_": True}}
    check(nested, Decoder, source="x", trust=["torch"])
    assert packages(nested) == {"torch"}


@pytest.mark.parametrize("trust", [[], ["la"], ["labs"], ["lab.decoders"], ["other"], ["Lab"], ["torch"]])
def test_a_class_of_a_package_that_is_not_trusted_is_not_even_imported(lab, trust):
    with pytest.raises(InputError, match=r'unless you trust it: trust=\["lab"\] in Python, --trust lab in commands$'):
        build({**DECODER, "_target_": "lab.Mine"}, Decoder, source="config.json", trust=trust)
    assert "lab" not in sys.modules


@pytest.mark.parametrize(
    "target",
    [
        "lab.os.system",
        "lab.os",
        "lab.subprocess.Popen",
        "lab.Popen",
        "lab.MRNN.__init__",
        "lab.function",
        "lab.Nothing",
        "lab.nothing.Mine",
        "lab..Mine",
        "lab.Mine.",
        "lab.Mine\n",
        "lab",
        "labs.Mine",
    ],
)
def test_a_trusted_package_gives_only_classes_that_it_defines(lab, target):
    with pytest.raises(InputError, match="is no class that may stand here"):
        build({**DECODER, "_target_": target}, Decoder, source="config.json", trust=["lab"])


def test_a_class_of_a_trusted_package_needs_the_base_class_of_its_place(lab):
    with pytest.raises(InputError, match=r"lab\.Thing is no Decoder$"):
        build({"_target_": "lab.Thing"}, Decoder, source="config.json", trust=["lab"])
    with pytest.raises(InputError, match=r"lab\.Mine is no Processor or LengthRule$"):
        build({**BEAM, "processors": [{"_target_": "lab.Mine"}]}, Search, source="config.json", trust=["lab"])


def test_the_true_error_of_a_trusted_package_is_shown(lab):
    with pytest.raises(
        InputError, match=r"lab\.broken\.Mine cannot be imported: ModuleNotFoundError: No module named 'no"
    ):
        build({"_target_": "lab.broken.Mine"}, Decoder, source="config.json", trust=["lab"])


def test_a_long_target_is_not_echoed():
    with pytest.raises(InputError) as raised:
        build({"_target_": "x" * 100_000 + ".Y"}, Decoder, source="config.json")
    assert len(str(raised.value)) < 500
