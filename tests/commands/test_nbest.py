"""captioning nbest writes lists of any captioner, which captioning rerank reads."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from captioning import Aligner, Captioner
from captioning.commands.nbest import with_all_beams
from captioning.data import Splits
from captioning.data.features.store import FeatureWriter
from captioning.data.images import load_image
from captioning.data.readers import Coco
from captioning.encoders import SmallCNN
from captioning.matchers import SentenceVector
from captioning.reranking import NBest, halves, read_nbest
from captioning.reranking.features import FEATURES
from captioning.search import BeamSearch, GreedySearch

Command = Callable[..., Any]


@pytest.fixture(scope="module")
def nbest(command: Command, scenes: Path, bundle: Path) -> Command:
    def run(output: Path, *overrides: str) -> Any:
        given = (f"bundle={bundle}", "data=scenes", f"data.root={scenes}", f"output={output}")
        return command("nbest", *given, "device=cpu", "data.eval_batch_size=3", *overrides)

    return run


@pytest.fixture(scope="module")
def lists(nbest: Command, tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, Path]:
    """What the command printed, and the folder that it wrote, with consensus and without a matcher."""
    folder = tmp_path_factory.mktemp("lists")
    return nbest(folder, "consensus=bleu", "consensus_images=3"), folder


def save_matcher(bundle: Path, folder: Path, size: int) -> Aligner:
    """Save a matcher of random weights whose encoder is the captioner's if its images are of that size."""
    captioner = Captioner.from_pretrained(bundle)
    assert captioner.config is not None
    torch.manual_seed(0)
    encoder, config = captioner.encoder, dict(captioner.config["encoder"])
    if size != config["size"][0]:
        config["size"] = [size, size]
        encoder = SmallCNN(config["size"], channels=config["channels"], grid=config["grid"]).eval()
    sizes = {"feature_size": encoder.feature_size, "vocab_size": len(captioner.tokenizer)}
    settings = {"recurrent": None, "embedding_size": 8, "joint_size": 10, **sizes}
    head = {"_target_": "captioning.matchers.SentenceVector", **settings}
    whole = {"encoder": config, "matcher": head, "standardise": False}
    aligner = Aligner(encoder, SentenceVector(**settings), captioner.tokenizer, config=whole).eval()
    aligner.save(folder)
    return aligner


def write_store(encoder: Any, scenes: Path, folder: Path, split: str = "val") -> None:
    images = Splits(Coco(str(scenes))).images(split)
    with FeatureWriter(folder / split, encoder.identity(), [i.image_id for i in images], dtype="float32") as writer:
        pixels = torch.stack([encoder.transform(load_image(image.path)) for image in images])
        with torch.inference_mode():
            writer.write(encoder(pixels))


def test_lists_hold_the_beams_of_the_bundle_s_search_and_the_references(
    lists: tuple[Any, Path], scenes: Path, bundle: Path
) -> None:
    ran, folder = lists
    assert ran.status == 0, ran.err
    found, images = read_nbest(folder / "nbest.json"), Splits(Coco(str(scenes))).images("val")
    captioner = Captioner.from_pretrained(bundle)
    captions = captioner.caption([image.path for image in images])
    assert [own[0] for own in found.captions] == [caption.text for caption in captions]
    assert found.image_ids == tuple(image.image_id for image in images)
    references = json.loads((folder / "references.json").read_text())
    assert references == {str(image.image_id): list(image.captions) for image in images}
    assert found.names == (*FEATURES[:4], "consensus")
    assert found.losses is not None
    assert f"scenes val: {len(found.values)} captions of 8 images" in ran.out
    assert "no detected words (says_0 to says_10)" in ran.out
    assert "no similarity: there is no matcher_bundle=" in ran.out


def test_rerank_reads_the_lists_and_the_references(lists: tuple[Any, Path], command: Command) -> None:
    ran, folder = lists
    again = ran.out.split()[ran.out.split().index("rerank") :]
    assert again == ["rerank", f"{folder}/nbest.json", f"{folder}/references.json"]
    reranked = command(*again, "--by", "consensus", "--report", "bleu,cider", "--out", folder / "results.json")
    assert reranked.status == 0, reranked.err
    found = read_nbest(folder / "nbest.json")
    own = found.select(halves(found.image_ids)[1])
    best = own.with_features(["consensus"]).features[..., 0].argmax(1)
    results = {row["image_id"]: row["caption"] for row in json.loads((folder / "results.json").read_text())}
    assert results == own.chosen(best)
    assert own.losses is not None
    nats, num_tokens = own.losses.sum(0)
    assert f"perplexity of the references of the scored half: {np.exp(nats / num_tokens):.2f}" in reranked.out


def test_the_search_can_be_replaced(nbest: Command, tmp_path: Path) -> None:
    ran = nbest(tmp_path, "search=beam", "search.beam_size=7", "search.num_best=2", "search.max_length=4")
    assert ran.status == 0, ran.err
    assert {len(own) for own in read_nbest(tmp_path / "nbest.json").captions} == {2}


def test_one_caption_of_each_image_is_written_with_advice(nbest: Command, tmp_path: Path, command: Command) -> None:
    ran = nbest(tmp_path, "search=greedy")
    assert "each image has one caption" in ran.out
    reranked = command("rerank", tmp_path / "nbest.json", tmp_path / "references.json", "--report", "bleu")
    assert reranked.status == 0, reranked.err
    assert "nothing to choose" in reranked.out
    assert "first captions of the scored half, 4 images" in reranked.out
    assert "re-ranked" not in reranked.out


def similarities(lists: NBest) -> Any:
    return lists.with_features(["similarity"]).values[:, 0]


def test_a_matcher_reads_images_or_cached_features_of_its_own_encoder(
    nbest: Command, bundle: Path, scenes: Path, tmp_path: Path
) -> None:
    same, other = (save_matcher(bundle, tmp_path / name, size) for name, size in (("same", 16), ("other", 24)))
    write_store(same.encoder, scenes, tmp_path / "cached")
    write_store(other.encoder, scenes, tmp_path / "cached-other")
    root = shutil.copytree(scenes, tmp_path / "scenes", ignore=shutil.ignore_patterns("*.jpg"))
    cached, without_images = f"data.features={tmp_path / 'cached'}", f"data.root={root}"
    given = {
        "images": [f"matcher_bundle={tmp_path / 'same'}"],
        "cached": [f"matcher_bundle={tmp_path / 'same'}", cached, without_images],
        "other": [f"matcher_bundle={tmp_path / 'other'}", cached],
        "other cached": [
            f"matcher_bundle={tmp_path / 'other'}",
            f"matcher_features={tmp_path / 'cached-other'}",
            cached,
            without_images,
        ],
    }
    ran = {name: nbest(tmp_path / f"out {name}", *overrides) for name, overrides in given.items()}
    assert {name: one.status for name, one in ran.items()} == dict.fromkeys(given, 0), [one.err for one in ran.values()]
    scores = {name: similarities(read_nbest(tmp_path / f"out {name}" / "nbest.json")) for name in given}
    for first, second in (("images", "cached"), ("other", "other cached")):
        np.testing.assert_allclose(scores[first], scores[second], atol=1e-5)
    assert abs(scores["images"] - scores["other"]).max() > 1e-3
    assert [name for name in given if "of another encoder" in ran[name].out] == ["other"]
    assert read_nbest(tmp_path / "out images" / "nbest.json").names == (*FEATURES[:4], "similarity")


def test_a_beam_search_that_keeps_one_caption_keeps_all_unless_one_is_asked_for() -> None:
    search = BeamSearch(beam_size=7)
    assert with_all_beams(search, None) == BeamSearch(beam_size=7, num_best=7)
    assert with_all_beams(search, 1) == search
    assert with_all_beams(BeamSearch(beam_size=7, num_best=3), None).num_best == 3  # type: ignore[attr-defined]
    assert with_all_beams(GreedySearch(), None) == GreedySearch()


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("bundle=nowhere", "nowhere does not exist"),
        ("matcher_bundle=nowhere", "nowhere does not exist"),
        ("matcher={bundle}", "name a trained matcher as matcher_bundle=DIR"),
        ("matcher_bundle={bundle}", "holds a decoder, expected a matcher"),
        ("data.root=nowhere", "no annotations/ in"),
        ("data.features=nowhere", "nowhere"),
        ("search.seed=3", "search.seed has no effect: BeamSearch draws nothing; give search.temperature too"),
        ("search.num_best=0", "search.num_best=0: expected a whole number from 1"),
        ("consensus=rouge", "consensus=rouge: expected bleu or cider"),
        ("consensus_images=0", "consensus_images=0: expected a whole number from 1"),
        ("device=abacus", "device=abacus"),
    ],
)
def test_a_mistake_is_one_message_before_any_search(
    nbest: Command, bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, override: str, message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    ran = nbest(tmp_path / "out", override.format(bundle=bundle))
    assert message in ran.message
    assert "searching" not in ran.out
    assert not (tmp_path / "out" / "nbest.json").exists()
