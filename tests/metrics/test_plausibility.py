"""Scores that mean nothing are reported beside the scores, by every command that has a scorer."""

from __future__ import annotations

import pytest

from captioning.metrics import CocoScorer, compare, intervals
from captioning.metrics.document_frequencies import DocumentFrequencies

DOG, CAT = ["a dog runs on the grass"], ["a cat sits on the sofa"]
FAST = ("BLEU", "ROUGE-L", "CIDEr")


def doubts(
    caplog: pytest.LogCaptureFixture, references: dict[int, list[str]], captions: dict[int, str], **settings: object
) -> str:
    caplog.clear()
    CocoScorer(references, **{"metrics": FAST, **settings}).score(captions)  # type: ignore[arg-type]
    return caplog.text


def test_nothing_is_doubted_in_usual_captions(caplog: pytest.LogCaptureFixture) -> None:
    assert doubts(caplog, {1: DOG, 2: CAT}, {1: "a brown dog runs", 2: "a cat sits here"}) == ""


def test_one_image_has_cider_0_and_no_intervals_and_both_are_reported(caplog: pytest.LogCaptureFixture) -> None:
    found = doubts(caplog, {1: DOG}, {1: DOG[0]})
    assert "there is one image, so no confidence interval and no test is computed" in found
    assert "CIDEr of a single image is always 0" in found
    scores = CocoScorer({1: DOG}).score({1: DOG[0]})
    assert scores.corpus["CIDEr"] == 0
    assert intervals(scores) == {}
    assert compare(scores, scores) == {}


def test_cider_is_not_doubted_without_cider_or_with_other_frequencies(caplog: pytest.LogCaptureFixture) -> None:
    assert "CIDEr" not in doubts(caplog, {1: DOG}, {1: DOG[0]}, metrics=("BLEU",))
    frequencies = DocumentFrequencies.of([DOG, CAT])
    assert "CIDEr" not in doubts(caplog, {1: DOG}, {1: DOG[0]}, frequencies=frequencies)
    assert "CIDEr-D of a single image" in doubts(caplog, {1: DOG}, {1: DOG[0]}, metrics=("CIDEr-D",))


def test_equal_references_of_all_images_are_reported(caplog: pytest.LogCaptureFixture) -> None:
    found = doubts(caplog, {1: DOG, 2: DOG}, {1: "a brown dog runs", 2: "a cat sits here"})
    assert "all images have the same references, so CIDEr is 0 for all captions" in found


@pytest.mark.parametrize(
    ("first", "second", "with_spaces"),
    [
        ("一只狗在草地上奔跑。", "两个男人在等公共汽车", "一 只 狗 在 草地 上 奔跑 。"),
        ("犬が草の上を走っている", "二人の男性がバスを待つ", "犬 が 草 の 上 を 走って いる"),
        ("สุนัขวิ่งบนหญ้า", "ผู้ชายสองคนรอรถเมล์", "สุนัข วิ่ง บน หญ้า"),
    ],
)
def test_text_without_spaces_is_reported(
    caplog: pytest.LogCaptureFixture, first: str, second: str, with_spaces: str
) -> None:
    spaced = {1: [with_spaces], 2: [f"{with_spaces} {with_spaces}"]}
    usual = {n: f"{with_spaces} {group[0]}" for n, group in spaced.items()}
    assert doubts(caplog, spaced, usual) == ""
    found = doubts(caplog, {1: [first], 2: [second]}, {1: first[:-2], 2: second[:-2]})
    assert "2 references have no spaces between words" in found
    assert f"'{first}'" in found
    assert "2 captions have no spaces between words" in found
    assert "2 captions have no spaces" in doubts(caplog, spaced, {1: first, 2: second})


def test_a_language_with_spaces_and_a_few_foreign_words_are_not_doubted(caplog: pytest.LogCaptureFixture) -> None:
    korean = {1: ["개가 잔디밭에서 공을 쫓아 달린다"], 2: ["두 남자가 버스를 기다린다 지금"]}
    assert doubts(caplog, korean, {1: "개가 잔디밭에서 공을 쫓아", 2: "두 남자가 버스를 기다린다"}) == ""
    foreign = {1: ["a sign with 東京タワー on it"], 2: CAT}
    assert doubts(caplog, foreign, {1: "a red sign here", 2: "a cat sits here"}) == ""


def test_equal_captions_and_copied_references_are_reported(caplog: pytest.LogCaptureFixture) -> None:
    assert "all 2 captions are the same: 'a dog runs here'" in doubts(
        caplog, {1: DOG, 2: CAT}, dict.fromkeys((1, 2), "A dog runs here.")
    )
    assert "each of the 2 captions is one of the references" in doubts(caplog, {1: DOG, 2: CAT}, {1: DOG[0], 2: CAT[0]})


def test_texts_shorter_than_bleu_counts_are_reported(caplog: pytest.LogCaptureFixture) -> None:
    found = doubts(caplog, {1: ["a dog"], 2: ["the cat"]}, {1: "a small dog", 2: "a cat"})
    assert "no reference has 4 tokens, so BLEU-4 is about 0; the longest has 2" in found
    assert "no caption has 4 tokens, so BLEU-4 is about 0; the longest has 3" in found
    assert doubts(caplog, {1: ["a dog"], 2: ["the cat"]}, {1: "a small dog", 2: "a cat"}, metrics=("CIDEr",)) == ""
