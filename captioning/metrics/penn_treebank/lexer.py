r"""A lexer by rules as lex and JFlex have them: at each place the longest match wins, among equals the first rule.

Python's `re` takes the first alternative that matches, which is another language. So the rules become one
deterministic automaton here, straight from the positions of their characters and which may follow which: Aho, Sethi
and Ullman, "Compilers: Principles, Techniques, and Tools" (1986), section 3.9. A state is made when a text needs it.

Patterns are those of JFlex with `%caseless`, less what nothing here uses:

    a              the character; a letter of ASCII in both cases and with what Unicode folds to it
    \.  \u2019     the character behind the backslash, or of this code; \t, \n, \r, \v and \f as everywhere
    [a-z]  [^a-z]  one of these characters, one of all others; here case counts, and so does a space
    {NAME}         the characters or the pattern of that name
    (r)  r s  r|s  a group, one after the other (white space is for the eye), one or the other
    r*  r+  r?     any number, at least one, at most one
    r{2}  r{2,4}   two, two to four
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass
from typing import NamedTuple

# What a letter matches beside its two cases; the Turkish i's are folded too.
_FOLDED = {"i": "\u0130\u0131", "k": "\u212a", "s": "\u017f"}


@dataclass(frozen=True)
class Rule:
    """A rule of a lexer.

    Args:
        pattern: what its tokens look like.
        form: makes of the matched text what is written as the token; None where nothing is written.
        before: a pattern that must follow the token; it counts for which match is the longest.
        reread: how many characters at the token's end are read again, as the start of the next.
    """

    pattern: str
    form: Callable[[str], str | None] = str
    before: str = ""
    reread: int = 0


class Lexer:
    """Cuts a text into tokens.

    Args:
        rules: the rules, the one that wins among equally long matches first; some rule must match any character.
        names: sets of characters and patterns that the rules, and the names after them, use by name.
    """

    def __init__(self, rules: Sequence[Rule], names: Mapping[str, str | frozenset[str]]) -> None:
        parser = _Parser(names)
        parts = [(parser.parse(rule.pattern), parser.parse(rule.before)) for rule in rules]
        self.rules = rules
        self.automaton = Automaton([_Chain(part) for part in parts])
        self.parts = {
            number: (Automaton([token]), Automaton([before]))
            for number, (token, before) in enumerate(parts)
            if rules[number].before
        }

    def tokens(self, text: str) -> Iterator[tuple[Rule, str]]:
        """The rule and the text of each token in turn."""
        at = 0
        while at < len(text):
            rule, token, at = self.token(text, at)
            yield rule, token

    def token(self, text: str, at: int) -> tuple[Rule, str, int]:
        """The rule and the text of the token that begins at a place, and where the next one begins."""
        number, end = self.automaton.longest(text, at)
        rule, token = self.rules[number], text[at:end]
        if rule.before:
            token = self._without_what_follows(number, token)
        return rule, token, at + len(token) - rule.reread

    def _without_what_follows(self, number: int, text: str) -> str:
        """The token in a match of it and of what must follow: the longest that leaves a match of the latter."""
        token, before = self.parts[number]
        lengths = reversed(token.lengths(text))
        return next(text[:length] for length in lengths if len(text) - length in before.lengths(text[length:]))


class Automaton:
    """A deterministic automaton of several patterns.

    A position is a character of a pattern, or the end of one; a state is the set of positions that may come next.

    Attributes:
        characters: what each position matches.
        start: the state before the first character.
        dead: the state from which no pattern matches any more.
    """

    def __init__(self, patterns: Sequence[_Node]) -> None:
        self.characters: list[Characters] = []
        self._follow: list[set[int]] = []  # the positions that may come after each
        self._ended: dict[int, int] = {}  # the end of each pattern -> its number
        self._states: dict[frozenset[int], State] = {}
        start: set[int] = set()
        for number, pattern in enumerate(patterns):
            nullable, first, last = self._place(pattern)
            end = self._new_position(Characters(frozenset()))
            self._ended[end] = number
            start |= first | {end} if nullable else first
            for position in last:
                self._follow[position].add(end)
        self.start = self.state(start)
        self.dead = self.state(set())

    def longest(self, text: str, start: int) -> tuple[int, int]:
        """The longest match from `start` on: the number of its pattern, the first of several, and its end."""
        state = self.start
        number, end = -1, start
        for position in range(start, len(text)):
            state = state[text[position]]
            if state.ended is not None:
                number, end = state.ended, position + 1
            elif state is self.dead:
                break
        return number, end

    def lengths(self, text: str) -> list[int]:
        """The lengths of all matches from the start of the text on, the shortest first."""
        state = self.start
        lengths = []
        for length, character in enumerate(text, 1):
            state = state[character]
            if state.ended is not None:
                lengths.append(length)
        return lengths

    def state(self, positions: Set[int]) -> State:
        """The state in which these positions may come next."""
        key = frozenset(positions)
        if key not in self._states:
            ended = min((self._ended[position] for position in key if position in self._ended), default=None)
            moves: dict[Characters, set[int]] = {}
            for position in key:
                moves.setdefault(self.characters[position], set()).update(self._follow[position])
            self._states[key] = State(self, moves, ended)
        return self._states[key]

    def _new_position(self, characters: Characters) -> int:
        self.characters.append(characters)
        self._follow.append(set())
        return len(self._follow) - 1

    def _place(self, node: _Node) -> tuple[bool, set[int], set[int]]:
        """Give a pattern its positions; returns whether it matches the empty text, its first and its last ones."""
        match node:
            case Characters():
                position = self._new_position(node)
                return False, {position}, {position}
            case _Choice(parts):
                placed = [self._place(part) for part in parts]
                firsts, lasts = [first for _, first, _ in placed], [last for _, _, last in placed]
                return any(nullable for nullable, _, _ in placed), set().union(*firsts), set().union(*lasts)
            case _Repeated(part):
                nullable, first, last = self._place(part)
                self._link(last, first)
                return nullable, first, last
            case _Chain(parts):
                nullable, first, last = True, set[int](), set[int]()
                for part in parts:
                    part_nullable, part_first, part_last = self._place(part)
                    self._link(last, part_first)
                    first = first | part_first if nullable else first
                    last = last | part_last if part_nullable else part_last
                    nullable = nullable and part_nullable
                return nullable, first, last

    def _link(self, positions: set[int], following: set[int]) -> None:
        for position in positions:
            self._follow[position] |= following


class State(dict[str, "State"]):
    """A state of an automaton: a character -> the next state, found out when first asked for.

    Attributes:
        ended: the number of the pattern that may end here, the first of several, or None.
    """

    __slots__ = ("_automaton", "_moves", "ended")

    def __init__(self, automaton: Automaton, moves: Mapping[Characters, Set[int]], ended: int | None) -> None:
        super().__init__()
        self._automaton = automaton
        self._moves = moves
        self.ended = ended

    @property
    def is_last(self) -> bool:
        """Whether every character leads to the dead state."""
        return not any(members or negated for members, negated in self._moves)

    def __missing__(self, character: str) -> State:
        following: set[int] = set()
        for (members, negated), positions in self._moves.items():
            if (character in members) is not negated:
                following |= positions
        state = self[character] = self._automaton.state(following)
        return state


class Characters(NamedTuple):
    """One of some characters, or one of all others."""

    members: frozenset[str]
    negated: bool = False


@dataclass(frozen=True)
class _Chain:
    parts: Sequence[_Node]


@dataclass(frozen=True)
class _Choice:
    parts: Sequence[_Node]


@dataclass(frozen=True)
class _Repeated:
    """Once or more often."""

    part: _Node


_Node = Characters | _Chain | _Choice | _Repeated

_CHARACTER = r"\\u[0-9A-Fa-f]{4}|\\.|[^\\\]]"
_PIECE = re.compile(
    rf"""\[(?P<negated>\^?)(?P<members>(?:{_CHARACTER})+)\]
    | \{{(?P<name>[A-Z_]+)\}}
    | \{{(?P<least>\d+)(?:,(?P<most>\d+))?\}}
    | (?P<operator>[()|*+?])
    | \s+
    | (?P<literal>{_CHARACTER})""",
    re.VERBOSE,
)
_RANGE = re.compile(f"({_CHARACTER})(?:-({_CHARACTER}))?")
_CONTROLS = {r"\t": "\t", r"\n": "\n", r"\r": "\r", r"\v": "\v", r"\f": "\f"}


class _Parser:
    """Reads patterns, by recursive descent."""

    def __init__(self, names: Mapping[str, str | frozenset[str]]) -> None:
        self._names: dict[str, _Node] = {}
        for name, pattern in names.items():
            self._names[name] = self.parse(pattern) if isinstance(pattern, str) else Characters(pattern)

    def parse(self, pattern: str) -> _Node:
        self._pieces = [piece for piece in _PIECE.finditer(pattern) if piece.lastgroup]
        self._pieces.reverse()
        node = self._choice()
        assert not self._pieces, pattern
        return node

    def _choice(self) -> _Node:
        parts = [self._chain()]
        while self._next_is("|"):
            self._pieces.pop()
            parts.append(self._chain())
        return _Choice(parts)

    def _chain(self) -> _Node:
        parts: list[_Node] = []
        while self._pieces and not self._next_is("|", ")"):
            parts.append(self._repeated())
        return _Chain(parts)

    def _repeated(self) -> _Node:
        node = self._atom()
        while self._pieces:
            if self._next_is("*"):
                node = _optional(_Repeated(node))
            elif self._next_is("+"):
                node = _Repeated(node)
            elif self._next_is("?"):
                node = _optional(node)
            elif self._pieces[-1]["least"]:
                least = int(self._pieces[-1]["least"])
                most = int(self._pieces[-1]["most"] or least)
                node = _Chain([*[node] * least, *[_optional(node)] * (most - least)])
            else:
                break
            self._pieces.pop()
        return node

    def _atom(self) -> _Node:
        piece = self._pieces.pop()
        if piece["operator"]:
            node = self._choice()
            self._pieces.pop()
            return node
        if piece["name"]:
            return self._names[piece["name"]]
        if piece["members"]:
            return Characters(_members(piece["members"]), negated=bool(piece["negated"]))
        character = _character(piece["literal"])
        if not character.isascii():
            return Characters(frozenset(character))
        return Characters(frozenset(character.lower() + character.upper() + _FOLDED.get(character.lower(), "")))

    def _next_is(self, *operators: str) -> bool:
        return bool(self._pieces) and self._pieces[-1]["operator"] in operators


def _optional(node: _Node) -> _Node:
    return _Choice((node, _Chain(())))


def _members(text: str) -> frozenset[str]:
    ranges = [(ord(_character(first)), ord(_character(last or first))) for first, last in _RANGE.findall(text)]
    return frozenset(chr(code) for first, last in ranges for code in range(first, last + 1))


def _character(text: str) -> str:
    if text.startswith(r"\u"):
        return chr(int(text[2:], 16))
    return _CONTROLS.get(text, text[-1])
