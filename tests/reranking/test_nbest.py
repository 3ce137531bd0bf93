"""M-best lists: their file, their halves, and a metric's statistics of every caption."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, strategies
from hypothesis.extra.numpy import arrays

from captioning.errors import InputError
from captioning.metrics.bleu import Bleu
from captioning.metrics.cider import Cider
from captioning.metrics.sacre_bleu import SacreBleu
from captioning.reranking import NBest, halves, read_nbest, write_nbest
from captioning.reranking.nbest import in_order

LISTS = NBest(
    (42, "x.jpg", 7),
    (("A dog runs.", "The dog"), ("a cat",), ("a bus", "The red bus!", "a  street")),
    ("log_likelihood", "length"),
    np.array([[-1.5, 3.0], [-2.0, 2.0], [-1.0, 2.0], [-3.0, 2.0], [-4.0, 3.0], [-5.0, 2.0]]),
)
REFERENCES = [["a dog runs on grass", "the dog"], ["a cat sits"], ["the red bus", "a bus"]]


def content() -> Any:
    return [
        {"image_id": 1, "hypotheses": [{"caption": "a", "features": {"x": 1, "y": 2.5}}]},
        {"image_id": "b", "hypotheses": [{"caption": "b", "features": {"y": 4, "x": 3}}] * 2},
    ]


def written(folder: Path, value: Any) -> Path:
    (folder / "nbest.json").write_text(json.dumps(value))
    return folder / "nbest.json"


def test_lists_are_read_as_they_were_written(tmp_path: Path) -> None:
    write_nbest(tmp_path / "nbest.json", LISTS)
    found = read_nbest(tmp_path / "nbest.json")
    assert (found.image_ids, found.captions, found.names) == (LISTS.image_ids, LISTS.captions, LISTS.names)
    assert (found.values == LISTS.values).all()


def test_features_are_read_by_name(tmp_path: Path) -> None:
    found = read_nbest(written(tmp_path, content()))
    assert found.names == ("x", "y")
    assert found.values.tolist() == [[1, 2.5], [3, 4], [3, 4]]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c: c[1]["hypotheses"][1]["features"].pop("x"), r"image b, hypotheses\[0\]: expected the features"),
        (lambda c: c[1]["hypotheses"].clear(), "length >= 1"),
        (lambda c: c[0].update(image_id="b"), r"images that occur twice: 1 \('b'\)"),
        (lambda c: c[0].update(image_id=None), "int | str"),
        (lambda c: c[0]["hypotheses"][0].update(caption=3), "Expected `str`, got `int`"),
        (lambda c: c[0]["hypotheses"][0]["features"].update(x=float("nan")), "is damaged"),
        (lambda c: c[0]["hypotheses"][0]["features"].update(x="1"), "Expected `float`, got `str`"),
        (lambda c: c[0].update(captions=[]), "unknown field `captions`"),
        (lambda c: c.clear(), "at least one image, found none"),
    ],
)
def test_a_wrong_file_gives_one_message_with_its_name(tmp_path: Path, change: Any, message: str) -> None:
    value = content()
    change(value)
    path = written(tmp_path, value)
    with pytest.raises(InputError, match=message) as error:
        read_nbest(path)
    assert str(error.value).startswith(str(path))
    assert "\n" not in str(error.value)


def test_an_image_with_fewer_captions_repeats_its_last_one() -> None:
    assert LISTS.rows.tolist() == [[0, 1, 1], [2, 2, 2], [3, 4, 5]]


def test_images_are_selected_with_their_captions_and_features() -> None:
    found = LISTS.select(np.array([2, 0]))
    assert found.image_ids == (7, 42)
    assert found.captions == (LISTS.captions[2], LISTS.captions[0])
    assert (found.values == LISTS.values[[3, 4, 5, 0, 1]]).all()


def test_a_caption_of_each_image_is_chosen_by_position() -> None:
    assert LISTS.chosen(np.array([1, 0, 2])) == {42: "The dog", "x.jpg": "a cat", 7: "a  street"}


@pytest.mark.parametrize("metric", [Bleu, Cider, SacreBleu])
def test_statistics_are_those_of_the_captions_scored_one_by_one(metric: Any) -> None:
    metric = metric(REFERENCES)
    found = LISTS.statistics(metric)
    assert found.shape[:2] == (3, 3)
    for chosen in ([0, 0, 0], [1, 0, 2], [1, 0, 1]):
        captions = {image_id: [caption] for image_id, caption in LISTS.chosen(np.array(chosen)).items()}
        expected = metric.statistics([group[0] for group in metric.tokenizer.tokenize(captions).values()])
        np.testing.assert_allclose(found[np.arange(3), chosen], expected, rtol=1e-12)


def test_references_are_put_in_the_order_of_the_lists() -> None:
    given = {7: ["c"], 42: ["a"], "x.jpg": ["b"]}
    assert in_order(LISTS, given) == [["a"], ["b"], ["c"]]


def test_references_of_other_images_are_refused() -> None:
    with pytest.raises(InputError, match=r"n.json: .* without a list: 1 \(8\); lists without references: 2 \(42, 7\)"):
        in_order(LISTS, {"x.jpg": ["b"], 8: ["c"]}, "n.json")


def test_halves_split_every_image_once_whatever_the_order() -> None:
    ids = [*range(100, 131), "a.jpg", "b.jpg"]
    tuning, reported = halves(ids)
    assert sorted([*tuning, *reported]) == list(range(33))
    assert (len(tuning), len(reported)) == (16, 17)
    backwards, _ = halves(ids[::-1])
    assert {ids[i] for i in tuning} == {ids[::-1][i] for i in backwards}
    assert 3 < sum(i < 16 for i in tuning) < 13


def test_one_image_has_no_halves() -> None:
    with pytest.raises(InputError, match="at least two images"):
        halves([1])


def test_lists_without_captions_or_with_broken_features_are_refused() -> None:
    with pytest.raises(InputError, match="captions of each of 2 images"):
        NBest((1, 2), (("a",), ()), ("x",), np.zeros((1, 1)))
    with pytest.raises(InputError, match=r"shape \(2, 1\); found shape \(1, 1\)"):
        NBest((1, 2), (("a",), ("b",)), ("x",), np.zeros((1, 1)))
    with pytest.raises(InputError, match="or NaN"):
        NBest((1,), (("a",),), ("x",), np.array([[np.inf]]))


LOSSES = np.array([[5.5, 4.0], [0.0, 0.0], [2.25, 3.0]])


def test_losses_of_references_are_read_as_they_were_written_and_selected(tmp_path: Path) -> None:
    lists = replace(LISTS, losses=LOSSES)
    write_nbest(tmp_path / "nbest.json", lists)
    found = read_nbest(tmp_path / "nbest.json")
    assert found.losses is not None
    assert (found.losses == LOSSES).all()
    selected = found.select(np.array([2, 0])).losses
    assert selected is not None
    assert (selected == LOSSES[[2, 0]]).all()
    assert read_nbest(written(tmp_path, content())).losses is None


FINITE = strategies.floats(allow_nan=False, allow_infinity=False)
TEXT = strategies.text(strategies.characters(exclude_categories=["Cs"]), max_size=9)


@given(strategies.data())
def test_any_lists_are_read_as_they_were_written(tmp_path_factory: pytest.TempPathFactory, data: Any) -> None:
    captions = data.draw(strategies.lists(strategies.lists(TEXT, min_size=1, max_size=3), min_size=1, max_size=4))
    names = tuple(data.draw(strategies.lists(TEXT, max_size=3, unique=True)))
    num, width = sum(map(len, captions)), len(names)
    values = data.draw(arrays(np.float64, (num, width), elements=FINITE))
    nats = data.draw(arrays(np.float64, (len(captions),), elements=FINITE))
    counts = data.draw(arrays(np.int64, (len(captions),), elements=strategies.integers(0, 2**53)))
    losses = data.draw(strategies.sampled_from([None, np.column_stack([nats, counts])]))
    lists = NBest(tuple(range(len(captions))), tuple(map(tuple, captions)), names, values, losses)
    path = tmp_path_factory.mktemp("lists") / "nbest.json"
    write_nbest(path, lists)
    found = read_nbest(path)
    assert (found.image_ids, found.captions, found.names) == (lists.image_ids, lists.captions, lists.names)
    np.testing.assert_array_equal(found.values, lists.values)
    assert found.losses is losses is None or np.array_equal(found.losses, losses)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c: c[1].update(reference_loss=2.5), r"of all images or of none; images that lack one: 2 \(1, 'b'\)"),
        (lambda c: [i.update(reference_loss=1.5, reference_tokens=-3) for i in c], "`int` >= 0"),
        (lambda c: [i.update(reference_loss=1.5, reference_tokens=2.5) for i in c], "Expected `int | null`"),
    ],
)
def test_wrong_losses_give_one_message_with_the_file_s_name(tmp_path: Path, change: Any, message: str) -> None:
    value = content()
    change(value)
    path = written(tmp_path, value)
    with pytest.raises(InputError, match=message) as error:
        read_nbest(path)
    assert str(error.value).startswith(str(path))


def test_losses_of_other_images_are_refused() -> None:
    with pytest.raises(InputError, match=r"finite losses of shape \(3, 2\); found shape \(2, 2\)"):
        replace(LISTS, losses=LOSSES[:2])
    with pytest.raises(InputError, match="or NaN"):
        replace(LISTS, losses=LOSSES * np.nan)


def test_features_are_kept_by_name_and_given_in_rows_of_images() -> None:
    found = LISTS.with_features(["length"])
    assert found.names == ("length",)
    assert found.features.tolist() == [[[3.0], [2.0], [2.0]], [[2.0], [2.0], [2.0]], [[2.0], [3.0], [2.0]]]
    assert (LISTS.with_features(["length", "log_likelihood"]).values == LISTS.values[:, ::-1]).all()
    with pytest.raises(InputError, match="no feature 'lenght'; choose among log_likelihood, length"):
        LISTS.with_features(["lenght"])
    with pytest.raises(InputError, match="each feature once, found length, length"):
        LISTS.with_features(["length", "length"])
