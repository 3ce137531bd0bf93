"""The options of searches, which Python, the commands and Hydra share, and the search that they make of another."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import fields, replace
from typing import Any, TypedDict, cast

import msgspec

from captioning.errors import InputError, shown
from captioning.search.beam import BeamSearch
from captioning.search.constrained import ConstrainedBeamSearch, required_words
from captioning.search.covering import CoveringSearch
from captioning.search.endings import NoBadEndings, bad_endings
from captioning.search.greedy import GreedySearch
from captioning.search.hypotheses import Search
from captioning.search.minimum_bayes_risk import MinimumBayesRisk
from captioning.search.names import Spelling, in_python, unknown
from captioning.search.processors import Forbid, MinLength, NoRepeatNgrams, Processor, RepetitionPenalty
from captioning.search.sampling import Sampling
from captioning.search.stochastic import StochasticBeamSearch
from captioning.text.tokenizer import Tokenizer


class Options(TypedDict, total=False):
    """What a call may change of a model's own search. None leaves the model's own setting.

    Attributes:
        beam_size: number of beams; 1 is greedy search.
        num_best: captions of each image. Beam search finds the best ones, and has at least so many beams unless
            `beam_size` is given. Sampling draws so many.
        max_length: the maximum number of tokens, `<eos>` included.
        min_length: the minimum number of tokens, `<eos>` not counted.
        length_normalization: α of `BeamSearch`.
        allow_unknown: whether `<unk>` may be chosen.
        banned: words that no caption contains.
        required: words or phrases that every caption contains; "dog|puppy" is one of two. They make a
            `ConstrainedBeamSearch` of any search.
        no_repeat_ngram: the size of n-grams that a caption has only once.
        repetition_penalty: how many times less probable, in log-probability, a word is that the caption already has.
        no_bad_endings: whether a caption cannot end with a word such as "a".
        temperature: draws captions at random; below 1 prefers probable words, above 1 rare ones.
        top_k: draws from the k most probable words.
        top_p: draws from the fewest words whose probabilities sum to p.
        min_p: draws from the words that are at least p times as probable as the most probable one.
        typical_p: draws from the most typical words whose probabilities sum to p.
        num_samples: captions that are drawn of each image.
        seed: of the draws.
    """

    beam_size: int | None
    num_best: int | None
    max_length: int | None
    min_length: int | None
    length_normalization: float | None
    allow_unknown: bool | None
    banned: Sequence[str] | None
    required: Sequence[str] | None
    no_repeat_ngram: int | None
    repetition_penalty: float | None
    no_bad_endings: bool | None
    temperature: float | None
    top_k: int | None
    top_p: float | None
    min_p: float | None
    typical_p: float | None
    num_samples: int | None
    seed: int | None


OPTIONS = tuple(Options.__annotations__)
"""The names of all options."""
BEAMS = ("beam_size", "length_normalization")
DRAWS = ("temperature", "top_k", "top_p", "min_p", "typical_p", "num_samples", "seed")
"""The options of one family of searches. They exclude each other, unless a search has both as settings."""
RULES = ("min_length", "banned", "no_repeat_ngram", "repetition_penalty", "no_bad_endings")
"""The options that become processors."""
_KINDS: Mapping[str, Any] = {
    **dict.fromkeys(("beam_size", "num_best", "max_length", "min_length", "top_k", "num_samples", "seed"), int),
    "no_repeat_ngram": int,
    **dict.fromkeys(("temperature", "top_p", "min_p", "typical_p", "repetition_penalty"), float),
    **dict.fromkeys(("allow_unknown", "no_bad_endings"), bool),
    **dict.fromkeys(("banned", "required"), list[str]),
}


def with_options(search: Search, tokenizer: Tokenizer, spell: Spelling = in_python, /, **options: Any) -> Search:
    """Return the search that options make of another one.

    What the options do not name stays: the length, the processors and, if the kind of search stays, all other settings.
    Options of sampling make a `Sampling` of any other search, `beam_size` makes a `BeamSearch` of one without beams,
    and `beam_size=1` makes a `GreedySearch` of a `BeamSearch`. A rule replaces the search's own rule of the same kind,
    but banned words are added to those that are forbidden already.

    Args:
        search: the model's own search.
        tokenizer: the model's, which knows the ids of words.
        spell: how messages spell the options.
        options: see `Options`; None and False leave an option out. Every other setting of the search is an option too.

    Raises:
        InputError: there is no such option, two options exclude each other, a value is of the wrong kind or out of its
            range, or the vocabulary lacks a word.
    """
    own = search.settings()
    given = {name: value for name, value in options.items() if value is not None and value != []}
    known = [*OPTIONS, *(name for name in own if name not in (*OPTIONS, "processors", "concepts"))]
    for name in given:
        if name not in known:
            raise InputError(unknown(name, known, spell))
    _check_kinds(given, spell)
    _check_families(search, given, spell)
    if words := given.get("required"):
        search = _constrained(search, words, given, tokenizer, spell)
    settings = {name: value for name, value in given.items() if name not in ("num_best", "required", *RULES)}
    changed = _with_num_best(_converted(search, settings, spell), given, spell)
    rules = _rules({name: given[name] for name in RULES if name in given}, changed, tokenizer, spell)
    return _replaced(changed, processors=_joined(changed.processors, rules)) if rules else changed


def check_kind(search: Search, given: Collection[str], spell: Spelling) -> None:
    """Check that options would not make another kind of search of one that the user has named.

    Args:
        search: the search that the user has named.
        given: the names of the options.
        spell: how messages spell the options.

    Raises:
        InputError: the search does not have one of the options.
    """
    own = search.settings()
    for name in (*BEAMS, *DRAWS, "required"):
        if name in given and name not in own:
            others = ", ".join(spell(option) for option in (*BEAMS, *DRAWS) if option in own)
            listed = f" ({others})" if others else ""
            raise InputError(f"{spell(name)}: {type(search).__name__} has no such setting{listed}; name another search")


def _replaced(search: Search, **changes: Any) -> Search:
    return cast(Search, replace(cast(Any, search), **changes)) if changes else search


def _check_kinds(given: Mapping[str, Any], spell: Spelling) -> None:
    for name, value in given.items():
        try:
            msgspec.convert(value, _KINDS.get(name, Any), strict=True)
        except msgspec.ValidationError as error:
            raise InputError(f"{spell(name)}={shown(repr(value))}: {error}") from error


def _check_families(search: Search, given: Mapping[str, Any], spell: Spelling) -> None:
    """Refuse options that no search has together, and those that would have no effect."""
    own = search.settings()
    beams, draws = ([name for name in names if name in given] for names in (BEAMS, DRAWS))
    if beams and draws and not all(name in own for name in (*beams, *draws)):
        raise InputError(
            f"{spell(beams[0])} and {spell(draws[0])} exclude each other: beam search draws nothing, and sampling has "
            "no beams; give one of them"
        )
    if draws and "required" in given:
        raise InputError(
            f"{spell('required')} and {spell(draws[0])} exclude each other: required words need beams, which sampling "
            "lacks; give one of them"
        )
    kind = type(search).__name__
    if draws == ["seed"] and "seed" not in own:
        raise InputError(f"{spell('seed')} has no effect: {kind} draws nothing; give {spell('temperature')} too")
    if beams == ["length_normalization"] and "length_normalization" not in own:
        raise InputError(
            f"{spell('length_normalization')} has no effect: {kind} compares no captions; give {spell('beam_size')} too"
        )
    if given.get("beam_size") == 1 and "length_normalization" in given:
        raise InputError(
            f"{spell('length_normalization')} and {spell('beam_size')}=1 exclude each other: greedy search compares no "
            "captions; give more beams"
        )


def _converted(search: Search, settings: Mapping[str, Any], spell: Spelling) -> Search:
    """Return a search of the kind that has the settings, with these settings."""
    own = search.settings()
    if any(name in settings and name not in own for name in DRAWS):
        return _made(Sampling, search, settings, spell)
    if "beam_size" in settings and "beam_size" not in own:
        search = _made(BeamSearch, search, settings, spell)
    if isinstance(search, BeamSearch) and "beam_size" in settings:
        if settings["beam_size"] == 1:
            return _made(GreedySearch, search, {k: v for k, v in settings.items() if k != "beam_size"}, spell)
        settings = {"num_best": min(search.num_best, max(1, settings["beam_size"])), **settings}
    return _replaced(search, **settings)


def _made(kind: type[Search], search: Search, settings: Mapping[str, Any], spell: Spelling) -> Search:
    """Make a search of another kind, with the settings that every search has."""
    kept = {name: getattr(search, name) for name in ("max_length", "allow_unknown", "processors")}
    if unfit := settings.keys() - {field.name for field in fields(cast(Any, kind))}:
        name = min(unfit)
        raise InputError(
            f"{spell(name)} is a setting of {type(search).__name__}, and the other options need {kind.__name__}"
        )
    return kind(**{**kept, **settings})


def _constrained(
    search: Search, words: Sequence[str], given: Mapping[str, Any], tokenizer: Tokenizer, spell: Spelling
) -> Search:
    """Make a search for captions with required words, with the settings that it shares with another search."""
    names = [field.name for field in fields(ConstrainedBeamSearch) if field.name != "required"]
    kept: dict[str, Any] = {name: getattr(search, name) for name in names if hasattr(search, name)}
    kept |= {name: given[name] for name in ("beam_size", "max_length") if name in given}
    kept["num_best"] = min(kept.get("num_best", 1), max(1, kept.get("beam_size", 1)))
    phrases = [word.split("|") for word in words]
    if tokenizer.is_word_level:
        for phrase in (phrase for alternatives in phrases for phrase in alternatives):
            token_ids(phrase, tokenizer, spell("required"))
    return ConstrainedBeamSearch(**kept, required=required_words(phrases, tokenizer))


def _with_num_best(search: Search, given: Mapping[str, Any], spell: Spelling) -> Search:
    """Return a search that finds `num_best` captions of each image."""
    number = given.get("num_best")
    if number is None:
        return search
    if number < 1:
        raise InputError(f"{spell('num_best')}={number} must be at least 1")
    if isinstance(search, Sampling | StochasticBeamSearch):
        if given.get("num_samples", number) != number:
            raise InputError(f"{spell('num_best')} and {spell('num_samples')} differ; they mean the same, so give one")
        return replace(search, num_samples=number)
    if "num_best" not in search.settings():
        if number == 1:
            return search
        if isinstance(search, MinimumBayesRisk):
            raise InputError(
                f"{spell('num_best')}={number}: MinimumBayesRisk orders all captions of its own search; set "
                "num_samples or num_best of that search instead"
            )
        if given.get("beam_size") == 1:
            raise InputError(f"{spell('num_best')}={number} and {spell('beam_size')}=1: one beam holds one caption")
        raise InputError(
            f"{spell('num_best')}={number}: {type(search).__name__} finds one caption of each image; add "
            f"{spell('beam_size')} for the most probable ones, or {spell('temperature')} for random ones"
        )
    size = getattr(search, "beam_size", number)
    if isinstance(search, CoveringSearch) or number <= size:
        return _replaced(search, num_best=number)
    if "beam_size" in given:
        raise InputError(
            f"{spell('num_best')}={number} is above {spell('beam_size')}={size}: each of the beams holds one caption; "
            "give more beams, or leave them out"
        )
    groups = getattr(search, "num_groups", 1)
    return _replaced(search, num_best=number, beam_size=-(-number // groups) * groups)


def _rules(given: Mapping[str, Any], search: Search, tokenizer: Tokenizer, spell: Spelling) -> list[Processor]:
    """Make the processors that the options ask for."""
    made: list[Processor] = []
    if (least := given.get("min_length")) is not None:
        if least >= search.max_length:
            raise InputError(
                f"{spell('min_length')}={least} must be below {spell('max_length')}={search.max_length}, which counts "
                "the end word too"
            )
        made.append(MinLength(least, tokenizer.special.eos))
    if words := given.get("banned"):
        made.append(Forbid([_token(word, tokenizer, spell("banned")) for word in words]))
    if (size := given.get("no_repeat_ngram")) is not None:
        made.append(NoRepeatNgrams(size))
    if (penalty := given.get("repetition_penalty")) is not None:
        made.append(RepetitionPenalty(penalty))
    if given.get("no_bad_endings"):
        made.append(NoBadEndings(bad_endings(tokenizer.vocabulary), tokenizer.special.eos))
    return made


def _joined(own: Sequence[Processor], rules: Sequence[Processor]) -> tuple[Processor, ...]:
    """Put rules after a search's own processors. They replace those of their kind, but bans add up."""
    kinds = {type(rule) for rule in rules} - {Forbid}
    return (*(processor for processor in own if type(processor) not in kinds), *rules)


def _token(word: str, tokenizer: Tokenizer, option: str) -> int:
    """Return the id of a single word."""
    ids = token_ids(word, tokenizer, option)
    if len(ids) > 1:
        parts = " and ".join(tokenizer.words(word))
        raise InputError(f"{option}: '{shown(word)}' is {len(ids)} words here ({shown(parts)}); name single words")
    return ids[0]


def token_ids(phrase: str, tokenizer: Tokenizer, option: str) -> list[int]:
    """Return the ids of a phrase's words.

    Args:
        phrase: a word, or several.
        tokenizer: the model's.
        option: what the phrase belongs to, for messages.

    Raises:
        InputError: the model does not write whole words, the phrase holds no word, or one that the vocabulary lacks.
    """
    if not tokenizer.is_word_level:
        raise InputError(
            f"{option}: this model writes parts of words, and a word can be put together in several ways; only models "
            "of whole words (text=words) take words here"
        )
    words, ids = tokenizer.words(phrase), tokenizer.encode([phrase])[0][1:-1]
    if not words:
        raise InputError(f"{option}: '{shown(phrase)}' holds no word; name words of the vocabulary")
    for word, i in zip(words, ids, strict=True):
        if i == tokenizer.special.unk:
            close = difflib.get_close_matches(word, tokenizer.vocabulary, n=3)
            near = f"; near it are {', '.join(close)}" if close else ""
            raise InputError(f"{option}: '{shown(word)}' is not among the {len(tokenizer):,} words of the model{near}")
    return ids
