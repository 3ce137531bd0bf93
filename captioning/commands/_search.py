"""The options of commands that search: how captions are found, by options of their own names or by a search's."""

from __future__ import annotations

import argparse
import shlex
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from captioning.commands import natural, parse_arguments, positive
from captioning.commands._bundles import one_line
from captioning.errors import InputError, shown

if TYPE_CHECKING:
    from captioning.model.caption import Caption
    from captioning.model.captioner import Captioner
    from captioning.search.hypotheses import Search

HELP = """\
search (what is left out stays as the model has it):
  --beam-size K --length-normalization A   beams; 1 is greedy search. A orders captions by log-probability / length^A
  --num-best N                             captions of each {thing}; beam search has at least N beams then
  --min-length N --max-length N            tokens of a caption; --max-length counts the end word too
  --banned WORD... --required WORD...      words that no or every caption contains; 'dog|puppy' requires one of two
  --no-repeat-ngram N --repetition-penalty P --no-bad-endings    against repetitions, and captions that end with "a"
  --allow-unknown                          <unk> may stand in a caption
  --temperature T --num-samples N --seed S  draw words at random; T < 1 favours probable ones
  --top-k K --top-p P --min-p P --typical-p P  draw among fewer words
  --search NAME KEY=VALUE...               a search of conf/search, such as beam or sampling, with its settings
"""

_OPTIONS: dict[str, dict[str, Any]] = {
    "beam_size": {"type": positive},
    "num_best": {"type": positive},
    "max_length": {"type": positive},
    "min_length": {"type": natural},
    "length_normalization": {"type": float},
    "allow_unknown": {"action": "store_true", "default": None},
    "banned": {"nargs": "+", "action": "extend"},
    "required": {"nargs": "+", "action": "extend"},
    "no_repeat_ngram": {"type": positive},
    "repetition_penalty": {"type": float},
    "no_bad_endings": {"action": "store_true", "default": None},
    "temperature": {"type": float},
    "top_k": {"type": positive},
    "top_p": {"type": float},
    "min_p": {"type": float},
    "typical_p": {"type": float},
    "num_samples": {"type": positive},
    "seed": {"type": natural},
}


def searching_parser(command: str, usage: str, text: str, *, thing: str) -> argparse.ArgumentParser:
    """Make a parser with the options of searches and --model.

    Args:
        command: the command's name.
        usage: what follows the command's name in its line of usage.
        text: the help that follows it, with {search} where that of the options of searches belongs.
        thing: what has several captions.
    """
    parser = argparse.ArgumentParser(
        prog=f"captioning {command}", usage=f"captioning {command} {usage}", allow_abbrev=False
    )
    filled = text.replace("{search}", HELP.format(thing=thing))
    parser.format_help = lambda: f"usage: {parser.prog} {usage}\n\n{filled}"  # type: ignore[method-assign]
    parser.add_argument("--model", action="append")
    for name, settings in _OPTIONS.items():
        parser.add_argument(f"--{name.replace('_', '-')}", **settings)
    parser.add_argument("--search", nargs="+")
    return parser


def parsed(
    parser: argparse.ArgumentParser, arguments: Sequence[str], *, positional: str, default: str | None = None
) -> argparse.Namespace:
    """Parse arguments. An option that other libraries have is answered with the name that it has here.

    Args:
        parser: from `searching_parser`.
        arguments: of the command.
        positional: the positional arguments' name, which stood after the model in earlier versions.
        default: the model, if none is named; None if one must be.
    """
    own = parser._option_string_actions
    before = list(arguments[: arguments.index("--")] if "--" in arguments else arguments)
    for argument in before:
        name = argument.partition("=")[0]
        if name.startswith("--") and len(name) > 2 and name not in own:
            from captioning.search.names import as_option, unknown

            parser.error(
                unknown(name, [option[2:].replace("-", "_") for option in own if option[:2] == "--"], as_option)
            )
    options = parse_arguments(parser, arguments)
    if options.model is None:
        first = next(iter(getattr(options, positional)), None)
        if first is not None and _may_be_model(Path(first)):
            rest = [argument for argument in arguments if argument != first]
            call = shlex.join([*parser.prog.split(), *rest, "--model", first])
            parser.error(f"the model has its own option now: {shown(call, 500)}")
        if default is None:
            parser.error("--model WHERE is missing: a bundle, the folder of a run, or a run's checkpoint")
        options.model = [default]
    return options


def _may_be_model(path: Path) -> bool:
    return path.suffix == ".ckpt" or any((path / name).exists() for name in ("config.json", "bundle", "checkpoints"))


def chosen_search(captioner: Captioner, options: argparse.Namespace, **defaults: Any) -> Search:
    """Return the search that the options make of the model's own, or of the one that --search names.

    Args:
        captioner: the model.
        options: parsed by a `searching_parser`.
        defaults: options that apply if the user gives none of their family.

    Raises:
        InputError: the options do not fit each other, the model or the search.
    """
    from captioning.search.names import as_option
    from captioning.search.options import check_kind, with_options

    search, given = captioner.search, {name: getattr(options, name) for name in _OPTIONS}
    if options.search is not None:
        search = _named_search(captioner, *options.search)
        check_kind(search, [name for name, value in given.items() if value is not None], as_option)
    else:
        given |= {name: value for name, value in defaults.items() if given[name] is None}
    return with_options(search, captioner.tokenizer, as_option, **given)


def _named_search(captioner: Captioner, name: str, *settings: str) -> Search:
    """Build the search `name` of conf/search as `captioning evaluate search=NAME search.KEY=VALUE` does.

    Length, unknown words and processors stay those of the model, as they do with options.
    """
    from captioning.commands._overrides import check_overrides, read_arguments
    from captioning.commands.evaluate import build_search
    from captioning.training.detected import search_arguments

    for setting in settings:
        if "=" not in setting:
            raise InputError(
                f"--search {shown(name)}: expected KEY=VALUE, found '{shown(setting)}'; give --search last"
            )
    own = captioner.search
    kept = (f"search.max_length={own.max_length}", f"search.allow_unknown={str(own.allow_unknown).lower()}")
    overrides = [f"search={name}", *kept, *(f"search.{setting}" for setting in settings)]
    line = replace(read_arguments("evaluate", overrides), runs=False)
    words = search_arguments(captioner.encoder, captioner.tokenizer)
    found = build_search(check_overrides(line).search, words)
    return cast("Search", replace(cast(Any, found), processors=(*own.processors, *found.processors)))


def asked_for(search: Search, options: argparse.Namespace) -> int:
    """Return how many captions of each image the user asked for; 1 if only the model's own search finds several."""
    if options.search is None and options.num_best is None and options.num_samples is None:
        return 1
    return max(getattr(search, "num_best", 1), getattr(search, "num_samples", 1))


def as_json(caption: Caption, most: int = 1) -> dict[str, Any]:
    """Return what a caption holds beside its text, as plain values with the names of `Caption` and `Word`.

    Args:
        caption: the caption.
        most: of how many captions, the alternatives included.
    """
    content: dict[str, Any] = {"score": caption.score, "finished": caption.finished}
    if caption.confidence is not None:
        content |= {"confidence": caption.confidence, "distance": caption.distance}
        content |= {"out_of_domain": caption.out_of_domain, "withheld": caption.withheld}
    content["words"] = []
    for word in caption.words:
        plain: dict[str, Any] = {"text": word.text, "log_prob": word.log_prob}
        if word.confidence is not None:
            plain["confidence"] = word.confidence
        if word.runners_up:
            plain["runners_up"] = [{"text": other.text, "log_prob": other.log_prob} for other in word.runners_up]
        content["words"].append(plain)
    if most > 1:
        content["alternatives"] = [{"text": own.text, **as_json(own)} for own in caption.alternatives[: most - 1]]
    return content


def print_words(caption: Caption) -> None:
    """Print each word of a caption with its log-probability and its runners-up, if it has any."""
    for word in caption.words:
        if word.runners_up:
            others = ", ".join(f"{one_line(other.text)} {other.log_prob:.2f}" for other in word.runners_up)
            print(f"  {one_line(word.text)} {word.log_prob:.2f}  ({others})", flush=True)
