"""Options of the magic line to what a step asks of its machine."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Literal, cast

from kfp_magics.errors import DefinitionError
from kfp_magics.pods import PodOptions, Toleration

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from kfp_magics.cells.options import CellOptions

_CPU = re.compile(r"\d+(\.\d+)?|\d+m")
_MEMORY = re.compile(r"\d+(\.\d+)?(E|P|T|G|M|K|Ei|Pi|Ti|Gi|Mi|Ki)?")
_DURATION = re.compile(r"(?:(\d+)h)?(?:(\d+)m)?(?:(\d+)s)?")
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_NAME = re.compile(r"(?=.{1,253}$)[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")
_LABEL_PART = r"[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?"
_LABEL_KEY = re.compile(rf"([a-z0-9]([-a-z0-9.]*[a-z0-9])?/)?{_LABEL_PART}")
_LABEL_VALUE = re.compile(rf"({_LABEL_PART})?")
_UNITS = {"K": 1e3, "M": 1e6, "G": 1e9, "T": 1e12, "P": 1e15, "E": 1e18}
_LEAST = 1e6  # bytes of memory that no container starts with
_EFFECTS = ("NoSchedule", "PreferNoSchedule", "NoExecute")


def pod_options(options: CellOptions) -> PodOptions:
    """Reads the options that concern the machine.

    Raises:
        DefinitionError: One does not read.
    """
    gpu_type, gpu = _gpu(options.gpu)
    if options.retries < 0:
        raise DefinitionError(f"--retries cannot be {options.retries}.", "Give a number from 0 on.")
    _check_twice(options)
    return PodOptions(
        cpu=_cpu(options.cpu),
        memory=_memory(options.memory),
        gpu=gpu,
        gpu_type=gpu_type,
        env=_variables(options.env),
        secrets=_keys(options.secret, "--secret"),
        secret_volumes=_mounts(options.secret_volume, "--secret-volume"),
        pvcs=_mounts(options.pvc, "--pvc"),
        retries=options.retries,
        timeout=_seconds(options.timeout),
        cache=not options.no_cache,
        labels=_labels(options.label, "--label"),
        node_selector=_labels(options.node_selector, "--node-selector"),
        tolerations=tuple(_toleration(word) for word in options.toleration),
        config_maps=_keys(options.config_map, "--config-map"),
        config_map_volumes=_mounts(options.config_map_volume, "--config-map-volume"),
        ephemeral_volumes=_volumes(options.ephemeral_volume),
        image_pull_secrets=tuple(
            _named(name, "--image-pull-secret") for name in dict.fromkeys(options.image_pull_secret)
        ),
        annotations=_labels(options.annotation, "--annotation", value=None),
    )


def _matching(word: str, pattern: re.Pattern[str], option: str, example: str) -> str:
    if word and not pattern.fullmatch(word):
        raise DefinitionError(f"{option} cannot be {word!r}.", f"Write it as Kubernetes does: {example}.")
    return word


def _cpu(word: str) -> str:
    found = _matching(word, _CPU, "--cpu", "2 or 500m")
    if found and not float(found.removesuffix("m")):
        raise DefinitionError("--cpu cannot be zero.", "Leave it out for no limit.")
    return found


def _memory(word: str) -> str:
    found = _matching(word, _MEMORY, "--memory", "512M or 2Gi")
    number = found.rstrip("iKMGTPE")
    if found and float(number) * _UNITS.get(found.removeprefix(number)[:1], 1) < _LEAST:
        raise DefinitionError(
            f"--memory {found} is less than any container needs.",
            f"Write it with its unit: {number.rstrip('0.') or 2}G.",
        )
    return found


def _check_twice(options: CellOptions) -> None:
    """Refuses what only one can have: a variable, and a path where something is mounted."""
    variables = [
        *((name, f"--env {name}") for name in dict.fromkeys(word.partition("=")[0] for word in options.env)),
        *((word.rpartition("=")[2], f"--secret {word}") for word in options.secret),
        *((word.rpartition("=")[2], f"--config-map {word}") for word in options.config_map),
    ]
    paths = [
        *((word.partition("=")[2], f"--secret-volume {word}") for word in options.secret_volume),
        *((word.partition("=")[2], f"--pvc {word}") for word in options.pvc),
        *((word.partition("=")[2], f"--config-map-volume {word}") for word in options.config_map_volume),
        *(
            (word.partition("=")[2].rpartition(":")[0], f"--ephemeral-volume {word}")
            for word in options.ephemeral_volume
        ),
    ]
    names = [(word.partition("=")[0], f"--ephemeral-volume {word}") for word in options.ephemeral_volume]
    for kind, found in (("variable", variables), ("path", paths), ("name", names)):
        seen: dict[str, str] = {}
        for key, said in found:
            first = seen.setdefault(key.rstrip("/"), said)
            if first != said:
                raise DefinitionError(f"{first} and {said} have the same {kind}.", f"Give one of them another {kind}.")


def _named(name: str, option: str) -> str:
    if not _NAME.fullmatch(name):
        raise DefinitionError(
            f"{option}: {name!r} is no name that Kubernetes knows.", "It has small letters, digits, dashes and dots."
        )
    return name


def _labels(words: Iterable[str], option: str, *, value: re.Pattern[str] | None = _LABEL_VALUE) -> dict[str, str]:
    found = _pairs(words, option)
    for key, one in found.items():
        if not _LABEL_KEY.fullmatch(key):
            raise DefinitionError(
                f"{option}: {key!r} is no name of a label.",
                "It has letters, digits, dashes, dots and underscores; DOMAIN/ may stand in front.",
            )
        if value and not value.fullmatch(one):
            raise DefinitionError(
                f"{option}: {key} cannot be {one!r}.",
                "A value has up to 63 letters, digits, dashes, dots and underscores"
                + ("; --annotation takes any text." if option == "--label" else "."),
            )
    return found


def _gpu(word: str) -> tuple[str, int]:
    if not word:
        return "", 0
    kind, colon, number = word.rpartition(":")
    if not number.isdecimal() or int(number) == 0 or (colon and not kind):
        raise DefinitionError(f"--gpu cannot be {word!r}.", "Write --gpu 1, or --gpu nvidia.com/gpu:1.")
    return kind or "nvidia.com/gpu", int(number)


def _seconds(word: str) -> float:
    if not word:
        return 0.0
    match = _DURATION.fullmatch(word)
    if match is None:
        raise DefinitionError(f"--timeout cannot be {word!r}.", "Write it with units: 90s, 10m, 1h30m.")
    hours, minutes, seconds = (int(part or 0) for part in match.groups())
    total = 3600.0 * hours + 60.0 * minutes + seconds
    if not total:
        raise DefinitionError("--timeout cannot be zero.", "Leave it out for no limit.")
    return total


def _split(words: Iterable[str], option: str, form: str) -> Iterator[tuple[str, str]]:
    for word in words:
        key, equals, value = word.partition("=")
        if not key or not equals:
            raise DefinitionError(f"{option} cannot be {word!r}.", f"Write {option} {form}.")
        yield key, value


def _pairs(words: Iterable[str], option: str) -> dict[str, str]:
    return dict(_split(words, option, "K=V"))


def _variables(words: Iterable[str]) -> dict[str, str]:
    found = _pairs(words, "--env")
    for name in found:
        _check_variable(name, "--env")
    return found


def _check_variable(name: str, option: str) -> None:
    if not _VARIABLE.fullmatch(name):
        raise DefinitionError(f"{option}: {name!r} is no name of a variable.", "Use letters, digits and underscores.")


def _keys(words: Iterable[str], option: str) -> dict[str, tuple[str, str]]:
    found: dict[str, tuple[str, str]] = {}
    for source, variable in _split(words, option, "NAME:KEY=ENV"):
        name, colon, key = source.partition(":")
        if not (name and colon and key):
            raise DefinitionError(
                f"{option} cannot be '{source}={variable}'.", f"Write {option} NAME:KEY=ENV; the value stays out of it."
            )
        _check_variable(variable, option)
        found[variable] = (_named(name, option), key)
    return found


def _mounts(words: Iterable[str], option: str) -> dict[str, str]:
    found = {path: _named(name, option) for name, path in _split(words, option, "NAME=PATH")}
    for path in found:
        if not path.startswith("/"):
            raise DefinitionError(f"{option}: the path {path!r} is not absolute.", f"Write {option} NAME=/path.")
    return found


def _volumes(words: Iterable[str]) -> dict[str, tuple[str, str]]:
    found: dict[str, tuple[str, str]] = {}
    for name, rest in _split(words, "--ephemeral-volume", "NAME=PATH:SIZE"):
        path, _, size = rest.rpartition(":")
        if not path.startswith("/") or not size or not _MEMORY.fullmatch(size):
            raise DefinitionError(
                f"--ephemeral-volume cannot be '{name}={rest}'.",
                "Write it with its size: tmp=/data:10Gi.",
            )
        found[path] = (_named(name, "--ephemeral-volume"), size)
    return found


def _toleration(word: str) -> Toleration:
    head, _, effect = word.rpartition(":") if word.endswith(tuple(f":{one}" for one in _EFFECTS)) else (word, "", "")
    key, equals, value = head.partition("=")
    if not key or ":" in head:
        raise DefinitionError(
            f"--toleration cannot be {word!r}.", f"Write K=V:EFFECT or K:EFFECT; effects are {', '.join(_EFFECTS)}."
        )
    return Toleration(
        key=key,
        operator="Equal" if equals else "Exists",
        value=value,
        effect=cast("Literal['NoSchedule']", effect),
    )
