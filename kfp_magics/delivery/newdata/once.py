"""One new object, one run: however often the event is delivered, by how many instances, and wherever they die.

This file is copied beside the generated function. An event is answered with success only when what it asks for is
done and written down; until then it is delivered again. What is written down is read before anything is started:

- ``objects/ID`` is claimed before a run is looked for and started, and then says which run it was. A claim whose owner
  died is taken over when it is older than `LEASE`; whoever takes it over looks for the run first.
- With a window, ``waiting/ID`` keeps an object until its run is started, and its event is answered at once. The first
  event leads: it waits for the end of the window, and writes down in ``leader`` what it gathered before it starts the
  run. Its own event is answered last, so it is delivered again to somebody who goes on if it dies.
"""

from __future__ import annotations

import json
import secrets
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from .claims import NOT_THERE, Claims, Entry
from .rules import NewObject, Rule

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from typing import Any

LEASE = 180.0
"""Seconds after which a claim counts as left behind."""
START_WITHIN = 60.0
"""Seconds after its claim within which a run is started, or not at all: long before the claim is taken over."""
_LOOKS, _PAUSE = 20, 0.5  # how often and after how many seconds somebody else's claim is looked at
_LEADER = "leader"


class AgainError(Exception):
    """What the event asks for is not done yet: it is to be delivered again."""


@dataclass(frozen=True, kw_only=True)
class Started:
    """A run that a server has.

    Attributes:
        run: Its id there.
        url: Its page.
    """

    run: str
    url: str = ""


@dataclass(frozen=True, kw_only=True)
class Job:
    """What is to run.

    Attributes:
        mark: What tells this run from all others.
        objects: What it is started for, oldest first.
        parameters: Pipeline parameter → value.
    """

    mark: str
    objects: Sequence[NewObject]
    parameters: Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What became of an event.

    Attributes:
        what: ``started``, ``before`` (it was done already), ``waiting`` (it is gathered) or ``declined``.
        objects: What the run is for.
        started: The run, if there is one.
        parameters: What it was given, where it was started just now.
    """

    what: str
    objects: Sequence[NewObject]
    started: Started | None = None
    parameters: Mapping[str, Any] | None = None


class Runs(Protocol):
    """Where runs go."""

    def find(self, mark: str) -> Started | None:
        """Looks for the run of a mark; None when there is none, and one can be started now."""

    def start(self, job: Job) -> Started:
        """Starts a run; of several with one mark one stays."""


class Once:
    """Starts a run for each new object, once.

    Args:
        rule: What runs are given.
        claims: What is remembered.
        runs: Where runs go.
        mark: What the marks of runs begin with: other for trials than for what counts.
        clock: Seconds since the epoch.
        sleep: Waits for some seconds.
    """

    def __init__(
        self,
        rule: Rule,
        claims: Claims,
        runs: Runs,
        *,
        mark: str = "",
        clock: Callable[[], float] = time.time,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._rule = rule
        self._claims = claims
        self._runs = runs
        self._mark = mark
        self._clock = clock
        self._sleep = sleep

    def take(self, found: NewObject) -> Answer:
        """Does what a new object asks for, as far as it is not done yet.

        Args:
            found: The object; whether the rule matches it is no question any more.

        Raises:
            AgainError: Somebody else is at it, or died at it a moment ago.
        """
        key = self._rule.delivery_id([found])
        if self._rule.gather:
            return self._gathered(key, found)
        parameters = self._rule.parameters([found])
        if parameters is None:
            return Answer(what="declined", objects=[found])
        return self._one(f"objects/{key}", Job(mark=self._mark + key, objects=[found], parameters=parameters))

    # One object

    def _one(self, key: str, job: Job) -> Answer:
        entry = self._settled(key)
        if entry is not None and "run" in entry.facts:
            return Answer(what="before", objects=job.objects, started=_started(entry.facts))
        about = json.dumps(job.objects[0].to_json())
        version = self._claims.write(key, _signed(object=about), entry.version if entry else NOT_THERE)
        if version is None:
            raise AgainError("Another instance took the event at the same moment.")
        claimed, sent = self._clock(), False
        try:
            started = self._runs.find(job.mark)
            sent = started is not None or self._in_time(claimed)
        finally:
            if not sent:  # nothing was started: whoever comes next need not wait
                self._claims.remove(key, version)
        if started is not None:
            return self._done(key, version, job, started, "before")
        return self._done(key, version, job, self._runs.start(job), "started")

    def _settled(self, key: str) -> Entry | None:
        """The entry of an object once nobody is at it any more: done, left behind, or not there."""
        for look in range(_LOOKS + 1):
            entry = self._claims.read(key)
            if entry is None or "run" in entry.facts or self._clock() - entry.changed > LEASE:
                return entry
            if look < _LOOKS:
                self._sleep(_PAUSE)
        raise AgainError("Another instance is starting the run, or died at it.")

    def _in_time(self, claimed: float) -> bool:
        if self._clock() - claimed < START_WITHIN:
            return True
        raise AgainError("It took too long until the server could be asked.")

    def _done(self, key: str, version: int, job: Job, started: Started, what: str) -> Answer:
        facts = _signed(object=json.dumps(job.objects[0].to_json()), run=started.run, url=started.url)
        self._claims.write(key, facts, version)  # whoever took the claim over meanwhile finds the same run
        return Answer(what=what, objects=job.objects, started=started, parameters=job.parameters)

    # Several in one run

    def _gathered(self, key: str, found: NewObject) -> Answer:
        answer = Answer(what="waiting", objects=[found])
        done = self._ended(key)
        if done is not None:
            answer = Answer(what="before", objects=[found], started=_started(done.facts))
        elif self._claims.read(f"waiting/{key}") is None:
            self._claims.write(f"waiting/{key}", _signed(object=json.dumps(found.to_json())), NOT_THERE)
        window = self._rule.gather
        # Looked at again after each run: what came while it was being started found a leader, and relies on it.
        while self._claims.keys("waiting/"):
            led = self._lead(key, window)
            if led is None:
                return answer
            answer = led if any(one.key == found.key for one in led.objects) else answer
            window = 0.0
        return answer

    def _lead(self, key: str, window: float) -> Answer | None:
        """Starts the run of a window; None when somebody else leads."""
        entry = self._claims.read(_LEADER)
        members = entry.facts.get("members", "") if entry is not None else ""
        if entry is not None and "free" not in entry.facts and self._lives(entry):
            if entry.facts["key"] == key:
                raise AgainError("The event leads a window that is not over, or whose leader died.")
            return None
        now = entry.version if entry is not None else NOT_THERE
        version = self._claims.write(_LEADER, _lead_facts(key, members), now)
        if version is None:
            return None
        if not members:
            self._sleep(window if entry is None else 0.0)
            members = json.dumps(self._collect())
            version = self._claims.write(_LEADER, _lead_facts(key, members), version)
            if version is None:
                raise AgainError("Another instance took the window over.")
        return self._start_window(key, members, version)

    def _lives(self, leader: Entry) -> bool:
        window = 0.0 if "members" in leader.facts else self._rule.gather
        return self._clock() - leader.changed <= window + LEASE

    def _collect(self) -> list[str]:
        """The objects that wait; those whose run was started come from an event that was delivered late."""
        found = []
        for key in self._claims.keys("waiting/"):
            member = key.removeprefix("waiting/")
            entry = self._claims.read(key)
            if entry is not None and self._ended(member) is not None:
                self._claims.remove(key, entry.version)
            elif entry is not None:
                found.append(member)
        return found

    def _start_window(self, key: str, members: str, version: int) -> Answer:
        claimed, sent = self._clock(), False
        keys: list[str] = json.loads(members)
        try:
            objects = sorted(
                (one for member in keys if (one := self._member(member)) is not None),
                key=lambda one: (one.time, one.generation, one.uri),
            )
            parameters = self._rule.parameters(objects) if objects else None
            job = Job(mark=self._mark + self._window_id(keys), objects=objects, parameters=parameters or {})
            started = self._runs.find(job.mark) if parameters is not None else None
            sent = parameters is None or started is not None or self._in_time(claimed)
        finally:
            if not sent:
                self._claims.write(_LEADER, _lead_facts(key, members) | {"free": "yes"}, version)
        what = "declined" if parameters is None else "started" if started is None else "before"
        if what == "started":
            started = self._runs.start(job)
        for member in keys:
            self._finish(member, started)
        self._claims.remove(_LEADER, version)
        return Answer(what=what, objects=objects, started=started, parameters=parameters)

    def _ended(self, member: str) -> Entry | None:
        entry = self._claims.read(f"objects/{member}")
        return entry if entry is not None and "run" in entry.facts else None

    def _window_id(self, keys: Sequence[str]) -> str:
        """What tells a window from all others: the objects in it."""
        return keys[0] if len(keys) == 1 else _digest(keys)

    def _member(self, member: str) -> NewObject | None:
        entry = self._claims.read(f"waiting/{member}") or self._claims.read(f"objects/{member}")
        return None if entry is None else NewObject.from_json(json.loads(entry.facts["object"]))

    def _finish(self, member: str, started: Started | None) -> None:
        waiting = self._claims.read(f"waiting/{member}")
        if waiting is None:
            return
        ended = started or Started(run="")
        facts = _signed(object=waiting.facts["object"], run=ended.run, url=ended.url)
        before = self._claims.read(f"objects/{member}")
        if before is None or "run" not in before.facts:
            self._claims.write(f"objects/{member}", facts, before.version if before else NOT_THERE)
        self._claims.remove(f"waiting/{member}", waiting.version)


def _lead_facts(key: str, members: str) -> dict[str, str]:
    return _signed(key=key, **({"members": members} if members else {}))


def _signed(**facts: str) -> dict[str, str]:
    """Facts that nobody else writes, so that one whose answer got lost knows its own again."""
    return {**facts, "owner": secrets.token_hex(8)}


def _started(facts: Mapping[str, str]) -> Started:
    return Started(run=facts.get("run", ""), url=facts.get("url", ""))


def _digest(keys: Sequence[str]) -> str:
    import hashlib  # noqa: PLC0415  (only for windows)

    return hashlib.sha256("\n".join(sorted(keys)).encode()).hexdigest()[:32]
