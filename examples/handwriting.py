"""Write a text by hand: train Graves's synthesis network (2013) on lines from a plotter font, and draw what it writes.

    Pr(x | c) = Π_t Pr(x_{t+1} | y_t)        x: the pen's points; c: the text, seen through a soft window

The network learns from random letters, so it can write any text of the alphabet. It is known which character each
generated point belongs to, so we can count how often the window is on the right one.

    python examples/handwriting.py 'pack my box'                   plain letters, in two or three minutes
"""

from __future__ import annotations

import logging
from argparse import ArgumentParser
from collections.abc import Iterator
from string import ascii_lowercase

import numpy as np
import torch
from matplotlib.figure import Figure

from captioning.handwriting import (
    Line,
    PlotterFont,
    StrokeBatch,
    Synthesis,
    collate,
    draw_line,
    draw_window,
    loss_of,
    random_text,
    train,
    write,
)

BIASES = (0.0, 0.5, 1.0, 2.0)


def lines_of(font: PlotterFont, letters: str, rng: np.random.Generator, *, num: int, length: int) -> list[Line]:
    """Write `num` random texts of `length` characters."""
    return [font.write(random_text(letters, rng, length=length), rng) for _ in range(num)]


def batches_of(font: PlotterFont, letters: str, *, steps: int, batch_size: int = 32) -> Iterator[StrokeBatch]:
    """Make batches for training: texts of 6 characters, and of 6 to 12 in the second half."""
    rng = np.random.default_rng(0)
    for step in range(steps):
        length = 6 if step < steps / 2 else int(rng.integers(6, 13))
        yield collate(lines_of(font, letters, rng, num=batch_size, length=length))


def trained(font: PlotterFont, *, letters: str = ascii_lowercase, steps: int = 700, width: int = 128) -> Synthesis:
    """Train a network of one layer; the learning rate falls in the second half."""
    torch.manual_seed(0)
    network = Synthesis(letters + " ", hidden_size=width, num_layers=1, num_mixtures=10, num_gaussians=5)
    optimizer = torch.optim.Adam(network.parameters(), lr=5e-3)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: max(0.02, min(1.0, 2 * (1 - step / steps))))
    train(network, batches_of(font, letters, steps=steps), optimizer, schedule=schedule)
    return network


@torch.no_grad()
def score(network: Synthesis, lines: list[Line]) -> tuple[float, float]:
    """Compute the loss in nats per point, and the share of points at which the window is on the right character."""
    batch = collate(lines)
    right = [phi.argmax(1).numpy() == line.characters for phi, line in zip(network.windows(batch), lines, strict=True)]
    return loss_of(network, batch).item(), float(np.concatenate(right).mean())


def written(network: Synthesis, text: str, *, bias: float, seed: int = 0) -> torch.Tensor:
    """Write a text, (T, 3). A space after it keeps the window from leaving the text before the last letter is done."""
    (points,) = write(network, network.start([text + " "]), bias=bias, max_points=40 * len(text), seed=seed)
    return points


def picture(network: Synthesis, font: PlotterFont, text: str) -> Figure:
    """Draw a text with several biases, and the window's path while it is read from the font."""
    figure = Figure(figsize=(8, 9), layout="constrained")
    *rows, last = figure.subplots(len(BIASES) + 1, 1, height_ratios=[1] * len(BIASES) + [2])
    for axes, bias in zip(rows, BIASES, strict=True):
        draw_line(axes, written(network, text, bias=bias))
        axes.set_title(f"bias {bias:g}", loc="left", fontsize=9)
    line = font.write(text, np.random.default_rng(0))
    with torch.no_grad():
        draw_window(last, network.windows(collate([line]))[0], text)
    return figure


def main(text: str, *, font: str = "futural", steps: int = 2000, out: str = "handwriting.png") -> tuple[float, float]:
    """Train, print and return the scores on new lines, and draw the text into a file."""
    plotter = PlotterFont(font)
    network = trained(plotter, steps=steps)
    rng = np.random.default_rng(1)
    loss, right = score(network, lines_of(plotter, ascii_lowercase, rng, num=100, length=10))
    print(f"new lines: {loss:.3f} nats a point; the window is on the right character at {right:.1%} of the points")
    picture(network, plotter, text).savefig(out, dpi=100)
    print(f"written to {out}")
    return loss, right


if __name__ == "__main__":
    parser = ArgumentParser(description="Train a network that writes by hand, and let it write a text.")
    parser.add_argument("text")
    parser.add_argument("--font", default="futural")
    parser.add_argument("--steps", type=int, default=2000)
    parser.add_argument("--out", default="handwriting.png")
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    main(**vars(parser.parse_args()))
