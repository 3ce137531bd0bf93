"""What a beam search considered, against a search that keeps books by hand over small vocabularies."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from captioning.errors import InputError
from captioning.search import BeamSearch, Forbid
from captioning.search.beam_record import Candidate, Outcome, hypotheses, record

TRAP = {
    "^": {"a": 0.6, "b": 0.4},
    "a": {"$": 0.4, "a": 0.25, "b": 0.35},
    "b": {"$": 0.9, "a": 0.05, "b": 0.05},
}


@pytest.fixture
def told(spell):
    """{prefix: (probability, outcome)} of candidates."""
    return lambda candidates: {
        spell(torch.tensor(one.tokens)): (pytest.approx(math.exp(one.log_prob)), one.outcome.value)
        for one in candidates
    }


def test_each_continuation_has_its_outcome(chain, special, told):
    decoder = chain(TRAP)
    found = record(BeamSearch(beam_size=2), decoder, decoder.features, special)
    assert told(found.candidates) == {
        "a": (0.6, "continued"),
        "b": (0.4, "continued"),
        "b$": (0.36, "hypothesis"),
        "a$": (0.24, "outranked"),
        "ab": (0.21, "stopped"),
        "aa": (0.15, "stopped"),
    }
    assert [one.log_prob for one in found.candidates[2:]] == sorted(
        (one.log_prob for one in found.candidates[2:]), reverse=True
    )


def test_what_a_processor_forbids_is_named_if_it_would_have_been_among_the_best(chain, special, told):
    decoder = chain(TRAP)
    found = record(BeamSearch(beam_size=1, processors=[Forbid([4])]), decoder, decoder.features, special)
    assert told(found.candidates) == {"a": (0.6, "forbidden"), "b": (0.4, "continued"), "b$": (0.36, "hypothesis"),
                                      "bb": (0.02, "stopped")}  # fmt: skip
    assert [one.forbidden_by for one in found.candidates] == ["Forbid", None, None, None]  # bb .02 comes before ba .02


@pytest.mark.parametrize(
    ("allowed", "outcome", "name"), [(True, "continued", None), (False, "forbidden", "allow_unknown=False")]
)
def test_an_unknown_word_is_forbidden_by_the_setting(chain, special, told, allowed, outcome, name):
    decoder = chain({"^": {"?": 0.7, "a": 0.3}, "a": {"$": 1.0}, "?": {"$": 1.0}})
    found = record(BeamSearch(beam_size=1, allow_unknown=allowed), decoder, decoder.features, special)
    assert told(found.candidates)["?"] == (0.7, outcome)
    assert found.candidates[0].forbidden_by == name


def test_prefixes_at_the_maximum_length_are_too_long_unless_they_fill_the_list(chain, special, told):
    decoder = chain({"^": {"a": 0.7, "b": 0.3}, "a": {"a": 1.0}, "b": {"b": 1.0}})
    found = record(BeamSearch(beam_size=2, max_length=2), decoder, decoder.features, special)
    assert told(found.candidates) == {"a": (0.7, "continued"), "b": (0.3, "continued"), "aa": (0.7, "hypothesis"),
                                      "bb": (0.3, "too long")}  # fmt: skip


def test_several_images_are_refused(chain, special):
    decoder = chain(TRAP, TRAP)
    with pytest.raises(InputError, match="for one image; found features of 2"):
        record(BeamSearch(), decoder, decoder.features, special)


def by_hand(decoder, search: BeamSearch, forbidden: set[int], special) -> list[tuple[tuple[int, ...], float, Outcome]]:
    """Search with lists, in float64, and write down what becomes of each continuation."""
    tables = decoder.tables[0].double().log_softmax(2)
    beam, ended, book = {(): 0.0}, {}, []
    for t in range(search.max_length):
        possible, refused = {}, {}
        for prefix, score in beam.items():
            for word in range(decoder.vocab_size):
                value = score + tables[t, prefix[-1] if prefix else special.bos, word].item()
                if word in (special.pad, special.bos):
                    continue
                (refused if word in forbidden else possible)[(*prefix, word)] = value
        best = sorted(possible, key=possible.__getitem__, reverse=True)[: 2 * search.beam_size]
        worst = possible[best[search.beam_size - 1]] if len(best) >= search.beam_size else -math.inf
        most = sorted((p for p in refused if refused[p] > worst), key=refused.__getitem__, reverse=True)
        book += [[p, refused[p], Outcome.FORBIDDEN] for p in most[: search.beam_size]]
        for p in best[: search.beam_size]:
            if p[-1] == special.eos:
                ended[p] = possible[p] / (t + 1) ** search.length_normalization
        alive = [p for p in best if p[-1] != special.eos][: search.beam_size]
        step = [[p, possible[p], Outcome.PRUNED] for p in best]
        book += step
        for entry in step:
            if entry[0] in ended:
                entry[2] = Outcome.OUTRANKED
        ranks = sorted(ended.values(), reverse=True)
        bound = max((possible[p] / search.max_length**search.length_normalization for p in alive), default=-math.inf)
        stop = len(ranks) >= search.num_best and ranks[search.num_best - 1] >= bound
        last = t + 1 == search.max_length
        for entry in step:
            if entry[0] in alive:
                entry[2] = Outcome.TOO_LONG if last else Outcome.STOPPED if stop or not alive else Outcome.CONTINUED
        beam = {p: possible[p] for p in alive}
        if stop or last or not alive:
            break
    found = sorted(ended, key=ended.__getitem__, reverse=True)[: search.num_best]
    if last:
        found += list(beam)[: search.num_best - len(found)]
    return [(p, value, Outcome.HYPOTHESIS if p in found else outcome) for p, value, outcome in book]


@settings(max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    seed=st.integers(0, 10**6),
    num_words=st.integers(1, 7),
    max_length=st.integers(1, 6),
    beam_size=st.integers(1, 4),
    num_best=st.integers(1, 4),
    alpha=st.sampled_from([0.0, 1.0]),
    allow_unknown=st.booleans(),
    forbid=st.booleans(),
)
def test_the_record_is_that_of_a_search_by_hand_and_the_result_the_search_s_own(
    random_chain, special, seed, num_words, max_length, beam_size, num_best, alpha, allow_unknown, forbid
):
    decoder = random_chain(1, num_words, max_length, seed)
    search = BeamSearch(
        beam_size=beam_size,
        max_length=max_length,
        num_best=min(num_best, beam_size),
        length_normalization=alpha,
        allow_unknown=allow_unknown,
        processors=[Forbid([4])] if forbid else [],
    )
    found = record(search, decoder, decoder.features, special)
    expected = search(decoder, decoder.features, special)
    for name, value in vars(expected).items():
        assert torch.equal(getattr(found.found, name), value), name

    refused = ({4} if forbid else set()) | (set() if allow_unknown else {special.unk})
    book = {p: (value, outcome) for p, value, outcome in by_hand(decoder, search, refused, special)}
    told = {one.tokens: one for one in found.candidates}
    assert len(told) == len(found.candidates)

    def names(one: Candidate) -> str | None:
        unknown = one.tokens[-1] == special.unk
        return None if one.outcome is not Outcome.FORBIDDEN else "allow_unknown=False" if unknown else "Forbid"

    # Each processor names at most K, so more than K in all may be forbidden.
    extra = {p for p, one in told.items() if p not in book}
    assert all(told[p].outcome is Outcome.FORBIDDEN for p in extra)
    assert {p: one.outcome for p, one in told.items() if p not in extra} == {p: own for p, (_, own) in book.items()}
    for prefix, (value, _) in book.items():
        assert told[prefix].log_prob == pytest.approx(value, abs=1e-4)
    assert all(one.forbidden_by == names(one) for one in found.candidates)
    assert {one.tokens for one in found.candidates if one.outcome is Outcome.HYPOTHESIS} == set(hypotheses(expected))
