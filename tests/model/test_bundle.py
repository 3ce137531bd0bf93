"""A trained model as a folder."""

from __future__ import annotations

import json
import math
import os
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from huggingface_hub import ModelCard
from PIL import Image
from safetensors.torch import load_file, save_file

from captioning.decoders import ShowAndTell
from captioning.encoders import SmallCNN
from captioning.encoders.standardise import Standardise
from captioning.errors import InputError
from captioning.files.digests import write_digests
from captioning.model.bundle import FILES
from captioning.model.captioner import Captioner
from captioning.model.check import check_bundle
from captioning.recurrent import LSTM
from captioning.search import BeamSearch
from captioning.text import Tokenizer, train_bpe, train_byte_bpe, train_characters, train_words

LSTM_PART = {"_target_": "captioning.recurrent.LSTM", "_partial_": True}
WORDS = "a red ball lies left of the blue box"


def tiny_captioner(tokenizer: Tokenizer | None = None) -> Captioner:
    torch.manual_seed(1)
    tokenizer = tokenizer or train_words([WORDS], min_count=1)
    sizes = {"feature_size": 8 + 13, "vocab_size": len(tokenizer), "embedding_size": 7, "hidden_size": 5}
    return Captioner(
        SmallCNN((32, 32), channels=(8, 8)),
        ShowAndTell(recurrent=LSTM, **sizes),
        tokenizer,
        standardise=Standardise(8 + 13, deviation=0.2),
        search=BeamSearch(beam_size=3, max_length=6),
        config={
            "encoder": {
                "_target_": "captioning.encoders.SmallCNN",
                "size": [32, 32],
                "channels": [8, 8],
                "weights": "some/file.safetensors",
            },
            "decoder": {
                "_target_": "captioning.decoders.ShowAndTell",
                "recurrent": {"_target_": "captioning.recurrent.LSTM", "_partial_": True},
                **sizes,
            },
            "search": {"_target_": "captioning.search.BeamSearch", "beam_size": 3, "max_length": 6},
            "standardise": 0.2,
        },
    ).eval()


@pytest.fixture
def image_files(tmp_path: Path) -> list[Path]:
    paths = []
    for n, colour in enumerate(["red", "blue", "green"]):
        paths.append(tmp_path / f"{n}.png")
        Image.new("RGB", (40 + n, 30), colour).save(paths[-1])
    return paths


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    return tiny_captioner().save(tmp_path / "bundle", metrics={"metrics": {"CIDEr": 0.5}})


def edit(path: Path, **changes: Any) -> None:
    """Change values of a JSON file of a bundle, and its digest: what is checked beside digests is under test."""
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))
    write_digests(path.parent)


def test_a_bundle_captions_as_the_model_in_a_new_process_and_place(
    bundle: Path, image_files: list[Path], tmp_path: Path
) -> None:
    before = tiny_captioner().caption(image_files)
    moved = bundle.rename(tmp_path / "elsewhere")
    code = (
        "import sys, json; from captioning import Captioner\n"
        "captions = Captioner.from_pretrained(sys.argv[1]).caption(sys.argv[2:])\n"
        "print(json.dumps([[c.text, c.score] for c in captions]))"
    )
    ran = subprocess.run(
        [sys.executable, "-c", code, str(moved), *map(str, image_files)],
        capture_output=True,
        text=True,
        check=True,
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
    )
    assert json.loads(ran.stdout) == [[c.text, c.score] for c in before]


@pytest.mark.parametrize("train", [train_bpe, train_byte_bpe, train_characters])
def test_a_bundle_of_subwords_captions_as_the_model(
    train: Callable[[list[str]], Tokenizer], image_files: list[Path], tmp_path: Path
) -> None:
    captioner = tiny_captioner(train([WORDS] * 5))
    loaded = Captioner.from_pretrained(captioner.save(tmp_path / "subwords"))
    assert loaded.tokenizer.to_json() == captioner.tokenizer.to_json()
    assert loaded.caption(image_files) == captioner.caption(image_files)


def test_a_bundle_is_plain_files_without_the_encoder_s_source(bundle: Path) -> None:
    files = {path.name for path in bundle.iterdir()}
    assert files == {
        "config.json",
        "model.safetensors",
        "tokenizer.json",
        "transform.json",
        "metrics.json",
        "README.md",
        "golden.json",
        "golden.safetensors",
        "SHA256SUMS",
    }
    assert json.loads((bundle / "config.json").read_text())["encoder"]["weights"] is None


def test_one_call_captions_an_image_a_path_or_a_list(image_files: list[Path]) -> None:
    captioner = tiny_captioner()
    with Image.open(image_files[2]) as image:
        from_list = captioner.caption([image_files[0], str(image_files[1]), image], batch_size=2)
    assert [captioner.caption(path) for path in image_files] == from_list
    assert str(from_list[0]) == from_list[0].text


@pytest.mark.parametrize("name", ["config.json", "model.safetensors", "tokenizer.json", "transform.json"])
def test_a_missing_file_is_named(bundle: Path, name: str) -> None:
    (bundle / name).unlink()
    with pytest.raises(InputError, match=f"{name} not found"):
        Captioner.from_pretrained(bundle)


@pytest.mark.parametrize("name", ["config.json", "model.safetensors", "tokenizer.json", "transform.json"])
def test_a_damaged_file_is_named(bundle: Path, name: str) -> None:
    content = (bundle / name).read_bytes()
    (bundle / name).write_bytes(content[: len(content) // 2])
    with pytest.raises(InputError, match=name):
        Captioner.from_pretrained(bundle)


def test_a_missing_folder_and_a_folder_that_is_no_bundle_have_different_messages(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="does not exist"):
        Captioner.from_pretrained(tmp_path / "nothing")
    with pytest.raises(InputError, match="is no bundle"):
        Captioner.from_pretrained(tmp_path)
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match=r"file is a file; expected a bundle"):
        Captioner.from_pretrained(tmp_path / "file")


def test_another_format_version_is_refused_with_both(bundle: Path) -> None:
    edit(bundle / "config.json", format_version=99)
    with pytest.raises(InputError, match=r"format 99 and captioning .* reads format 1"):
        Captioner.from_pretrained(bundle)


@pytest.mark.parametrize(
    "target",
    [
        "os.system",
        "captioning.model.bundle.os.system",
        "captioning.encoders.features.torch.load",
        "captioning.data.features.store.FeatureWriter",
        "captioning.search.beam.Tensor",
        "torch.nn.Linear",
        "captioning.encoders.no_such.Encoder",
        7,
    ],
)
def test_a_bundle_cannot_name_other_code(bundle: Path, target: Any) -> None:
    edit(bundle / "config.json", encoder={"_target_": target, "weights": None})
    with pytest.raises(InputError, match="a bundle cannot name other code"):
        Captioner.from_pretrained(bundle)


def test_a_bundle_cannot_make_an_encoder_read_or_fetch_weights(bundle: Path) -> None:
    config = json.loads((bundle / "config.json").read_text())
    edit(bundle / "config.json", encoder={**config["encoder"], "weights": "pretrained"})
    with pytest.raises(InputError, match="encoder's weights must be null"):
        Captioner.from_pretrained(bundle)


def test_a_pickle_in_place_of_the_weights_is_not_run(bundle: Path, tmp_path: Path) -> None:
    class Evil:
        def __reduce__(self) -> Any:
            return os.mkdir, (str(tmp_path / "hacked"),)

    torch.save(Evil(), bundle / "model.safetensors")
    with pytest.raises(InputError, match="damaged"):
        Captioner.from_pretrained(bundle)
    assert not (tmp_path / "hacked").exists()


def test_weights_of_another_size_are_refused(bundle: Path) -> None:
    config = json.loads((bundle / "config.json").read_text())
    edit(bundle / "config.json", decoder={**config["decoder"], "hidden_size": 11})
    with pytest.raises(InputError, match=r"does not fit config\.json"):
        Captioner.from_pretrained(bundle)


def test_a_folder_that_holds_something_is_not_overwritten(bundle: Path) -> None:
    with pytest.raises(InputError, match="exists already"):
        tiny_captioner().save(bundle)


def test_a_bundle_that_cannot_be_written_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(InputError, match="could not be written"):
        tiny_captioner().save(tmp_path / "file" / "bundle")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_a_disk_that_is_full_at_the_weights_is_reported_and_leaves_nothing(tmp_path: Path) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (8192, hard))  # the weights alone are larger
    try:
        with pytest.raises(InputError, match=r"the bundle .*/bundle could not be written: .*File too large"):
            tiny_captioner().save(tmp_path / "bundle")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert not list(tmp_path.iterdir())


def test_a_decoder_of_another_vocabulary_is_refused_with_both_sizes(bundle: Path) -> None:
    config = json.loads((bundle / "config.json").read_text())
    size = config["decoder"]["vocab_size"]
    edit(bundle / "config.json", decoder={**config["decoder"], "vocab_size": size + 1})
    with pytest.raises(InputError, match=f"has {size} tokens and config.json's decoder {size + 1}"):
        Captioner.from_pretrained(bundle)


def test_a_search_must_be_a_search(bundle: Path) -> None:
    edit(bundle / "config.json", search={"_target_": "captioning.search.Forbid", "ids": [1]})
    with pytest.raises(InputError, match=r"config\.json: captioning\.search\.Forbid is no Search"):
        Captioner.from_pretrained(bundle)


@pytest.mark.parametrize("name", ["config.json", "tokenizer.json", "transform.json"])
def test_a_file_that_is_no_utf_8_is_named(bundle: Path, name: str) -> None:
    (bundle / name).write_bytes(b"\xff\xfe{}")
    write_digests(bundle)
    with pytest.raises(InputError, match=rf"{name}.*'utf-8' codec"):
        Captioner.from_pretrained(bundle)


@pytest.mark.parametrize("content", ["[" * 100_000, '{"format_version": ' + "1" * 10_000 + "}"])
def test_json_that_python_does_not_take_is_damage(bundle: Path, content: str) -> None:
    (bundle / "config.json").write_text(content)
    write_digests(bundle)
    with pytest.raises(InputError, match=r"config\.json: not a JSON text"):
        Captioner.from_pretrained(bundle)


@pytest.mark.parametrize("size", [[5], [5, 7, 9], 5, "big", [0, 0], None])
def test_an_impossible_image_size_is_reported(bundle: Path, size: Any) -> None:
    config = json.loads((bundle / "config.json").read_text())
    edit(bundle / "config.json", encoder={**config["encoder"], "size": size})
    with pytest.raises(InputError, match=r"config\.json: captioning\.encoders\.SmallCNN cannot be built from .*size"):
        Captioner.from_pretrained(bundle)


def test_a_transform_of_another_encoder_is_refused(bundle: Path) -> None:
    edit(bundle / "transform.json", size=[20, 24])
    with pytest.raises(InputError, match=r"transform\.json makes images of 20 x 24, which config\.json's encoder"):
        Captioner.from_pretrained(bundle)


def test_a_bundle_s_images_are_made_as_the_model_s_were(image_files: list[Path], tmp_path: Path) -> None:
    captioner = tiny_captioner()
    captioner.transform = replace(captioner.transform, mean=(0.1, 0.2, 0.3))  # not the class's own
    loaded = Captioner.from_pretrained(captioner.save(tmp_path / "bundle"))
    assert loaded.transform == captioner.transform
    assert loaded.caption(image_files) == captioner.caption(image_files)
    assert not loaded.training


@pytest.mark.parametrize("name", FILES)
def test_each_flipped_bit_of_what_is_loaded_is_found(bundle: Path, name: str) -> None:
    whole = (bundle / name).read_bytes()
    for bit in (0, 4 * len(whole) + 1, 8 * len(whole) - 1):
        changed = bytearray(whole)
        changed[bit // 8] ^= 1 << bit % 8
        (bundle / name).write_bytes(changed)
        with pytest.raises(InputError, match=rf"1 of 4 files are damaged, changed or missing \({name}\)"):
            Captioner.from_pretrained(bundle)


def test_the_hub_reads_the_scores_of_a_model_card(tmp_path: Path) -> None:
    metrics = {"metrics": {"CIDEr": 0.51239, "BLEU-4": math.nan}, "signature": {"data": "flickr8k", "split": "val"}}
    folder = tiny_captioner().save(tmp_path / "scored", metrics=metrics)
    data = ModelCard.load(folder / "README.md").data
    assert (data.library_name, data.pipeline_tag, data.tags) == ("captioning", "image-to-text", ["image-captioning"])
    (result,) = data.eval_results
    assert (result.dataset_name, result.dataset_split) == ("flickr8k", "val")
    assert (result.metric_type, result.metric_value) == ("CIDEr", 0.5124)


def test_a_model_card_may_be_edited(bundle: Path) -> None:
    (bundle / "README.md").write_text("My own words.")
    Captioner.from_pretrained(bundle)
    with pytest.raises(InputError, match=r"README\.md"):
        check_bundle(bundle)


def test_digests_that_leave_out_a_file_are_damage(bundle: Path) -> None:
    digests = bundle / "SHA256SUMS"
    digests.write_text("".join(f"{line}\n" for line in digests.read_text().splitlines() if "config" not in line))
    with pytest.raises(InputError, match=r"\(config\.json\)"):
        Captioner.from_pretrained(bundle)


def test_a_bundle_without_digests_and_examples_loads_as_before(bundle: Path) -> None:
    for name in ("SHA256SUMS", "golden.json", "golden.safetensors"):
        (bundle / name).unlink()
    Captioner.from_pretrained(bundle)
    assert check_bundle(bundle).endswith("it has no digests, as earlier versions wrote it; without golden examples")


def change_weights(bundle: Path, change: Callable[[dict[str, torch.Tensor]], Any]) -> None:
    weights = load_file(bundle / "model.safetensors")
    change(weights)
    save_file(weights, bundle / "model.safetensors")
    write_digests(bundle)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64, torch.int32])
def test_weights_of_another_dtype_are_refused(bundle: Path, dtype: torch.dtype) -> None:
    change_weights(
        bundle, lambda weights: weights.update({"decoder.head.weight": weights["decoder.head.weight"].to(dtype)})
    )
    with pytest.raises(InputError, match=r"decoder\.head\.weight is .*, expected float32 \[13, 5\]"):
        Captioner.from_pretrained(bundle)


def test_weights_that_are_missing_or_nobody_s_are_refused(bundle: Path) -> None:
    change_weights(bundle, lambda weights: weights.update({"decoder.tail": weights.pop("decoder.head.weight")}))
    with pytest.raises(
        InputError, match=r"head\.weight is missing, expected .*; decoder\.tail is .*, expected missing"
    ):
        Captioner.from_pretrained(bundle)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_weights_that_are_not_finite_are_refused(bundle: Path, value: float) -> None:
    change_weights(bundle, lambda weights: weights["decoder.head.weight"][7].fill_(value))
    with pytest.raises(InputError, match=r"1 of \d+ weights are not finite \(decoder\.head\.weight\)"):
        Captioner.from_pretrained(bundle)


@pytest.mark.parametrize("convert", [torch.nn.Module.half, torch.nn.Module.bfloat16, torch.nn.Module.double])
def test_a_model_of_another_precision_is_saved_in_float32(
    convert: Callable[[Captioner], Captioner], tmp_path: Path
) -> None:
    bundle = convert(tiny_captioner()).save(tmp_path / "bundle")
    assert check_bundle(bundle).endswith("3 golden examples give the same captions")


def test_other_weights_give_other_captions_than_the_golden_ones(bundle: Path) -> None:
    assert check_bundle(bundle).endswith("all digests match; 3 golden examples give the same captions")
    change_weights(bundle, lambda weights: weights["decoder.head.weight"].neg_())
    Captioner.from_pretrained(bundle)
    with pytest.raises(InputError, match=r"golden example 1 should give"):
        check_bundle(bundle)


def test_golden_examples_are_of_the_given_features(tmp_path: Path) -> None:
    captioner = tiny_captioner()
    features = captioner.encoder(torch.rand(7, 3, 32, 32))
    saved = load_file(captioner.save(tmp_path / "bundle", examples=features) / "golden.safetensors")["pooled"]
    assert all(any(row.equal(own) for own in features.pooled) for row in saved)
    check_bundle(tmp_path / "bundle")


def test_golden_features_of_another_model_are_one_message(bundle: Path) -> None:
    save_file({"pooled": torch.rand(3, 5)}, bundle / "golden.safetensors")
    write_digests(bundle)
    with pytest.raises(InputError, match=r"golden\.safetensors does not fit the model"):
        check_bundle(bundle)


ENDINGS = {"_target_": "captioning.search.NoBadEndings"}


@pytest.mark.parametrize(
    ("part", "changes", "complaint"),
    [
        ("decoder", {"hidden_size": 16_000}, "far more weights than model.safetensors"),
        ("decoder", {"vocab_size": 10**8}, "found the number 100000000"),
        ("decoder", {"dropout": float("nan")}, "found the number NaN"),
        ("decoder", {"feature_size": 22}, "the decoder reads 22|does not fit"),
        (
            "decoder",
            {"recurrent": {"_target_": "captioning.recurrent.LSTM", "_partial_": True, "num_layers": 20_000}},
            "far more",
        ),
        ("encoder", {"size": [8000, 8000]}, "at most 2048"),
        ("encoder", {"channels": [8] * 300}, "far more weights|does not fit"),
        ("search", {"max_length": 10**8}, "max_length=100000000 must be at most 4096"),
        ("search", {"beam_size": 10**6}, "beam_size=1000000 must be at most 1024"),
        ("search", {"length_normalization": 1e300}, "must be at most 10"),
        ("search", {"length_normalization": float("nan")}, "must be at most 10"),
        (
            "search",
            {"processors": [{"_target_": "captioning.search.Forbid", "ids": [13]}]},
            "outside the vocabulary of 13",
        ),
        ("search", {"processors": [{**ENDINGS, "ids": [13], "eos": 2}]}, "NoBadEndings names tokens outside"),
        ("search", {"processors": [{**ENDINGS, "ids": [3], "eos": -1}]}, "NoBadEndings names tokens outside"),
        (
            "search",
            {"processors": [{"_target_": "captioning.search.MinLength", "length": 2, "eos": 13}]},
            "MinLength names tokens outside the vocabulary of 13",
        ),
    ],
)
def test_hostile_sizes_are_refused_at_once(bundle: Path, part: str, changes: dict[str, Any], complaint: str) -> None:
    config = json.loads((bundle / "config.json").read_text())
    edit(bundle / "config.json", **{part: {**config[part], **changes}})
    started = time.process_time()
    with pytest.raises(InputError, match=complaint):
        Captioner.from_pretrained(bundle)
    assert time.process_time() - started < 2


@pytest.mark.parametrize("standardise", ["yes", -1.0, float("nan"), 1e300, [], 10**400])
def test_a_deviation_that_is_no_positive_number_is_refused(bundle: Path, standardise: Any) -> None:
    edit(bundle / "config.json", standardise=standardise)
    with pytest.raises(InputError, match=r"config\.json"):
        Captioner.from_pretrained(bundle)


@pytest.mark.parametrize(
    "changes",
    [
        {"mean": [0.1, float("nan"), 0.3]},
        {"std": [0.1, 1e-50, 0.3]},
        {"std": [0.1, 1e300, 0.3]},
        {"size": [2**63, 1]},
        {"mode": []},
    ],
)
def test_a_transform_with_impossible_values_is_refused(bundle: Path, changes: dict[str, Any]) -> None:
    edit(bundle / "transform.json", **changes)
    with pytest.raises(InputError, match="image transform: "):
        Captioner.from_pretrained(bundle)
