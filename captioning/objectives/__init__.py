"""Training objectives: functions of a decoder or a matcher, features and a batch that compute a loss."""

from captioning.objectives.averages import Mean, loss_means, loss_of_all
from captioning.objectives.caption_and_objects import CaptionAndObjects
from captioning.objectives.contrastive import Contrastive
from captioning.objectives.cross_entropy import CrossEntropy, token_losses
from captioning.objectives.decays import Decay, Exponential, InverseSigmoid, Linear
from captioning.objectives.distillation import Distillation, Teacher
from captioning.objectives.doubly_stochastic import DoublyStochastic
from captioning.objectives.hardest_negatives import HardestNegatives
from captioning.objectives.leave_one_out import LeaveOneOut
from captioning.objectives.max_margin import MaxMargin
from captioning.objectives.noise_contrastive import NoiseContrastive
from captioning.objectives.objective import Objective, check_objective, needs
from captioning.objectives.policy_gradient import PolicyGradient
from captioning.objectives.reinforce import Reinforce
from captioning.objectives.sampled_negatives import SampledNegatives
from captioning.objectives.scheduled_sampling import ScheduledSampling
from captioning.objectives.self_critical import SelfCritical
from captioning.objectives.unlikelihood import Unlikelihood
from captioning.objectives.word_presence import WordPresence, word_labels
from captioning.objectives.word_share import WordShare, word_shares

__all__ = [
    "CaptionAndObjects",
    "Contrastive",
    "CrossEntropy",
    "Decay",
    "Distillation",
    "DoublyStochastic",
    "Exponential",
    "HardestNegatives",
    "InverseSigmoid",
    "LeaveOneOut",
    "Linear",
    "MaxMargin",
    "Mean",
    "NoiseContrastive",
    "Objective",
    "PolicyGradient",
    "Reinforce",
    "SampledNegatives",
    "ScheduledSampling",
    "SelfCritical",
    "Teacher",
    "Unlikelihood",
    "WordPresence",
    "WordShare",
    "check_objective",
    "loss_means",
    "loss_of_all",
    "needs",
    "token_losses",
    "word_labels",
    "word_shares",
]
