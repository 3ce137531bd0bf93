"""Training objectives: functions of a decoder, features and a batch that compute a loss."""

from captioning.objectives.averages import Mean, loss_means, loss_of_all
from captioning.objectives.caption_and_objects import CaptionAndObjects
from captioning.objectives.cross_entropy import CrossEntropy, token_losses
from captioning.objectives.doubly_stochastic import DoublyStochastic
from captioning.objectives.objective import Objective, check_objective, needs
from captioning.objectives.reinforce import Reinforce
from captioning.objectives.word_presence import WordPresence, word_labels

__all__ = [
    "CaptionAndObjects",
    "CrossEntropy",
    "DoublyStochastic",
    "Mean",
    "Objective",
    "Reinforce",
    "WordPresence",
    "check_objective",
    "loss_means",
    "loss_of_all",
    "needs",
    "token_losses",
    "word_labels",
]
