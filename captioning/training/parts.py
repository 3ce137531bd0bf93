"""Find and build the parts that a configuration names, of this package or of the user's own."""

from __future__ import annotations

import re
from typing import Any, TypeVar, cast

import hydra
from hydra.errors import HydraException
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from captioning.errors import InputError, described

T = TypeVar("T")


def find(settings: DictConfig) -> Any:
    """Import what the key `_target_` of `settings` names, and build nothing.

    Raises:
        InputError: it cannot be imported. The message gives the true error.
    """
    target = OmegaConf.select(settings, "_target_")
    if not isinstance(target, str):
        raise InputError(f"{settings._get_full_key(None)} has no _target_, the path of a class; choose an option of it")
    try:
        return instantiate({"_target_": target, "_partial_": True}).func
    except HydraException as error:
        raise explained(error, key=settings._get_full_key("_target_")) from error


def find_class(settings: DictConfig, base: type[T]) -> type[T]:
    """Import the class that `settings` name.

    Raises:
        InputError: it cannot be imported, or does not derive from `base`.
    """
    found = find(settings)
    if not (isinstance(found, type) and issubclass(found, base)):
        raise InputError(
            f"{settings._get_full_key('_target_')}={settings._target_} is no {base.__name__}; derive the class from "
            f"{base.__module__}.{base.__name__}"
        )
    return found


def build(settings: DictConfig, base: type[T], **given: Any) -> T:
    """Build the part that `settings` describe.

    Args:
        settings: `_target_` and arguments.
        base: the class from which the part's class must derive.
        given: further arguments. They reach the class as they are: no text in them is read as an interpolation.

    Raises:
        InputError: the class cannot be imported, is not of this kind, or cannot be built from these arguments.
    """
    find_class(settings, base)
    try:
        make = instantiate(settings, _partial_=True, _convert_="all")  # OmegaConf makes configs of dataclasses
    except (HydraException, OmegaConfBaseException) as error:
        raise explained(error) from error
    try:
        return cast(T, make(**given))
    except InputError:
        raise
    except Exception as error:  # a class of the user's own raises anything
        raise InputError(f"{settings._get_full_key('_target_')}={settings._target_}: {_reason(error)}") from error


def explained(error: Exception, *, key: str = "") -> InputError:
    """Turn an error of Hydra into one that shows what it was caused by, in the user's own code too.

    Args:
        error: what Hydra raised.
        key: the setting, if Hydra's message does not name it.
    """
    cause: BaseException = error
    while cause.__cause__ is not None and not isinstance(cause, InputError):
        cause = cause.__cause__
    if isinstance(cause, InputError):
        return cause
    target = re.search(r"target '([^']+)'", str(error))
    if cause is error or target is None:
        return InputError(str(error).replace(", set env var HYDRA_FULL_ERROR=1 to see chained exception.", ""))
    place = re.search(r"full_key: (\S+)", str(error))
    setting = key or (f"{place[1]}._target_" if place else "_target_")
    return InputError(f"{setting}={target[1]}: {_not_found(cause, target[1]) or _reason(cause)}")


def _not_found(cause: BaseException, target: str) -> str | None:
    module, _, name = target.rpartition(".")
    if isinstance(cause, ModuleNotFoundError) and cause.name == target.partition(".")[0]:
        return (
            f"there is no package {cause.name}; install it in this environment (pip install -e FOLDER), or put its "
            "folder on PYTHONPATH"
        )
    if isinstance(cause, ModuleNotFoundError) and cause.name == target:
        return f"there is no {name} in {module}"
    return None


def _reason(cause: BaseException) -> str:
    where = described(cause)
    if cause.__traceback__ is not None and (str(hydra.__path__[0]) in where or __file__ in where):
        return f"{type(cause).__name__}: {cause}"  # of the call itself, such as a missing argument
    return where
