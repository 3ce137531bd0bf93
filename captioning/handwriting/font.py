"""Lines of handwriting from a plotter font, with slant, size and jitter.

A plotter font describes letters by the movements of a pen, which is what on-line handwriting is. So lines of any text
can be generated, and it is known which character each point belongs to. Graves learned from IAM-OnDB, lines that people
wrote on a whiteboard; its users have to register.

The fonts are A. V. Hershey's, in the package Hershey-Fonts (`pip install 'captioning[lecture]'`).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from captioning.errors import InputError, shown

UNIT = 3.0
"""Units of the font in one unit of a line, which is about an offset's standard deviation."""

_BASE_LINE = 9
"""Where letters stand in the font's units, in which y grows downwards."""


@dataclass(frozen=True)
class Line:
    """A text as it is written.

    Attributes:
        text: the text.
        points: (T, 3) float32, the x_t of the paper (15): the offset from the previous point, to the right and up, and
            whether the pen is lifted after the point. The first offset is from the left end of the base line.
        characters: (T) int64, the character of the text that each point belongs to, from 0.
    """

    text: str
    points: NDArray[np.float32]
    characters: NDArray[np.int64]


@dataclass(frozen=True)
class PlotterFont:
    """Writes lines in one font, each in a style that is drawn at random.

    Args:
        name: one of Hershey-Fonts's, such as "scripts" (a script) or "futural" (plain letters, with fewer points).
        slant: a line's slant is drawn from ± this, as the tangent of the angle.
        size: a line's size is drawn from 1 ± this.
        jitter: standard deviation of each point's position, in the font's units. A capital has a height of 21.

    Raises:
        InputError: the package is not installed, the font is unknown, or the style is not possible.
    """

    name: str = "scripts"
    slant: float = 0.3
    size: float = 0.2
    jitter: float = 0.25

    def __post_init__(self) -> None:
        if self.slant < 0 or not 0 <= self.size < 1 or self.jitter < 0:
            raise InputError(
                f"slant={self.slant}, size={self.size}, jitter={self.jitter}: expected at least 0, and a size below 1"
            )
        self._glyphs  # noqa: B018, so that a mistake is found here

    @cached_property
    def _glyphs(self) -> dict[str, Any]:
        try:
            from HersheyFonts import HersheyFonts
        except ModuleNotFoundError:
            raise InputError("plotter fonts need another package: pip install 'captioning[lecture]'") from None
        fonts = HersheyFonts()
        if self.name not in fonts.default_font_names:
            raise InputError(f"font {shown(self.name)}: expected one of {', '.join(sorted(fonts.default_font_names))}")
        fonts.load_default_font(self.name)
        return dict(fonts.all_glyphs)

    def write(self, text: str, rng: np.random.Generator) -> Line:
        """Write a text.

        Args:
            text: what to write; a space only moves the pen.
            rng: draws the line's style and the jitter.

        Raises:
            InputError: the font lacks a character, or the text has nothing to draw.
        """
        positions, lifted, characters = self._trace(text)
        slant, size = rng.uniform(-self.slant, self.slant), rng.uniform(1 - self.size, 1 + self.size)
        positions = positions + rng.normal(0.0, self.jitter, positions.shape)
        positions[:, 0] += slant * positions[:, 1]
        offsets = np.diff(positions * size / UNIT, axis=0, prepend=0.0)
        points = np.concatenate([offsets, lifted[:, None]], axis=1).astype(np.float32)
        return Line(text, points, characters)

    def _trace(self, text: str) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.int64]]:
        """Return the positions (T, 2) of a text's points, whether each ends a stroke, and their characters."""
        positions, lifted, characters, left = [], [], [], 0.0
        for number, character in enumerate(text):
            if character not in self._glyphs:
                raise InputError(f"the font {self.name} has no {character!r}; leave it out of the text")
            glyph = self._glyphs[character]
            for stroke in glyph.strokes:
                positions += [(left + x - glyph.left_offset, _BASE_LINE - y) for x, y in stroke]
                lifted += [0.0] * (len(stroke) - 1) + [1.0]
                characters += [number] * len(stroke)
            left += glyph.char_width
        if not positions:
            raise InputError(f"text={shown(text)}: expected something to draw")
        return np.array(positions, dtype=np.float64), np.array(lifted), np.array(characters, dtype=np.int64)


def random_text(alphabet: str, rng: np.random.Generator, *, length: int, longest_word: int = 6) -> str:
    """Draw words of random letters, so that each letter follows each other one.

    Args:
        alphabet: the letters, without a space.
        rng: draws them.
        length: the number of characters, spaces included.
        longest_word: words have 1 to so many letters.
    """
    text = ""
    while len(text) < length:
        text += " " * bool(text) + "".join(rng.choice(list(alphabet), rng.integers(1, longest_word + 1)))
    return text[: length - 1] + text[length - 1].replace(" ", alphabet[0])
