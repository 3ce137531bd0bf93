"""Handwriting by recurrent networks, as in Graves 2013 (arXiv:1308.0850), on lines from plotter fonts."""

from captioning.handwriting.batch import StrokeBatch, collate
from captioning.handwriting.drawing import draw_line, draw_window
from captioning.handwriting.font import Line, PlotterFont, random_text
from captioning.handwriting.mixture import Mixture
from captioning.handwriting.prediction import Prediction
from captioning.handwriting.synthesis import Synthesis
from captioning.handwriting.training import loss_of, train
from captioning.handwriting.window import SoftWindow
from captioning.handwriting.writing import write

__all__ = [
    "Line",
    "Mixture",
    "PlotterFont",
    "Prediction",
    "SoftWindow",
    "StrokeBatch",
    "Synthesis",
    "collate",
    "draw_line",
    "draw_window",
    "loss_of",
    "random_text",
    "train",
    "write",
]
