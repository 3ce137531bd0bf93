"""The machine of required words accepts exactly the token sequences that contain them."""

from __future__ import annotations

from itertools import product

from hypothesis import given
from hypothesis import strategies as st

from captioning.search.machine import machine_of

PHRASES = st.lists(st.integers(0, 2), min_size=1, max_size=3).map(tuple)
REQUIRED = st.lists(st.lists(PHRASES, min_size=1, max_size=3).map(tuple), max_size=3).map(tuple)


def has(tokens, phrase):
    return any(tokens[i : i + len(phrase)] == phrase for i in range(len(tokens) - len(phrase) + 1))


def run(machine, tokens):
    state = 0
    for token in tokens:
        state = machine.following[state][1 + machine.tokens.index(token) if token in machine.tokens else 0]
    return state


@given(required=REQUIRED, tokens=st.lists(st.integers(0, 3), max_size=9).map(tuple))
def test_it_accepts_what_contains_a_phrase_of_each_word(required, tokens):
    machine = machine_of(required)
    expected = all(any(has(tokens, phrase) for phrase in alternatives) for alternatives in required)
    assert (run(machine, tokens) == machine.accepting) == expected


@given(required=st.lists(st.lists(PHRASES, min_size=1, max_size=2).map(tuple), max_size=2).map(tuple))
def test_shortest_is_the_least_number_of_tokens_that_contain_all_words(required):
    machine = machine_of(required)
    accepted = (
        length
        for length in range(7)
        for tokens in product(range(3), repeat=length)
        if run(machine, tokens) == machine.accepting
    )
    assert machine.shortest == next(accepted)


def test_one_token_words_have_a_state_for_each_subset():
    for n in range(5):
        assert len(machine_of(tuple(((i,),) for i in range(n))).following) == 2**n


def test_a_phrase_has_a_state_for_each_beginning():
    assert len(machine_of((((4, 5, 6),),)).following) == 4
    assert len(machine_of((((4, 5),), ((6,),))).following) == 6
