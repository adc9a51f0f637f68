"""Which new file starts a run, and what the run is given: decided here, whoever sees the file.

Standard library only, and nothing of kfp_magics: this very file also stands beside the generated function in the cloud.
"""

from __future__ import annotations

import ast
import hashlib
import json
import re
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from functools import lru_cache
from string import Template
from typing import Any

FINALIZED = "google.cloud.storage.object.v1.finalized"
"""The type of the event that tells of a new object."""

UNFINISHED = (".*", "*.part", "*.partial", "*.crdownload", "*.tmp", "*.temp", "*.swp", "*~")
"""Patterns of files that somebody is still writing, or that nobody is meant to see."""

PLACEHOLDERS = ("uri", "bucket", "name", "generation", "size", "time", "uris")
"""What a parameter's text may ask for."""

_LONGEST_NAME, _LONGEST_WORD = 4096, 255
_HOSTILE = frozenset({"Cc", "Cs", "Zl", "Zp"})  # control characters, halves of characters, line separators
_NAME = re.compile(r"[a-z]([a-z0-9-]{0,61}[a-z0-9])?")


class RuleError(ValueError):
    """A rule or an event is not what it must be.

    Args:
        message: What is wrong with what.
        hint: What to do about it.
    """

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(f"{message}\n{hint}" if hint else message)
        self.message = message
        self.hint = hint


@dataclass(frozen=True, kw_only=True, slots=True)
class NewObject:
    """One version of a file.

    Attributes:
        bucket: The bucket, or the absolute path of a folder.
        name: Its name there; parts are separated by ``/``.
        generation: Which version; another one when the content is replaced.
        size: Bytes.
        time: When it was written, as RFC 3339 has it.
        content_type: Its media type, as far as known.

    Raises:
        RuleError: No file is called so.
    """

    bucket: str
    name: str
    generation: str
    size: int = 0
    time: str = ""
    content_type: str = ""

    def __post_init__(self) -> None:
        for what, text, longest in (
            ("bucket", self.bucket, _LONGEST_NAME),
            ("name", self.name, _LONGEST_NAME),
            ("generation", self.generation, _LONGEST_WORD),
        ):
            if not isinstance(text, str) or not text:
                raise RuleError(f"A new file has no {what}.")
            if len(text) > longest:
                raise RuleError(f"The {what} of a new file is too long: {text[:60]!r}…")
            if any(unicodedata.category(one) in _HOSTILE for one in text):
                raise RuleError(f"The {what} of a new file holds control characters: {text[:200]!r}")
        if ".." in self.name.split("/"):
            raise RuleError(f"The name of a new file leads out of its folder: {self.name[:200]!r}")

    @property
    def uri(self) -> str:
        """Where it is: ``gs://bucket/name``, or the absolute path of a file of this machine."""
        return f"{self.bucket.rstrip('/')}/{self.name}" if self.bucket[0] == "/" else f"gs://{self.bucket}/{self.name}"

    @property
    def key(self) -> str:
        """What makes it one delivery, however often it is told of."""
        return f"{self.uri}#{self.generation}"

    @classmethod
    def from_event(cls, attributes: Mapping[str, Any], data: Any) -> NewObject:  # noqa: ANN401  (whatever was sent)
        """Reads a CloudEvent of Cloud Storage.

        Args:
            attributes: The attributes of the event.
            data: Its data, a ``StorageObjectData``.

        Raises:
            RuleError: It is another event, or is partial, or names what cannot be.
        """
        if attributes.get("type") != FINALIZED:
            raise RuleError(f"The event is no {FINALIZED}: {str(attributes.get('type'))[:100]!r}")
        if not isinstance(data, Mapping):
            raise RuleError("The event has no data.")
        if attributes.get("bucket") not in (None, "", data.get("bucket")):
            raise RuleError("The event and its data name different buckets.")
        generation, size = str(data.get("generation") or ""), str(data.get("size") or "0")
        if not re.fullmatch(r"[0-9]{1,20}", generation):
            raise RuleError(f"The event has no generation: {generation[:60]!r}")
        if not re.fullmatch(r"[0-9]{1,20}", size):
            raise RuleError(f"The event's size is no number: {size[:60]!r}")
        found = cls(
            bucket=data.get("bucket") or "",
            name=data.get("name") or "",
            generation=generation,
            size=int(size),
            time=_text(data.get("timeCreated") or data.get("updated") or attributes.get("time")),
            content_type=_text(data.get("contentType")),
        )
        if "/" in found.bucket or len(found.bucket) > _LONGEST_WORD:
            raise RuleError(f"No bucket is called {found.bucket[:100]!r}.")
        return found

    def to_json(self) -> dict[str, Any]:
        """The object as plain JSON values."""
        return asdict(self)

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> NewObject:
        """Reads what `to_json` wrote."""
        return cls(**_known(cls, value))


@dataclass(frozen=True, slots=True)
class Event:
    """What a rule's function is called with: the newest object, and with it those that were gathered.

    Attributes:
        objects: All of them, oldest first; one unless the rule gathers.
    """

    objects: tuple[NewObject, ...]

    @property
    def newest(self) -> NewObject:
        """The object that came last."""
        return self.objects[-1]

    @property
    def uri(self) -> str:
        """Where the newest is."""
        return self.newest.uri

    @property
    def bucket(self) -> str:
        """The bucket, or the folder, of the newest."""
        return self.newest.bucket

    @property
    def name(self) -> str:
        """The name of the newest in its bucket or folder."""
        return self.newest.name

    @property
    def generation(self) -> str:
        """Which version of it."""
        return self.newest.generation

    @property
    def size(self) -> int:
        """The bytes of the newest."""
        return self.newest.size

    @property
    def time(self) -> str:
        """When the newest was written."""
        return self.newest.time

    @property
    def content_type(self) -> str:
        """The media type of the newest."""
        return self.newest.content_type

    @property
    def uris(self) -> list[str]:
        """Where all of them are, oldest first."""
        return [one.uri for one in self.objects]


@dataclass(frozen=True, kw_only=True, slots=True)
class Rule:
    """Which new files start runs of a pipeline, and with what parameters.

    Patterns are those of a shell: ``*`` and ``?`` stay within one folder, ``**`` does not, ``[0-9]`` is a set. One that
    ends with ``/`` means all that is below.

    Attributes:
        name: Small letters, digits and dashes.
        on: Pattern of URIs: ``gs://bucket/prefix*``, or an absolute path.
        pipeline: Name of the pipeline.
        templates: Parameter → value. In texts ``$uri`` and the other `PLACEHOLDERS` are filled, ``$$`` is a dollar.
        as_json: Parameters that are no text: what their template gives is read as JSON.
        function: Source of a module whose last function takes an `Event` and gives more parameters, or None to decline.
        ignore: Patterns of files that start nothing. One without ``/`` is that of a file or of any folder it lies in,
            one that begins with ``gs://`` or ``/`` that of a URI, any other that of a name in the bucket or the folder.
        gather: Seconds for which files are gathered into one run, counted from the first.

    Raises:
        RuleError: It could not work.
    """

    name: str
    on: str
    pipeline: str
    templates: Mapping[str, Any] = field(default_factory=dict)
    as_json: tuple[str, ...] = ()
    function: str = ""
    ignore: tuple[str, ...] = UNFINISHED
    gather: float = 0.0

    def __post_init__(self) -> None:
        if not _NAME.fullmatch(self.name):
            raise RuleError(f"A rule cannot be called {self.name!r}.", "Take small letters, digits and dashes.")
        bucket, slash, _ = self.on.removeprefix("gs://").partition("/")
        if self.on.startswith("gs://"):
            if not slash or not re.fullmatch(r"[a-z0-9._-]{3,222}", bucket):
                raise RuleError(f"{self.on!r} names no bucket.", "Write gs://BUCKET/PREFIX*")
        elif not self.on.startswith("/"):
            raise RuleError(f"{self.on!r} is neither in a bucket nor an absolute path.", "Write gs://BUCKET/PREFIX*")
        if not 0 <= self.gather <= 86_400:
            raise RuleError(f"Files cannot be gathered for {self.gather} seconds.", "A day is the longest.")
        for pattern in (self.on, *self.ignore):
            _regex(pattern)
        for key, value in self.templates.items():
            _check_template(key, value)
        if self.function:
            entry_of(self.function)

    def matches(self, found: NewObject) -> bool:
        """Whether a new object starts a run."""
        if found.name.endswith("/") or not _regex(self.on).fullmatch(found.uri):
            return False
        return not any(_ignores(pattern, found) for pattern in self.ignore)

    def parameters(self, objects: Sequence[NewObject]) -> dict[str, Any] | None:
        """What a run is given.

        Args:
            objects: What it is started for, oldest first.

        Returns:
            Parameter → value, or None when the function declines.

        Raises:
            RuleError: The function gave what is none, or a value does not read as JSON.
        """
        event = Event(tuple(objects))
        values = {key: self._filled(key, template, event) for key, template in self.templates.items()}
        if not self.function:
            return values
        given = _function(self.function)(event)
        if given is None:
            return None
        if not isinstance(given, dict) or not all(isinstance(key, str) for key in given):
            raise RuleError(f"The function gave {given!r:.100}.", "Return a dict of parameters, or None to decline.")
        return values | given

    def _filled(self, key: str, template: Any, event: Event) -> Any:  # noqa: ANN401  (JSON)
        if not isinstance(template, str):
            return template
        words = {name: getattr(event, name) for name in PLACEHOLDERS}
        text = Template(template).substitute(words | {"uris": json.dumps(event.uris)})
        if key not in self.as_json:
            return text
        try:
            return json.loads(text)
        except json.JSONDecodeError as error:
            raise RuleError(f"The parameter {key!r} became {text[:100]!r}, which is no JSON.") from error

    def delivery_id(self, objects: Sequence[NewObject]) -> str:
        """32 hexadecimal digits that are the same whenever this rule is told of the same objects, in any order."""
        text = "\n".join([self.name, *sorted(one.key for one in objects)])
        return hashlib.sha256(text.encode()).hexdigest()[:32]

    def to_json(self) -> dict[str, Any]:
        """The rule as plain JSON values."""
        return asdict(self) | {"as_json": list(self.as_json), "ignore": list(self.ignore)}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Rule:
        """Reads what `to_json` wrote."""
        known = _known(cls, value)
        return cls(**known | {key: tuple(known[key]) for key in ("as_json", "ignore") if key in known})


def entry_of(source: str) -> str:
    """The name of the function of a module that takes events: the last one.

    Raises:
        RuleError: The module does not parse, or its last function does not take one event.
    """
    try:
        tree = ast.parse(source)
    except (SyntaxError, ValueError) as error:
        line = f" (line {error.lineno})" if isinstance(error, SyntaxError) else ""
        raise RuleError(f"The function does not parse: {error.args[0]}{line}.") from error
    found = [one for one in tree.body if isinstance(one, ast.FunctionDef | ast.AsyncFunctionDef)]
    if not found or isinstance(found[-1], ast.AsyncFunctionDef):
        raise RuleError("There is no function that takes an event.", "Write: def parameters(event): …")
    takes = found[-1].args
    most, least = len(takes.posonlyargs + takes.args), len(takes.posonlyargs + takes.args) - len(takes.defaults)
    required = [one for one, default in zip(takes.kwonlyargs, takes.kw_defaults, strict=True) if default is None]
    if required or least > 1 or not (most or takes.vararg):
        raise RuleError(f"The function {found[-1].name!r} does not take one event.", f"def {found[-1].name}(event): …")
    return found[-1].name


def literal(path: str) -> str:
    """A pattern that only a path itself matches, whatever characters it has."""
    return re.sub(r"([*?[])", r"[\1]", path)


@lru_cache(maxsize=64)
def _function(source: str) -> Callable[[Event], Any]:
    names: dict[str, Any] = {"__name__": "new_data"}
    exec(compile(source, "<new data>", "exec", dont_inherit=True), names)  # noqa: S102  (the user's own function)
    found: Callable[[Event], Any] = names[entry_of(source)]
    return found


def _check_template(key: str, value: Any) -> None:  # noqa: ANN401  (JSON)
    if not key.isidentifier():
        raise RuleError(f"No parameter can be called {key!r}.")
    if not isinstance(value, str):
        return
    template = Template(value)
    known = ", ".join(f"${one}" for one in PLACEHOLDERS)
    if not template.is_valid():
        raise RuleError(f"A dollar of {key}={value} asks for nothing.", f"Write $$ for a dollar; known: {known}")
    unknown = next((name for name in template.get_identifiers() if name not in PLACEHOLDERS), "")
    if unknown:
        raise RuleError(f"{key}={value}: a new file has no ${unknown}.", f"Known: {known}. Write $$ for a dollar.")


def _ignores(pattern: str, found: NewObject) -> bool:
    if pattern.startswith(("gs://", "/")):
        return bool(_regex(pattern).fullmatch(found.uri))
    if "/" in pattern:
        return bool(_regex(pattern).fullmatch(found.name))
    return any(_regex(pattern).fullmatch(part) for part in found.name.split("/"))


@lru_cache(maxsize=1024)
def _regex(pattern: str) -> re.Pattern[str]:
    if not pattern:
        raise RuleError("A pattern is empty.")
    parts, position = [], 0
    text = f"{pattern}**" if pattern.endswith("/") else pattern
    while position < len(text):
        token = re.compile(r"\*\*/?|\*|\?|\[!?\]?[^\]/]*\]|.", re.DOTALL).match(text, position)
        assert token is not None
        word, position = token.group(), token.end()
        if word == "**/":
            parts.append("(?:.*/)?")
        elif word in {"**", "*", "?"}:
            parts.append({"**": ".*", "*": "[^/]*", "?": "[^/]"}[word])
        elif len(word) > 1:
            parts.append(f"[{_set(word[1:-1])}]")
        else:
            parts.append(re.escape(word))
    try:
        return re.compile("".join(parts), re.DOTALL)
    except re.error as error:
        raise RuleError(f"The pattern {pattern!r} does not read: {error}.") from error


def _set(inside: str) -> str:
    negated = inside.startswith("!")
    body = re.sub(r"([\\\]\[&~|^])", r"\\\1", inside.removeprefix("!"))
    return f"^/{body}" if negated else body


def _text(value: Any) -> str:  # noqa: ANN401  (whatever was sent)
    return value[:_LONGEST_WORD] if isinstance(value, str) and value.isprintable() else ""


def _known(cls: type[Any], value: Mapping[str, Any]) -> dict[str, Any]:
    names = {one.name for one in fields(cls)}
    return {key: item for key, item in value.items() if key in names}
