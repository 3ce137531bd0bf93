"""captioning rerank tunes weights on one half of M-best lists, and scores the other."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from captioning.metrics import CocoScorer, compare, intervals
from captioning.reports.result import BOOTSTRAP
from captioning.reranking import NBest, halves, read_nbest, write_nbest

Command = Callable[..., Any]
NUM_IMAGES = 40
REPORT = ("--report", "bleu,cider")
"""The default's METEOR takes seconds to start."""
CAPTIONS = ("the cat", "a dog runs on the green grass", "two red birds sit in trees", "a dog")


@pytest.fixture
def files(tmp_path: Path) -> Path:
    """Lists whose third feature is high for good captions, and whose first captions are bad."""
    random = np.random.default_rng(0)
    captions = tuple(tuple(CAPTIONS[m] for m in random.permutation(4)) for _ in range(NUM_IMAGES))
    references = {str(i): [CAPTIONS[1 + i % 2], "a dog on the green grass"] for i in range(NUM_IMAGES)}
    good = [float(caption in references[str(i)]) for i, own in enumerate(captions) for caption in own]
    noise = random.standard_normal((NUM_IMAGES * 4, 2))
    features = np.column_stack([noise, good + 0.3 * noise[:, 0]])
    write_nbest(tmp_path / "nbest.json", NBest(tuple(range(NUM_IMAGES)), captions, ("x", "y", "good"), features))
    (tmp_path / "references.json").write_text(json.dumps(references))
    return tmp_path


def cells(out: str, row: str) -> list[str]:
    line = next(line for line in out.splitlines() if line.startswith(f"│ {row} "))
    return [cell.strip() for cell in line.strip("│").split("│")][1:]


@pytest.mark.parametrize(("metric", "name"), [("bleu", "BLEU-4"), ("cider", "CIDEr")])
def test_the_scored_half_is_printed_and_written_as_it_is_scored(
    command: Command, files: Path, metric: str, name: str
) -> None:
    given = (files / "nbest.json", files / "references.json", *REPORT)
    arguments = ("rerank", *given, "--metric", metric, "--restarts", "3")
    ran = command(*arguments, "--out", files / "results.json")
    assert (ran.status, ran.err) == (0, "")
    results = {row["image_id"]: row["caption"] for row in json.loads((files / "results.json").read_text())}
    tuning, scored = halves(range(NUM_IMAGES))
    assert list(results) == scored.tolist()
    references = json.loads((files / "references.json").read_text())
    scores = CocoScorer({i: references[str(i)] for i in results}, metrics=["BLEU", "CIDEr"]).score(results)
    images, first, reranked = cells(ran.out, "scored")
    assert (images, reranked) == ("20", f"{scores.corpus[name]:.4f}")
    assert float(reranked) > float(first) + 0.1
    assert cells(ran.out, "tuned")[0] == str(len(tuning))
    assert abs(float(cells(ran.out, "good")[0])) > 2 * abs(float(cells(ran.out, "y")[0]))
    assert command(*arguments).out in ran.out  # the same seed


def test_images_may_be_named_by_their_files(command: Command, files: Path) -> None:
    expected = command("rerank", files / "nbest.json", files / "references.json", "--restarts", "1", *REPORT)
    lists = json.loads((files / "nbest.json").read_text())
    for image in lists:
        image["image_id"] = f"val/{image['image_id']:04}.jpg"
    (files / "nbest.json").write_text(json.dumps(lists))
    assert command("rerank", files / "nbest.json", files / "references.json", "--restarts", "1", *REPORT) == expected


def report(command: Command, files: Path, *options: str) -> Any:
    """What --json writes."""
    written = ("--json", files / "scores.json", "--out", files / "results.json")
    ran = command("rerank", files / "nbest.json", files / "references.json", *REPORT, *written, *options)
    assert (ran.status, ran.err) == (0, "")
    return json.loads((files / "scores.json").read_text())


def captions_of(files: Path) -> dict[int, str]:
    return {row["image_id"]: row["caption"] for row in json.loads((files / "results.json").read_text())}


def test_both_rankings_of_the_scored_half_have_scores_intervals_and_a_test_of_their_difference(
    command: Command, files: Path
) -> None:
    content = report(command, files, "--restarts", "1")
    lists = read_nbest(files / "nbest.json")
    own = lists.select(halves(lists.image_ids)[1])
    references = json.loads((files / "references.json").read_text())
    scorer = CocoScorer({i: references[str(i)] for i in own.image_ids}, metrics=["BLEU", "CIDEr"])
    first, reranked = (scorer.score(c) for c in (own.chosen(np.zeros(20, np.int64)), captions_of(files)))
    for name, scores in (("first", first), ("reranked", reranked)):
        assert content[name]["metrics"] == scores.corpus
        expected = {score: [found.low, found.high] for score, found in intervals(scores, **BOOTSTRAP).items()}
        assert content[name]["intervals"] == expected
    differences = {score: vars(found) for score, found in compare(reranked, first, **BOOTSTRAP).items()}
    assert content["reranked"]["comparison"]["differences"] == differences
    assert content["tuned_for"] == "BLEU-4"
    assert list(content["weights"]) == ["x", "y", "good"]
    assert "perplexity" not in content


def test_the_highest_value_of_one_feature_can_choose_without_tuning(command: Command, files: Path) -> None:
    content = report(command, files, "--by", "good")
    lists = read_nbest(files / "nbest.json")
    own = lists.select(halves(lists.image_ids)[1])
    values = own.values[own.rows][..., 2]
    assert captions_of(files) == {i: own.captions[n][values[n].argmax()] for n, i in enumerate(own.image_ids)}
    assert (content["weights"], content["tuned_for"]) == ({"good": 1.0}, None)


def test_some_features_can_be_tuned_alone(command: Command, files: Path) -> None:
    content = report(command, files, "--features", "good, x", "--metric", "cider")
    assert list(content["weights"]) == ["good", "x"]
    assert content["tuned_for"] == "CIDEr"


@pytest.mark.parametrize("options", [(), ("--by", "good"), ("--features", "x")])
def test_one_caption_of_each_image_is_scored_and_nothing_is_chosen(
    command: Command, files: Path, options: tuple[str, ...]
) -> None:
    lists = read_nbest(files / "nbest.json")
    own = tuple(captions[:1] for captions in lists.captions)
    losses = np.array([[2.0, 1.0], [3.0, 2.0]] * (NUM_IMAGES // 2))
    write_nbest(files / "nbest.json", NBest(lists.image_ids, own, lists.names, lists.values[lists.rows[:, 0]], losses))
    content = report(command, files, *options)
    assert content["weights"] is content["tuned_for"] is None
    assert "reranked" not in content
    scored = halves(lists.image_ids)[1]
    assert captions_of(files) == {lists.image_ids[i]: own[i][0] for i in scored}
    nats, num_tokens = losses[scored].sum(0)
    assert content["perplexity"] == pytest.approx(np.exp(nats / num_tokens))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--by", "goood"), "nbest.json: there is no feature 'goood'; choose among x, y, good"),
        (("--features", "x,x"), "nbest.json: expected each feature once, found x, x"),
        (("--features", ""), "nbest.json: there is no feature ''"),
        (("--report", "blue"), "there is no metric 'blue'"),
        (("--json", "nowhere/scores.json"), "no such folder to write scores.json to"),
    ],
)
def test_a_wrong_option_gives_one_message(
    command: Command, files: Path, options: tuple[str, str], message: str
) -> None:
    ran = command("rerank", files / "nbest.json", files / "references.json", *REPORT, *options)
    assert message in ran.message
    assert ran.message.count("\n") == 1
    assert ran.out == ""


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda lists: lists.pop(), "without a list: 1 (39); lists without references: 0"),
        (lambda lists: lists[3].update(image_id=99), "without a list: 1 (3); lists without references: 1 (99)"),
        (lambda lists: lists[3].update(image_id="4.jpg"), "two captions of the image 1 (4)"),
        (lambda lists: lists[0]["hypotheses"][1]["features"].pop("y"), "image 0, hypotheses[1]"),
        (lambda lists: lists.clear(), "at least one image"),
    ],
)
def test_wrong_lists_give_one_message_with_the_file_s_name(
    command: Command, files: Path, change: Callable[[Any], Any], message: str
) -> None:
    lists = json.loads((files / "nbest.json").read_text())
    change(lists)
    (files / "nbest.json").write_text(json.dumps(lists))
    ran = command("rerank", files / "nbest.json", files / "references.json")
    assert ran.message.startswith(f"captioning rerank: {files / 'nbest.json'}: ")
    assert message in ran.message
    assert ran.message.count("\n") == 1
    assert ran.out == ""


def test_one_image_cannot_be_halved(command: Command, files: Path) -> None:
    lists = json.loads((files / "nbest.json").read_text())
    (files / "nbest.json").write_text(json.dumps(lists[:1]))
    (files / "references.json").write_text('{"0": ["a dog"]}')
    assert "at least two images" in command("rerank", files / "nbest.json", files / "references.json").message


def test_a_missing_folder_is_found_before_tuning(command: Command, files: Path) -> None:
    ran = command("rerank", files / "no.json", files / "no.json", "--out", files / "nowhere" / "results.json")
    assert "no such folder to write results.json to" in ran.message
