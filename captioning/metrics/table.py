"""The tables of metrics and of the programs (backends) that compute them.

A new metric is one file in this folder, one entry in `METRICS` and one test file. Its name is then known to
`captioning score --metrics`, to `metrics.names` and to every message. Nothing is imported before it is used. Where a
user names metrics, the dotted path of a `Metric` of another package is a name too, such as mypackage.metrics.Chrf.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from importlib import import_module
from typing import TYPE_CHECKING, Generic, TypeVar

from captioning.errors import InputError, described, shown

if TYPE_CHECKING:
    from captioning.metrics.backend import Backend
    from captioning.metrics.metric import Metric

Class = TypeVar("Class")


class Table(Mapping[str, Class], Generic[Class]):
    """Classes by name, each imported when it is looked up.

    Args:
        paths: the path of each class by its name, "module.Class" relative to `captioning.metrics`.
    """

    def __init__(self, paths: Mapping[str, str]) -> None:
        self._paths = dict(paths)

    def __getitem__(self, name: str) -> Class:
        module, _, attribute = self._paths[name].rpartition(".")
        found: Class = getattr(import_module(f"captioning.metrics.{module}"), attribute)
        return found

    def __contains__(self, name: object) -> bool:
        return name in self._paths

    def __iter__(self) -> Iterator[str]:
        return iter(self._paths)

    def __len__(self) -> int:
        return len(self._paths)


METRICS: Table[type[Metric]] = Table(
    {
        "BLEU": "bleu.Bleu",
        "METEOR": "meteor.Meteor",
        "ROUGE-L": "rouge.RougeL",
        "CIDEr": "cider.Cider",
        "CIDEr-D": "cider.CiderD",
        "SPICE": "spice.Spice",
        "sacreBLEU": "sacre_bleu.SacreBleu",
        "CLIPScore": "clip_score.ClipScore",
    }
)
"""Every metric by its name, in the order in which scores are reported; a metric may report several scores."""

ALIASES = {"rouge": "ROUGE-L"}
"""Other names on the command line, in lower case."""

COCO_METRICS = ("BLEU", "METEOR", "ROUGE-L", "CIDEr")
"""The default: what COCO's evaluation reports."""

OWN_BACKEND = "captioning"

BACKENDS: Table[type[Backend]] = Table(
    {
        OWN_BACKEND: "captioning_backend.CaptioningBackend",
        "pycocoevalcap": "originals.backend.PycocoevalcapBackend",
    }
)
"""The programs that compute metrics: the classes of `METRICS`, or pycocoevalcap's original code."""


def command_names() -> list[str]:
    """List the metrics' names on the command line, aliases last."""
    return [*map(str.lower, METRICS), *ALIASES]


def metric_named(name: str) -> str:
    """Find the metric that a user names, in upper or lower case, by an alias, or by the path of its class.

    Raises:
        InputError: no metric has this name.
    """
    if "." in name:
        return name.strip()
    known = {**{metric.lower(): metric for metric in METRICS}, **ALIASES}
    if (found := known.get(name.strip().lower())) is None:
        raise InputError(f"there is no metric '{shown(name.strip())}'; choose among {', '.join(command_names())}")
    return found


def metric_class(name: str) -> type[Metric]:
    """Return the metric of a name that a user gave: one of `METRICS`, or the path of a class of another package.

    Never call this with a name from a file of somebody else: it imports what the name says.

    Raises:
        InputError: there is no such metric, or its module cannot be imported.
    """
    from captioning.metrics.metric import Metric

    if name in METRICS:
        return METRICS[name]
    module, _, attribute = str(name).rpartition(".")
    if not module:
        raise InputError(
            f"expected metrics among {', '.join(METRICS)}, or the path of a class such as mypackage.metrics.Chrf; "
            f"found '{shown(name)}'"
        )
    try:
        found = getattr(import_module(module), attribute, None)
    except Exception as error:  # the user's own code may raise anything
        raise InputError(f"the metric {name:.80} cannot be imported: {described(error)}") from error
    if not (isinstance(found, type) and issubclass(found, Metric)):
        raise InputError(f"{name:.80} is no metric; expected a class derived from captioning.metrics.metric.Metric")
    return found


def in_order(names: Collection[str]) -> list[str]:
    """Sort metrics as `METRICS` has them; those of other packages come last."""
    return [*(name for name in METRICS if name in names), *(name for name in names if name not in METRICS)]


def check_metrics(names: Collection[str], backend: str = OWN_BACKEND, *, given: Collection[str] = ()) -> None:
    """Check that metrics can be computed together, before any work is done.

    Args:
        names: names in `METRICS`, or paths of classes of other packages.
        backend: a name in `BACKENDS`.
        given: the optional fields of `Resources` that the metrics will be given, such as "images".

    Raises:
        InputError: the backend is unknown, no metric is named, or the backend does not compute one that is named.
            Two metrics use different tokenizers. A file, a package or a resource that a metric needs is missing.
    """
    if backend not in BACKENDS:
        raise InputError(
            f"expected one of the backends {', '.join(BACKENDS)}; found '{shown(backend)}'. Choose metrics "
            "by their names"
        )
    if not names:
        raise InputError(f"expected metrics among {', '.join(METRICS)}; found {shown(list(names))}")
    classes = {name: metric_class(name) for name in names}
    known = (*BACKENDS[backend].known, *(set(names) - METRICS.keys() if backend == OWN_BACKEND else ()))
    if unknown := [name for name, metric in classes.items() if metric.tokenizer is not None and name not in known]:
        raise InputError(f"the backend {backend} computes {', '.join(known)}; found {shown(', '.join(unknown))}")
    repeated = [score for score, n in Counter(score for m in classes.values() for score in m.names).items() if n > 1]
    if repeated:
        raise InputError(f"two of the metrics {', '.join(names)} report the score {repeated[0]}; leave one out")
    tokenizers = {tokenizer: name for name, metric in classes.items() if (tokenizer := metric.tokenizer)}
    if len(tokenizers) > 1:
        raise InputError(
            f"{' and '.join(tokenizers.values())} count the tokens of different tokenizers; compute them separately"
        )
    for metric in classes.values():
        if backend == OWN_BACKEND or metric.tokenizer is None:
            metric.check(given)


def modes(names: Collection[str]) -> dict[str, str]:
    """List the scores that metrics report: "max" for those that are better when higher, "min" for the others."""
    return {score: metric_class(name).mode for name in names for score in metric_class(name).names}
