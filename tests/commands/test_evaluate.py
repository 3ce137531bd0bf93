"""captioning evaluate: a bundle's figures on any split."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from omegaconf import OmegaConf

from captioning import Captioner
from captioning.commands.evaluate import check_languages, chosen_metrics, chosen_search
from captioning.data import Splits
from captioning.data.features.store import FeatureWriter
from captioning.data.images import load_image
from captioning.data.readers import Coco, ParallelText
from captioning.errors import InputError
from captioning.metrics import METRICS, CocoScorer
from captioning.search import BeamSearch, Forbid, GreedySearch, MinLength, Sampling
from captioning.text import Tokenizer

Command = Callable[..., Any]


def read(path: Path) -> Any:
    return json.loads(path.read_text())


@pytest.fixture(scope="module")
def evaluate(command: Command, scenes: Path, bundle: Path) -> Command:
    def run(output: Path, *overrides: str) -> Any:
        quiet = ("trainer.accelerator=cpu", "+trainer.enable_progress_bar=false", "data.eval_batch_size=3")
        given = (f"bundle={bundle}", "data=scenes", f"data.root={scenes}", f"output={output}")
        return command("evaluate", *given, *quiet, *overrides)

    return run


def test_the_training_run_s_scores_are_found_again(evaluate: Command, run_folder: Path, tmp_path: Path) -> None:
    assert evaluate(tmp_path / "out", "data.eval_batch_size=64").status == 0
    for name in ("metrics.json", "captions.json", "per_image.csv"):
        assert read_text(tmp_path / "out" / name) == read_text(run_folder / name)


def read_text(path: Path) -> str:
    return path.read_text(encoding="utf-8")


def test_another_split_is_scored_by_its_own_files_alone(
    evaluate: Command, scenes: Path, bundle: Path, tmp_path: Path
) -> None:
    root = tmp_path / "scenes"
    shutil.copytree(scenes, root, ignore=shutil.ignore_patterns("*train*", "*val*"))
    ran = evaluate(tmp_path / "out", f"data.root={root}", "data.split=test", "examples=3")
    assert ran.status == 0
    data, captioner = Splits(Coco(str(scenes))), Captioner.from_pretrained(bundle)
    captions = {i.image_id: c.text for i, c in zip(data.images("test"), caption_all(captioner, data), strict=True)}
    assert read(tmp_path / "out" / "captions.json") == [{"image_id": i, "caption": c} for i, c in captions.items()]
    scores = CocoScorer(data.references("test"), metrics=("BLEU", "ROUGE-L", "CIDEr")).score(captions)
    metrics = read(tmp_path / "out" / "metrics.json")
    assert metrics["metrics"] == scores.corpus
    assert metrics["signature"]["split"] == "test"
    assert read_text(tmp_path / "out" / "page.html").count("<article>") == 3
    assert "scenes test, 8 images (fractions)" in ran.out


def test_doubtful_scores_are_reported(
    evaluate: Command, scenes: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    root = tmp_path / "scenes"
    shutil.copytree(scenes, root)
    path = root / "annotations" / "captions_test2017.json"
    content = read(path)
    only = content["images"][0]["id"]
    kept = [annotation for annotation in content["annotations"] if annotation["image_id"] == only]
    path.write_text(json.dumps({**content, "images": content["images"][:1], "annotations": kept}))
    ran = evaluate(tmp_path / "out", f"data.root={root}", "data.split=test")
    assert ran.status == 0, ran.err
    assert "CIDEr of a single image is always 0" in caplog.text + ran.out + ran.err
    assert read(tmp_path / "out" / "metrics.json")["intervals"] == {}


def test_images_are_found_by_sentences_and_sentences_by_images(evaluate: Command, tmp_path: Path) -> None:
    ran = evaluate(tmp_path, "data.split=test", "retrieval=2", "examples=0")
    assert ran.status == 0, ran.err
    found = read(tmp_path / "metrics.json")["retrieval"]
    for direction, most in (("text_to_image", 8), ("image_to_text", 15)):  # 8 images; 16 captions, two are wanted
        figures = found[direction]
        assert list(figures) == ["R@1", "R@5", "R@10", "median_rank"]
        assert 0 <= figures["R@1"] <= figures["R@5"] <= figures["R@10"] <= 1
        assert 1 <= figures["median_rank"] <= most
        assert direction in ran.out
    assert found["text_to_image"]["R@10"] == 1


def caption_all(captioner: Captioner, data: Splits) -> list[Any]:
    return captioner.caption([image.path for image in data.images("test")])


def test_another_search_is_used_and_signed(evaluate: Command, tmp_path: Path) -> None:
    assert evaluate(tmp_path, "search=greedy", "search.max_length=3").status == 0
    signed = read(tmp_path / "metrics.json")["signature"]["search"]
    assert (signed["name"], signed["max_length"]) == ("GreedySearch", 3)
    assert all(len(entry["caption"].split()) <= 3 for entry in read(tmp_path / "captions.json"))


def test_another_precision_of_the_decoder_is_used_and_signed(evaluate: Command, tmp_path: Path) -> None:
    scores = {}
    for dtype in ("float32", "bfloat16"):
        assert evaluate(tmp_path / dtype, f"dtype={dtype}").status == 0
        found = read(tmp_path / dtype / "metrics.json")
        assert found["signature"].get("dtype", "float32") == dtype
        scores[dtype] = found["language_model"]["loss"]
    assert scores["bfloat16"] != scores["float32"]
    assert scores["bfloat16"] == pytest.approx(scores["float32"], rel=0.05)


def test_a_setting_of_the_search_alone_leaves_the_others_as_the_bundle_says(
    evaluate: Command, run_folder: Path, tmp_path: Path
) -> None:
    assert evaluate(tmp_path, "search.length_normalization=0.7").status == 0
    signed = read(tmp_path / "metrics.json")["signature"]["search"]
    assert signed == {**read(run_folder / "metrics.json")["signature"]["search"], "length_normalization": 0.7}


def test_settings_of_the_search_are_those_of_the_other_commands(tokenizer: Tokenizer) -> None:
    own, dog = GreedySearch(max_length=7), tokenizer.vocabulary.index("dog")
    assert chosen_search(OmegaConf.create({"beam_size": None}), own, tokenizer, {}) == own
    beams = chosen_search(OmegaConf.create({"beam_size": 3}), own, tokenizer, {})
    assert beams == BeamSearch(beam_size=3, max_length=7)
    banned = chosen_search(OmegaConf.create({"banned": ["dog"], "min_length": 2}), own, tokenizer, {})
    assert banned.processors == (MinLength(2, tokenizer.special.eos), Forbid([dog]))
    with pytest.raises(InputError, match=r"search\.beam_size and search\.top_k exclude each other"):
        chosen_search(OmegaConf.create({"beam_size": 3, "top_k": 2}), own, tokenizer, {})


def test_options_are_added_to_a_named_search_and_do_not_replace_it(tokenizer: Tokenizer) -> None:
    own, named = GreedySearch(), {"_target_": "captioning.search.Sampling", "max_length": 9, "temperature": 0.5}
    found = chosen_search(OmegaConf.create({**named, "min_length": 2, "num_best": 4}), own, tokenizer, {})
    rules = [MinLength(2, tokenizer.special.eos)]
    assert found == Sampling(temperature=0.5, max_length=9, num_samples=4, processors=rules)
    with pytest.raises(InputError, match=r"search\.beam_size: Sampling has no such setting"):
        chosen_search(OmegaConf.create({**named, "beam_size": 3}), own, tokenizer, {})


COCO = ["BLEU", "METEOR", "ROUGE-L", "CIDEr"]


@pytest.mark.parametrize(
    ("backend", "names", "texts", "expected"),
    [
        (None, None, False, ("captioning", COCO)),
        (None, None, True, ("captioning", ["sacreBLEU"])),
        ("pycocoevalcap", None, True, ("pycocoevalcap", COCO)),
        (None, ["BLEU"], True, ("captioning", ["BLEU"])),
        (None, ["sacreBLEU"], False, ("captioning", ["sacreBLEU"])),
        ("captioning", ["BLEU"], True, ("captioning", ["BLEU"])),
    ],
)
def test_metrics_that_are_not_named_are_those_of_the_data_s_kind(
    backend: str | None, names: list[str] | None, texts: bool, expected: tuple[str, list[str]]
) -> None:
    chosen = chosen_metrics(OmegaConf.create({"backend": backend, "names": names}), texts=texts)
    assert (chosen.backend, chosen.names) == expected


@pytest.mark.parametrize("metrics", [None, "{}", '{"checkpoint": {"epoch": 3}}'])
def test_a_bundle_that_does_not_say_its_languages_is_reported(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, metrics: str | None
) -> None:
    if metrics is not None:
        (tmp_path / "metrics.json").write_text(metrics)
    check_languages(tmp_path, ParallelText("nowhere", source="en", target="cs", corpus="multi30k"), translates=True)
    assert "does not name its training languages; it is scored on multi30k-en-cs" in caplog.text


def test_a_translator_is_scored_on_other_data_of_its_languages(tmp_path: Path) -> None:
    (tmp_path / "metrics.json").write_text('{"signature": {"data": "multi30k-en-cs"}}')
    check_languages(tmp_path, ParallelText("nowhere", source="en", target="cs", corpus="news"), translates=True)


@pytest.mark.parametrize(
    ("trained", "message"),
    [
        ("multi30k-cs", ""),
        ("multi30k-de", "was trained on multi30k-de and is scored on news-cs"),
        ("flickr8k", "was trained on flickr8k and is scored on news-cs"),
    ],
)
def test_a_language_model_s_scores_on_another_language_come_with_a_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, trained: str, message: str
) -> None:
    (tmp_path / "metrics.json").write_text(json.dumps({"signature": {"data": trained}}))
    check_languages(tmp_path, ParallelText("nowhere", target="cs", corpus="news"), translates=False)
    assert message in caplog.text
    assert bool(caplog.text) == bool(message)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("bundle=nowhere", "nowhere does not exist"),
        ("bundle=5", "bundle=5: expected the path of a model, or of several as [A,B]"),
        ("bundle=[A,null]", "expected the path of a model, or of several as [A,B]"),
        ("bundle=[]", "expected the path of a model, or of several as [A,B]"),
        ("data.root=nowhere", "no annotations/ in"),
        ("data.split=valid", "captions_valid2017.json"),
        ("data.features=nowhere", "nowhere"),
        ("serach=greedy", "did you mean 'search'"),
        ("output=/dev/null/out", "/dev/null"),
        ("dtype=int8", "dtype=int8 must be float32 or bfloat16"),
        ("search.beam_size=many", "search.beam_size=many: expected a whole number from 1"),
    ],
)
def test_a_mistake_is_one_message(
    evaluate: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, override: str, message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    assert message in evaluate(tmp_path / "out", override).message


def test_cached_features_are_scored_without_images(
    evaluate: Command, scenes: Path, bundle: Path, tmp_path: Path
) -> None:
    root, features = tmp_path / "scenes", tmp_path / "features" / "val"
    shutil.copytree(scenes, root, ignore=shutil.ignore_patterns("*.jpg"))
    data, encoder = Splits(Coco(str(scenes))), Captioner.from_pretrained(bundle).encoder
    images = data.images("val")
    with FeatureWriter(features, encoder.identity(), [i.image_id for i in images], dtype="float32") as writer:
        image_files = torch.stack([encoder.transform(load_image(i.path)) for i in images])
        with torch.inference_mode():
            writer.write(encoder(image_files))
    ran = evaluate(tmp_path / "out", f"data.root={root}", f"data.features={features.parent}", "examples=3")
    assert ran.status == 0
    page = read_text(tmp_path / "out" / "page.html")
    assert (page.count("<article>"), page.count("no image")) == (3, 3)


def test_a_full_disk_is_reported(evaluate: Command, tmp_path: Path) -> None:
    (tmp_path / "metrics.json").symlink_to("/dev/full")
    assert "No space left" in evaluate(tmp_path).message


def test_help_names_every_metric(command: Command) -> None:
    printed = command("evaluate", "--help").out
    assert all(name in printed for name in METRICS)


def test_broken_image_is_refused_and_skipped_on_request(evaluate: Command, scenes: Path, tmp_path: Path) -> None:
    root = Path(shutil.copytree(scenes, tmp_path / "scenes"))
    images = sorted((root / "val2017").glob("*.jpg"))
    images[0].write_bytes(b"<html>")
    assert f"{images[0]}: not an image" in evaluate(tmp_path / "out", f"data.root={root}").message
    assert evaluate(tmp_path / "out", f"data.root={root}", "data.skip_broken=true").status == 0
    assert len(json.loads((tmp_path / "out" / "captions.json").read_text())) == len(images) - 1
