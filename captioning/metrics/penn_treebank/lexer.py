r"""A lexer with the rules of lex and JFlex: the longest match wins, and the first rule among equally long matches.

Python's `re` cannot do this, because it takes the first alternative that matches. Here, the rules are compiled to one
deterministic automaton by the method of Aho, Sethi and Ullman, "Compilers: Principles, Techniques, and Tools" (1986),
section 3.9: a state is a set of positions in the rules, and its next states come from the positions that may follow.
States are built when a text first reaches them.

Patterns use this part of JFlex's syntax with `%caseless`:

    a              the character; an ASCII letter matches both cases and the characters that Unicode folds to it
    \.  \u2019     an escaped character, a code point; \t, \n, \r, \v and \f as usual
    [a-z]  [^a-z]  one of these characters, one of all others; case and spaces are significant here
    {NAME}         the characters or the pattern with that name
    (r)  r s  r|s  group, sequence (white space is ignored), alternatives
    r*  r+  r?     zero or more, one or more, zero or one
    r{2}  r{2,4}   exactly two, two to four
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass
from typing import NamedTuple

# What a letter matches besides its two cases. The Turkish i's are folded too.
_FOLDED = {"i": "\u0130\u0131", "k": "\u212a", "s": "\u017f"}


@dataclass(frozen=True)
class Rule:
    """A lexer rule.

    Args:
        pattern: the pattern of a token.
        form: maps the matched text to the token, or to None for no token.
        before: a pattern that must follow the token; it counts towards the length of the match.
        reread: how many characters at the end of the match are read again as the start of the next token.
    """

    pattern: str
    form: Callable[[str], str | None] = str
    before: str = ""
    reread: int = 0


class Lexer:
    """Split a text into tokens.

    Args:
        rules: the rules in order of priority; together they must match every character.
        names: named character sets and patterns, which rules and later names may refer to.
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
        """Yield the rule and the matched text of each token."""
        at = 0
        while at < len(text):
            rule, token, at = self.token(text, at)
            yield rule, token

    def token(self, text: str, at: int) -> tuple[Rule, str, int]:
        """Return the rule and matched text of the token that starts at `at`, and the start of the next one."""
        number, end = self.automaton.longest(text, at)
        rule, token = self.rules[number], text[at:end]
        if rule.before:
            token = self._without_context(number, token)
        return rule, token, at + len(token) - rule.reread

    def is_decided(self, text: str, at: int) -> bool:
        """Say whether the token that starts at `at` is the same whatever follows the text."""
        return self.automaton.dies(text, at)

    def _without_context(self, number: int, text: str) -> str:
        """Return the longest token such that the rest of the match still matches `before`."""
        token, before = self.parts[number]
        lengths = reversed(token.lengths(text))
        return next(text[:length] for length in lengths if len(text) - length in before.lengths(text[length:]))


class Automaton:
    """A deterministic automaton for several patterns.

    A position is a character of a pattern or the end of a pattern. A state is the set of positions that may come next.

    Attributes:
        characters: the characters that each position matches.
        start: the state before the first character.
        dead: the state from which no pattern can match.
    """

    def __init__(self, patterns: Sequence[_Node]) -> None:
        self.characters: list[Characters] = []
        self._follow: list[set[int]] = []  # the positions that may follow each position
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
        """Find the longest match from `start`: the number of its pattern (the first of several) and its end."""
        state = self.start
        number, end = -1, start
        for position in range(start, len(text)):
            state = state[text[position]]
            if state.ended is not None:
                number, end = state.ended, position + 1
            elif state is self.dead:
                break
        return number, end

    def dies(self, text: str, start: int) -> bool:
        """Say whether no pattern can match longer texts than those within `text` from `start`."""
        state = self.start
        for position in range(start, len(text)):
            state = state[text[position]]
            if state is self.dead or state.is_last:
                return True
        return False

    def lengths(self, text: str) -> list[int]:
        """Return the lengths of all matches from the start of the text, shortest first."""
        state = self.start
        lengths = []
        for length, character in enumerate(text, 1):
            state = state[character]
            if state.ended is not None:
                lengths.append(length)
        return lengths

    def state(self, positions: Set[int]) -> State:
        """Return the state in which these positions may come next."""
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
        """Create the positions of a pattern.

        Returns:
            whether the pattern matches the empty text, its first positions, and its last positions.
        """
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
    """A state of an automaton: maps a character to the next state, computed on first use.

    Attributes:
        ended: the number of the pattern that may end here (the first of several), or None.
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
    """Match any one of `members` or, if `negated`, any one of all other characters."""

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
    """One or more times."""

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
    """Parse patterns by recursive descent."""

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
