"""NaN and a beam that is too large are found before they become captions or exhaust the memory."""

from __future__ import annotations

import re

import pytest
import torch

from captioning.errors import InputError
from captioning.search import BeamSearch, CoveringSearch, Forbid, GreedySearch, Sampling
from captioning.search import log_probs as module
from captioning.search.log_probs import available_memory, check_memory, next_log_probs

SEARCHES = {
    "greedy": GreedySearch(max_length=5),
    "beam": BeamSearch(max_length=5, beam_size=3),
    "sampling": Sampling(max_length=5, num_samples=2),
}
CPU = torch.device("cpu")


@pytest.mark.parametrize("search", SEARCHES.values(), ids=SEARCHES)
@pytest.mark.parametrize("value", [torch.nan, torch.inf])
def test_nan_is_refused_with_the_step_and_the_image(search, random_chain, special, value):
    decoder = random_chain(4, 7, 5, seed=3)
    decoder.tables[..., special.eos] = -9.0  # no image leaves before
    decoder.tables[2, 1, :, 9] = value
    with pytest.raises(InputError, match=r"the image in row 2 of the batch: at word 2, the decoder's logits hold NaN"):
        search(decoder, decoder.features, special)


@pytest.mark.parametrize("search", SEARCHES.values(), ids=SEARCHES)
def test_a_processor_s_nan_is_refused(search, random_chain, special):
    def wrong(step, tokens, log_probs):
        return log_probs.index_fill(1, torch.tensor([5]), torch.nan) if step == 1 else log_probs

    decoder = random_chain(2, 7, 5, seed=3)
    with pytest.raises(InputError, match=r"at word 2, a processor of the search gives NaN"):
        type(search)(**{**search.settings(), "processors": [wrong]})(decoder, decoder.features, special)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64])
@pytest.mark.parametrize("shape", [(1, 1), (3, 7), (5, 8), (4, 33), (7, 1001)])
def test_one_wrong_logit_anywhere_is_found(shape, dtype):
    # The check reads one column, because log-softmax spreads NaN over the row. This must hold for every width.
    rows, width = shape
    for at in {0, width // 2, width - 1}:
        for value in (torch.nan, torch.inf):
            logits = torch.randn(shape, dtype=dtype)
            logits[rows - 1, at] = value
            with pytest.raises(InputError, match=f"row {rows + 1} of the batch: at word 4"):
                next_log_probs(logits, (), 3, torch.zeros(rows, 3), torch.arange(rows) + 2)
    with pytest.raises(InputError, match="NaN or infinity"):
        next_log_probs(torch.full(shape, -torch.inf), (), 0, torch.zeros(rows, 0), torch.arange(rows))


def test_log_probs_are_those_of_the_decoder_with_the_processors(special):
    logits, tokens, images = torch.randn(6, 7), torch.zeros(6, 0), torch.tensor([4, 9])
    expected = logits.double().log_softmax(1).float()
    torch.testing.assert_close(next_log_probs(logits, (), 0, tokens, images), expected)
    processed = next_log_probs(logits.double(), [Forbid([1]), Forbid([3])], 0, tokens, images)
    assert processed.dtype == torch.float32
    torch.testing.assert_close(processed, expected.index_fill(1, torch.tensor([1, 3]), -torch.inf))


def test_impossible_tokens_are_no_nan(chain, special, spell):
    decoder = chain({"^": {"a": 1.0}, "a": {"$": 1.0}})  # all other logits are -inf
    for search in SEARCHES.values():
        found = search(decoder, decoder.features, special)
        assert spell(found.tokens[0, 0]) == "a$"


def test_a_search_that_does_not_fit_names_the_numbers_and_smaller_settings(monkeypatch):
    monkeypatch.setattr(module, "available_memory", lambda device: 12 * 10**9)
    check_memory(100, 100, 100_000, CPU, setting="beam_size")  # exactly
    with pytest.raises(InputError) as error:
        check_memory(200, 1024, 100_000, CPU, setting="beam_size")
    assert str(error.value) == (
        "the search does not fit in memory: 200 images x 1,024 rows x 100,000 tokens x 4 bytes x 3 are 245.8 GB, and "
        "12.0 GB are available; use beam_size=50 or batches of 9 images"
    )
    check_memory(200, 50, 100_000, CPU, setting="beam_size")
    check_memory(9, 1024, 100_000, CPU, setting="beam_size")


@pytest.mark.parametrize(
    ("num_images", "rows", "advice"),
    [
        (20_000, 1, "use batches of 10,000 images"),
        (1, 20_000, "use beam_size=10000"),
        (20_000, 20_000, "use a smaller beam_size and smaller batches"),
    ],
)
def test_only_settings_that_can_help_are_proposed(monkeypatch, num_images, rows, advice):
    monkeypatch.setattr(module, "available_memory", lambda device: 12 * 10**9)
    with pytest.raises(InputError, match=re.escape(advice) + "$"):
        check_memory(num_images, rows, 100_000, CPU, setting="beam_size")


@pytest.mark.parametrize(
    "search",
    [
        GreedySearch(),
        BeamSearch(beam_size=1000),
        Sampling(num_samples=1000),
        CoveringSearch(concepts=[4], beam_size=1000),
    ],
    ids=lambda value: type(value).__name__,
)
def test_every_search_checks_its_memory_before_it_starts(monkeypatch, random_chain, special, search):
    decoder = random_chain(3, 7, 30, seed=3)
    monkeypatch.setattr(module, "available_memory", lambda device: 2 * 12 * decoder.vocab_size)
    with pytest.raises(InputError, match="does not fit in memory: 3 images x"):
        search(decoder, decoder.features, special)
    assert not decoder.rows


def test_available_memory_is_read_where_the_system_says_it(tmp_path, monkeypatch):
    meminfo = tmp_path / "meminfo"
    monkeypatch.setattr(module, "_MEMINFO", meminfo)
    assert available_memory(CPU) is None
    meminfo.write_text("MemTotal:       9 kB\nMemFree:  1 kB\nMemAvailable:    7 kB\n")
    assert available_memory(CPU) == 7 * 1024
    meminfo.write_text("MemTotal:       9 kB\n")
    assert available_memory(CPU) is None
    assert available_memory(torch.device("meta")) is None
