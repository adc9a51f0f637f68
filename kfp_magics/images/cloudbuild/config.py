"""``cloudbuild.yaml``: read as strictly as Google does, with what is missing said before anything is uploaded."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import yaml
from google.cloud.devtools import cloudbuild_v1 as cb
from google.protobuf import json_format

from kfp_magics.errors import BuildError, did_you_mean

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from kfp_magics.model import Json

_REFERENCE = re.compile(r"\$(?:\$|\{([A-Z_][A-Z0-9_]*)\}|([A-Z_][A-Z0-9_]*))")
_KEY = re.compile(r"_[A-Z0-9_]+")
# What Cloud Build itself knows in every build, and what a build that no trigger started has as an empty string.
_ALWAYS = frozenset(
    {"PROJECT_ID", "PROJECT_NUMBER", "BUILD_ID", "LOCATION", "SERVICE_ACCOUNT", "SERVICE_ACCOUNT_EMAIL"}
)
_OF_TRIGGERS = frozenset(
    {"TRIGGER_NAME", "TRIGGER_BUILD_CONFIG_PATH", "COMMIT_SHA", "REVISION_ID", "SHORT_SHA", "REPO_NAME"}
    | {"REPO_FULL_NAME", "BRANCH_NAME", "TAG_NAME", "REF_NAME"}
)
_NOT_REPLACED = frozenset({"substitutions", "script", "secretEnv", "secret_env"})


def dockerfile_config(image: str, *, dockerfile: str = "Dockerfile") -> str:
    """The build of a folder that has a Dockerfile and no ``cloudbuild.yaml``.

    Args:
        image: What to call the image.
        dockerfile: Its name in the folder.
    """
    step = {"name": "gcr.io/cloud-builders/docker", "args": ["build", "-f", dockerfile, "-t", image, "."]}
    return yaml.safe_dump({"steps": [step], "images": [image]}, sort_keys=False)


def read_config(text: str, offered: Mapping[str, str], where: str = "cloudbuild.yaml") -> cb.Build:
    """Reads a build configuration and gives it the substitutions that it asks for.

    Args:
        text: YAML or JSON.
        offered: Name → value of what is known here; only what the file uses is taken. Names without an underscore that
            Cloud Build does not know itself are replaced here, as ``sed`` does in many repositories.
        where: The file, for messages.

    Raises:
        BuildError: The file is not what Cloud Build takes, or uses a name that nobody gives a value.
    """
    try:
        body = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise BuildError(f"{where} is no YAML: {' '.join(str(error).split())}", "Mend it and build again.") from error
    if not isinstance(body, dict) or not body.get("steps"):
        raise BuildError(f"{where} has no steps.", "Write at least one: steps: [{name: …, args: […]}]")
    if "source" in body:
        raise BuildError(f"{where} names a source of its own.", "Leave 'source' out: the step's folder is the source.")
    own = _strings_of(body.get("substitutions") or {}, where)
    used = set(_used(body))
    body = _replaced(body, {name: offered[name] for name in used & offered.keys() if _is_foreign(name)})
    build = _parse(body, where)
    loose = build.options.substitution_option == cb.BuildOptions.SubstitutionOption.ALLOW_LOOSE
    _check_names(
        {name for name in used if not (_is_foreign(name) and name in offered)}, own, offered, where, loose=loose
    )
    for name in sorted(used & offered.keys()):
        if not _is_foreign(name):
            build.substitutions[name] = offered[name]
    return build


def _is_foreign(name: str) -> bool:
    return not name.startswith("_") and name not in _ALWAYS | _OF_TRIGGERS


def _strings_of(found: Mapping[str, Json], where: str) -> dict[str, str]:
    for name, value in found.items():
        if not isinstance(value, str):
            raise BuildError(
                f"{where}: the substitution {name} is {value!r}, and only text will do.", f"Quote it: {name}: '{value}'"
            )
        if not _KEY.fullmatch(name) and name not in _OF_TRIGGERS:
            raise BuildError(
                f"{where}: a substitution cannot be called {name!r}.",
                "Begin it with an underscore, in capitals: _REGION",
            )
    return dict(found)


def _used(value: Json) -> Iterator[str]:
    for text in _texts(value):
        for match in _REFERENCE.finditer(text):
            if name := match.group(1) or match.group(2):
                yield name


def _texts(value: Json) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for key, item in value.items():
            if key not in _NOT_REPLACED:
                yield from _texts(item)
    elif isinstance(value, list):
        for item in value:
            yield from _texts(item)


def _replaced(value: Json, values: Mapping[str, str]) -> Any:  # noqa: ANN401  (JSON in, JSON out)
    if isinstance(value, str):

        def one(match: re.Match[str]) -> str:
            name = match.group(1) or match.group(2)
            return values.get(name, match.group()) if name else match.group()

        return _REFERENCE.sub(one, value)
    if isinstance(value, dict):
        return {key: item if key in _NOT_REPLACED else _replaced(item, values) for key, item in value.items()}
    if isinstance(value, list):
        return [_replaced(item, values) for item in value]
    return value


def _parse(body: Json, where: str) -> cb.Build:
    message = cb.Build.pb(cb.Build())
    try:
        json_format.ParseDict(body, message)
    except json_format.ParseError as error:
        said = " ".join(str(error).split())
        hint = "Cloud Build's schema: https://cloud.google.com/build/docs/build-config-file-schema"
        if "expected string" in said.lower():
            hint = "Quote the number or the yes/no: args: ['1', 'true']"
        elif "duration" in said.lower():
            hint = "Write seconds with an s behind them: timeout: 600s"
        raise BuildError(f"{where} is not what Cloud Build takes: {said}", hint) from error
    build: cb.Build = cb.Build.wrap(message)
    _check_steps(build, where)
    return build


def _check_steps(build: cb.Build, where: str) -> None:
    earlier: set[str] = set()
    for number, step in enumerate(build.steps, 1):
        label = f"{where}: step {step.id or number}"
        if not step.name:
            raise BuildError(f"{label} names no image.", "Write one: name: gcr.io/cloud-builders/docker")
        if step.script and (step.args or step.entrypoint):
            raise BuildError(f"{label} has a script and args or an entrypoint.", "Keep one of them.")
        for needed in step.wait_for:
            if needed != "-" and needed not in earlier:
                raise BuildError(
                    f"{label} waits for {needed!r}, which is no earlier step.",
                    did_you_mean(needed, earlier) or "Give the earlier step that id.",
                )
        if step.id and step.id in earlier | {"-"}:
            raise BuildError(f"{label}: its id stands twice or is '-'.", "Give each step an id of its own.")
        earlier.add(step.id)


def _check_names(
    used: set[str], own: Mapping[str, str], offered: Mapping[str, str], where: str, *, loose: bool
) -> None:
    for name in sorted(used):
        if name in own or name in offered or name in _ALWAYS | _OF_TRIGGERS:
            continue
        if name.startswith("_") and loose:
            continue
        if name.startswith("_"):
            raise BuildError(
                f"{where} uses ${{{name}}}, and nothing gives it a value.",
                f"Add it under substitutions:, or build with --substitution {name}=VALUE",
            )
        raise BuildError(
            f"{where} uses ${name}, which Cloud Build does not know.",
            f"For a variable of the shell write $${name}; for one of yours --substitution {name}=VALUE",
        )
    unused = sorted(name for name in own if name.startswith("_") and name not in used)
    if unused and not loose:
        raise BuildError(
            f"{where} gives {unused[0]} a value and never uses it, which Cloud Build refuses.",
            "Leave it out, or say options: {substitutionOption: ALLOW_LOOSE}",
        )
