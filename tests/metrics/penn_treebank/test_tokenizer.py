"""The tokenizer gives the same tokens as Stanford's Java program."""

from __future__ import annotations

import gzip
import itertools
import json
import logging
import string
import struct
import zipfile
from collections import deque
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from pycocoevalcap.tokenizer import ptbtokenizer

from captioning.errors import InputError
from captioning.metrics.originals import java, ptb
from captioning.metrics.penn_treebank import tokenizer as penn_treebank
from captioning.metrics.penn_treebank.lexer import Lexer, Rule
from captioning.metrics.penn_treebank.rules import NAMES, RULES
from captioning.metrics.penn_treebank.tokenizer import NAME, PUNCTUATION, tokenize

HARD = """
"straight" 'single' ''doubled'' ``latex'' “curly” ‘curly’ «guillemets» ‹single› „low“ ‚low‘ ‟odd‛ "" ''' ```
a dog's bone, the dogs' bones, dog’s, James's, dog`s, it&apos;s, '90s, '99 , the '99 dog
can't cannot Cannot CANNOT won't don’t don`t shouldn't've I'm you're we've they'll she'd n't ain't
gonna Gonna wanna gotta gimme lemme dunno 'tis 'twas 'til 'till 'em 'cause y'all d'ye o'clock O'Neill rock'n'roll
rock 'n' roll c'mon ma'am l'eau d'Artagnan s'mores e'er li'l nat'l ol' somethin' cap'n c'est nor'easter cont'd.
1,000 people 1,000,000.50 3.14 .5 -5 +5 1/2 5 1/2 1\\/2 10-12 1/2/2014 12-31-1999 10:30 10:30:15 ½ 1½ ⅓ ⅔ ¼ ¾ ⅛ x² H₂O
10:30 a.m. at 5 p.m. and 7pm, 9 AM, the 90's, 1990s, 2nd, 3rd, 21st, No. 5, no. 5, nos. 5, pp. 12, fig. 3, ca. 1900
555-1234, (555) 123-4567, (555)123-4567, +44 20 7946 0958, 555.123.4567, 1.2.3.4
Mr. and Mrs. Smith vs. Dr. No, Inc. Ltd. Co. Corp. etc. e.g. i.e. St. Ave. Blvd. Jan. Sept. Mon. Tues. a.k.a. Ph.D. Jr.
A man in the U.S. Army. In the U.S. The man. from the U.S.
the U.S. He ran. plan b. He ran. J. R. Smith. J.R.R. Tolkien. etc. The dog. etc. the dog. etc.
non-U.S. U.S.-U.K. EU-U.S. The co-op., the Co. ltd and pty. limited, abc., x-y., A&P., AT&T AT&amp;T S&P-500 C.D.s
... . . . .. .... ...... . . … a...b -- --- ---- ----- - a--b a – b a—b a―b a‐b a‑b pro-life anti-war
either/or and/or 1/2/3/4 w/o a\\/b \\* ** *** a*b # ## #1 #dog #dog_2 @ @@ @home @home_2 _ __ a_b ~ ^ | \\ = == + %
$5 US$5 C$ $ 5 5$ €5 5€ £5 ¥5 ¢5 5¢ ¤ ₤ ₹ 50% 5 %
&amp; &AMP; &lt; &gt; &quot;hi&quot; &QUOT; &apos; &nbsp; &mdash; &ndash; &eacute; caf&eacute; &#39; &odq; &x; & amp;
<b>bold</b> <br/> <a href="x y">link</a> <!-- a comment --> <?xml?> < b > <3 << >> <p class='x' id=y> a<b
<a title='over
two captions'> goes on <.[^x= and so
does this <>] smiley
http://example.com/a?b=c. https://example.com/(a) www.example.com www.example.co.uk/a, example.com
Example.COM/a#b x1.org mailto:a@b.c a@b a.b+c@example.com, <a@b.c> ftp://example.com file.txt a.tar.gz index.html,
script.py. x.jpg C# c++ f#
:) :-) ;-) :( :P :D 8) =) <3 ^_^ (^_^) -_- (>_<) o.O ^.^ :3 :-/ :)x (:
tabs\tand\tmore  spaces\u00a0and\u2003em\u3000wide\u2009thin\u202fnarrow\u205fmath
\u1680ogham \u200bzero\u200bwidth\u200d \ufeff
soft\u00adhyphen \u00ad \u00ad\u00ad 1\u00ad000 a\u00ad-b don\u00ad't
line\u0085ends\x1c\x1d\x1e\x1f \x7f 0x7f \x00nul\x01 \x80 \x91a\x92 \x93a\x94 \x96 \x97 http://a\x1c
café cafe\u0301 naïve Ñandú Æsir ß ẞ ǅ ﬁ ſtreet K É ÀÉÎ
İstanbul ISTANBUL ıi IRMAK ΟΔΥΣΣΕΥΣ ΑΣ-ΠΣ ΑΣ.ΠΣ ΑΣ Σ ΣΣ αΣ1 a@αΣ:Σ http://ΑΣ/αΣ ᾳΣ
一只狗在草地上跑。 犬が走る、 カタカナ ・ 개가 뛴다 हिंदी में কুকুর ไทย كلب يجري، ١٢٣ ۱۲ שלום dog犬
😀 a 😀 dog 👨\u200d👩\u200d👧 🏳️\u200d🌈 𝒜𝓁𝓅𝒽𝒶 𐐀𐐨 http://😀 a@😀.b 😀.com <a 😀> "😀" 😀's e\u20dd
[brackets] {braces} (parens) ([{ }]) -LRB- -lrb- -RCB- ( a ) [1] (1) 1) a)
. ? ! , : - -- ... ; ' '' ` `` ?! !? !!! ??? ¿que? ¡hola! dog.cat dog!cat dog?cat dog,cat dog;cat dog:cat
""".strip("\n").split("\n")

# What the rules match. Joined at random, these pieces meet in ways that no hand-written list covers.
TRICKY = """
n't 's 'll ' '' ` `` " cannot gonna 'tis 'twas o'clock y' d' U.S. U.S Mr. etc. No. no. Jan. fig. Inc. Ph.D. a.m. a.k.a
co. pty. ltd. The In He 1 12 555 1234 1/2 1,000 3.14 10:30 - -- --- . .. ... , ; : ? ! ( ) [ ] { } < > / \\ | * _ ^ = ~
# @ & % $ + http:// www. .com .org .txt .c &amp; &lt; &gt; &quot; &apos; &nbsp; &mdash; &eacute; &#39; <b> </a> b=" <!-
AT&T S&P-500 C.D.s -LRB- :) ;-P ^_^ (-_-) c++ C# non-U.S. -U.K. [^x= <>] 0x7f a b c d n s t A B I Z
"""
PIECES = [*TRICKY.split(), *"0123456789", " ", "  ", "\t", "\n", ". . .", ". The ", " a", '<a b="']

_letters = st.sampled_from("ΣΣΣαΑaA1.-'_,:@/&\u00ad\u0301\u0345ªᾳ中א²\u200b")
_characters = st.one_of(
    st.characters(exclude_categories=["Cs"]),
    st.characters(max_codepoint=0x2FF),
    st.characters(min_codepoint=0x2000, max_codepoint=0x2BFF),
    st.sampled_from(PIECES),
)


def assert_equal_to_java(captions: list[str]) -> None:
    ours, javas = tokenize({0: captions})[0], ptb.tokenize({0: captions})[0]
    different = [case for case in zip(captions, ours, javas, strict=True) if case[1] != case[2]]
    assert not different, f"{len(different)} captions, first {different[:3]}"


# Java is started once per list. Shrinking would start it hundreds of times.
def java_settings(examples: int) -> settings:
    return settings(
        max_examples=examples,
        suppress_health_check=list(HealthCheck),
        phases=[Phase.explicit, Phase.generate],
    )


def texts_of(pieces: st.SearchStrategy[str]) -> st.SearchStrategy[list[str]]:
    text = st.lists(pieces, max_size=12).map("".join)
    return st.lists(text, min_size=100, max_size=200)


@pytest.mark.parametrize("gap", [[], ["A dog runs."]], ids=["next", "capital"])
def test_hard_captions_have_javas_tokens_before_any_next_caption(gap: list[str]):
    assert_equal_to_java([caption for line in HARD for caption in (line, *gap)])


def test_the_words_of_hard_captions_have_javas_tokens():
    assert_equal_to_java([word for line in HARD for word in line.split()])


def test_each_character_has_javas_tokens_alone_doubled_and_in_a_word():
    characters = [chr(code) for code in range(0x10000) if not 0xD800 <= code < 0xE000]
    assert_equal_to_java([f"{c} {c}{c} a{c}b 1{c}2" for c in characters if java.one_line(c) == c])


def test_each_pair_of_quotes_has_javas_tokens():
    quotes = "\"'`\u0091\u0092\u0093\u0094«»‘’‚‛“”„‟‹›"
    assert_equal_to_java([f"{first}{second} a {first}{second}a" for first in quotes for second in quotes])


@java_settings(3)
@given(texts_of(st.sampled_from(PIECES)))
def test_any_text_of_tricky_pieces_has_javas_tokens(texts: list[str]):
    assert_equal_to_java(texts)


@java_settings(3)
@given(texts_of(_characters))
def test_any_text_of_unicode_has_javas_tokens(texts: list[str]):
    assert_equal_to_java(texts)


@java_settings(2)
@given(texts_of(_letters))
def test_sigma_ends_a_word_where_java_ends_one(texts: list[str]):
    assert_equal_to_java([f"http://{text}/" for text in texts])


@pytest.mark.slow
@java_settings(100)
@given(texts_of(st.sampled_from(PIECES)), texts_of(_characters), texts_of(_letters))
def test_any_text_has_javas_tokens(pieces: list[str], characters: list[str], letters: list[str]):
    assert_equal_to_java([*pieces, *characters, *(f"a@{text}" for text in letters)])


def test_every_text_has_the_longest_match_that_the_jar_finds(matches: dict[str, tuple[int, int]]):
    """Matches with one action in the jar also have one treatment here."""
    assert [text for text, found in matches.items() if (found[0] < 0) != (found[1] < 0)] == []
    treatments: dict[int, set[Any]] = {}
    for action, number in matches.values():
        if action >= 0:
            treatments.setdefault(action, set()).add((RULES[number].form, RULES[number].reread))
    assert len(matches) > 4_000
    assert {action: found for action, found in treatments.items() if len(found) != 1} == {}


def test_a_text_for_each_state_of_the_lexer_has_javas_tokens(matches: dict[str, tuple[int, int]]):
    assert_equal_to_java([text.replace("\n", " ") for text in matches])


@pytest.fixture(scope="module")
def matches() -> dict[str, tuple[int, int]]:
    """Find a text for each pair of states that the jar's automaton and ours reach with the same text.

    Returns:
        for each text, the jar's action and the number of our rule; -1 if nothing matches.
    """
    classes, actions, rows, successors, attributes = jar_tables().values()
    automaton = Lexer(RULES, NAMES).automaton
    sets = {part.members for part in automaton.characters}
    alphabet = {(classes[ord(c)], *(c in members for members in sets)): c for c in map(chr, range(0x10000))}
    found = {}
    seen = {(2, id(automaton.start))}  # 2 is the jar's start state with its default options
    queue = deque([("", 2, automaton.start)])
    while queue:
        before, row, state = queue.popleft()
        for (column, *_), character in alphabet.items():
            next_row, next_state = -1 if row < 0 else successors[rows[row] + column], state[character]
            if (next_row, id(next_state)) in seen or (next_row < 0 and next_state is automaton.dead):
                continue
            seen.add((next_row, id(next_state)))
            text = before + character
            matched = next_row >= 0 and attributes[next_row] & 1
            found[text] = (actions[next_row] if matched else -1, -1 if next_state.ended is None else next_state.ended)
            queue.append((text, next_row, next_state))
    return found


def jar_tables() -> dict[str, list[int]]:
    """Read the tables of the automaton that JFlex generated for CoreNLP's PTBLexer."""
    jar = Path(ptbtokenizer.__file__).with_name(ptbtokenizer.STANFORD_CORENLP_3_4_1_JAR)
    with zipfile.ZipFile(jar) as file:
        constants = string_constants(file.read("edu/stanford/nlp/process/PTBLexer.class"))
    tables = {}
    for table in ("CMAP", "ACTION", "ROWMAP", "TRANS", "ATTRIBUTE"):
        names = sorted(name for name in constants if name.startswith(f"ZZ_{table}_PACKED"))
        codes = [ord(code) for name in names for code in constants[name]]
        pairs = list(zip(codes[::2], codes[1::2], strict=True))
        tables[table] = [value for count, value in pairs for value in [value] * count]
        if table == "ROWMAP":
            tables[table] = [high << 16 | low for high, low in pairs]
    tables["TRANS"] = [value - 1 for value in tables["TRANS"]]
    return tables


def string_constants(code: bytes) -> dict[str, str]:
    """Read the string constants of a Java class: The Java Virtual Machine Specification, chapter 4."""
    sizes = {
        3: 4,
        4: 4,
        5: 8,
        6: 8,
        7: 2,
        8: 2,
        9: 4,
        10: 4,
        11: 4,
        12: 4,
    }  # of the constant pool's entries, except text
    at = 8

    def read(format: str) -> tuple[int, ...]:
        nonlocal at
        values = struct.unpack_from(f">{format}", code, at)
        at += struct.calcsize(f">{format}")
        return values

    pool: dict[int, Any] = {0: ""}
    (count,), index = read("H"), 1
    while index < count:
        (tag,) = read("B")
        if tag == 1:
            (size,) = read("H")
            pool[index] = code[at : at + size].replace(b"\xc0\x80", b"\0").decode("utf-8", "surrogatepass")
            at += size
        else:
            pool[index] = struct.unpack_from(">H", code, at)[0] if tag == 8 else 0  # a string refers to its text
            at += sizes[tag]
        index += 2 if tag in (5, 6) else 1
    read("3H")
    (interfaces,) = read("H")
    read(f"{interfaces}H")
    found = {}
    for _ in range(*read("H")):
        _, name, _, attributes = read("4H")
        for _ in range(attributes):
            attribute, size = read("HI")
            if pool[attribute] == "ConstantValue":
                found[pool[name]] = pool[pool[struct.unpack_from(">H", code, at)[0]]]
            at += size
    return found


def test_tokens_are_lower_case_without_punctuation():
    assert tokenize({"a": ['A dog\'s "Frisbee", (red).']}) == {"a": ["a dog 's frisbee -lrb- red -rrb-"]}


def test_the_last_token_depends_on_the_next_caption():
    assert tokenize({1: ["a dog etc."], 2: ["The cat"]}) == {1: ["a dog etc."], 2: ["the cat"]}
    assert tokenize({1: ["this is plan a."], 2: ["The cat"]}) == {1: ["this is plan a"], 2: ["the cat"]}
    assert tokenize({1: ["this is plan a."], 2: ["the cat"]}) == {1: ["this is plan a."], 2: ["the cat"]}


def test_empty_captions_and_groups_stay():
    assert tokenize({1: ["", "a"], 2: [], 3: ["."], 4: [""]}) == {1: ["", "a"], 2: [], 3: [""], 4: [""]}
    assert tokenize({5: []}) == {5: []}
    assert tokenize({}) == {}


def test_line_ends_in_a_caption_are_spaces():
    ends = ["\n", "\r", "\r\n", "\v", "\f", "\u2028", "\u2029"]
    assert tokenize({0: [f"A dog{end}runs" for end in ends]}) == {0: ["a dog runs"] * len(ends)}


def test_long_caption_is_tokenized():
    assert tokenize({0: ["A dog's " * 10_000]}) == {0: [" ".join(["a dog 's"] * 10_000)]}
    assert tokenize({0: ["a" * 100_000 + "'s"]}) == {0: ["a" * 100_000 + " 's"]}


def test_deleted_characters_are_reported(caplog: pytest.LogCaptureFixture):
    with caplog.at_level(logging.WARNING):
        assert tokenize({1: ["a 😀 dog \x01"]}) == {1: ["a dog"]}
    assert "deleted 2 unknown characters, the first is '😀'" in caplog.text


def test_half_a_surrogate_pair_is_reported():
    with pytest.raises(InputError, match=r"half of a surrogate pair \('\\ud83d'\) in the caption 'a \\ud83d dog'"):
        tokenize({1: ["a cat"], 2: ["a \ud83d dog"]})


def test_punctuation_is_pycocoevalcaps():
    assert frozenset(ptbtokenizer.PUNCTUATIONS) == PUNCTUATION
    assert "CoreNLP 3.4.1" in NAME


def test_no_java_is_needed(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(java, "start", None)
    assert tokenize({1: ["A dog."]}) == {1: ["a dog"]}


def split(text: str, rules: list[Rule], **names: str) -> list[tuple[int, str]]:
    return [(rules.index(rule), token) for rule, token in Lexer(rules, names).tokens(text)]


def test_longest_match_wins_and_among_equals_the_first_rule():
    rules = [Rule("a | ab"), Rule("[a-z]+"), Rule("abc"), Rule("{DIGIT}{2,3}"), Rule(r"[^\]]")]
    assert split("ab", rules, DIGIT="[0-9]") == [(0, "ab")]
    assert split("abc", rules, DIGIT="[0-9]") == [(1, "abc")]
    assert split("AB]", [*rules, Rule(r"\]")], DIGIT="[0-9]") == [(0, "AB"), (5, "]")]
    assert split("12345671", rules, DIGIT="[0-9]") == [(3, "123"), (3, "456"), (3, "71")]


def test_required_context_counts_for_the_length_and_is_not_consumed():
    rules = [Rule("a+", before="x+"), Rule("[a-z]+")]
    assert split("aaxx", rules) == [(0, "aa"), (1, "xx")]
    assert split("aaxxb", rules) == [(1, "aaxxb")]


def test_a_token_is_as_long_as_its_required_context_allows():
    assert split("aaax", [Rule("a+", before="a*x"), Rule("[a-z]")]) == [(0, "aaa"), (1, "x")]
    assert split("aaax", [Rule("a+", before="aa*x"), Rule("[a-z]")]) == [(0, "aa"), (1, "a"), (1, "x")]


def test_the_end_of_a_token_can_be_read_again():
    rules = [Rule("a-", str.upper, reread=1), Rule("[^a]")]
    assert split("a-b", rules) == [(0, "a-"), (1, "-"), (1, "b")]


def real_captions(shared: Path) -> dict[str, list[str]]:
    """Read the captions of Flickr8k, COCO's validation split and Multi30k."""
    data = shared / "data"
    flickr8k = (data / "flickr8k" / "Flickr8k.token.txt").read_text(encoding="utf-8").splitlines()
    coco = json.loads((data / "coco_captions" / "captions_val2017.json").read_text(encoding="utf-8"))
    captions = {
        "flickr8k": [line.partition("\t")[2] for line in flickr8k],
        "coco": [annotation["caption"] for annotation in coco["annotations"]],
    }
    for path in sorted((data / "multi30k").glob("*.gz")):
        captions[path.stem] = gzip.decompress(path.read_bytes()).decode().splitlines()
    return captions


@pytest.mark.shared
def test_real_captions_have_javas_tokens(shared: Path):
    captions = real_captions(shared)
    assert [len(captions[name]) for name in ("flickr8k", "coco", "train.en", "val.en")] == [
        35_000,
        25_014,
        29_000,
        1_014,
    ]
    for texts in captions.values():
        assert_equal_to_java(texts)


def test_no_rule_matches_across_a_space_between_letters():
    automaton = penn_treebank._lexer().automaton
    assert all(automaton.start[" "][letter].is_last for letter in string.ascii_letters)
    reached, found = {id(automaton.start)}, [automaton.start]
    for state in found:  # every state that letters reach
        following = [state[letter] for letter in string.ascii_letters]
        found += {id(new): new for new in following if id(new) not in reached}.values()
        reached |= set(map(id, following))
    assert len(found) > 100
    assert all(state[" "].is_last for state in found[1:])


def test_words_between_spaces_have_the_same_tokens_as_in_a_text():
    lexer = penn_treebank._lexer()
    words = ["a", "cannot", "gonna", "Mr", "No", "art", "U", "May", "cm", "Oklahoma", "ol", "don", "x" * 50]
    for word, other in itertools.product(words, words):
        text = f"{word} {other} {word} "
        expected = [rule.form(token) for rule, token in lexer.tokens(text)]
        assert tokenize({1: [f"{text}end"]})[1][0].split()[:-1] == [token.lower() for token in expected if token]


WORDS = st.sampled_from(["a", "Dog", "cannot", "Mr", "U.S", "no", "plan", "<b", "co", "5", "'s"])
ENDS = st.sampled_from([".", " .", "", "!", "?.", "...", ":)", " ,", ">", "&"])


@given(st.lists(st.tuples(st.lists(WORDS), ENDS), min_size=1))
def test_captions_that_end_as_others_do_have_the_tokens_of_the_lexer(captions: list[tuple[list[str], str]]):
    texts = [" ".join(words) + end for words, end in captions]
    found = tokenize({0: texts})
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(penn_treebank, "_simple_caption", lambda *_: None)
        assert tokenize({0: texts}) == found
