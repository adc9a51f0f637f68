"""Which accounts there are and what each of them may do: the plan that commands and Terraform are written from."""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Literal

from kfp_magics.delivery.auth.needs import Need, smallest
from kfp_magics.delivery.auth.services import SECRETS, USER, VERTEX, VIEWER
from kfp_magics.delivery.auth.words import PARTS
from kfp_magics.errors import ArgumentError
from kfp_magics.options import default_bucket
from kfp_magics.pods import CREDENTIALS, GCP_MOUNT, gcp_key_file

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from kfp_magics.backends.connections import Connection
    from kfp_magics.delivery.auth.functions import Function
    from kfp_magics.delivery.auth.needs import Needs
    from kfp_magics.delivery.auth.words import Options
    from kfp_magics.settings import Settings

AGENT = "storage-agent"
"""Stands for the account by which Cloud Storage itself sends events; only Google knows its address."""
_DOMAINED = r"(?:[a-z][a-z0-9.-]*\.[a-z]+:)?"
_PROJECT = re.compile(rf"{_DOMAINED}[a-z][a-z0-9-]{{4,28}}[a-z0-9]")
_ACCOUNT = re.compile(r"[a-z][a-z0-9-]{4,28}[a-z0-9]")
_EMAIL = re.compile(r"[a-z0-9][a-z0-9-]*@[a-z0-9-]+(?:\.[a-z0-9-]+)+")
_BUCKET = re.compile(r"[a-z0-9][a-z0-9._-]{1,220}[a-z0-9]")
_LABEL = re.compile(r"[a-z0-9](?:[-a-z0-9]{0,61}[a-z0-9])?")
_NAME = re.compile(r"[a-z0-9](?:[-a-z0-9.]{0,251}[a-z0-9])?")
_REPOSITORY = re.compile(r"(?P<location>[a-z0-9-]+)-docker\.pkg\.dev/(?P<project>[^/]+)/(?P<name>[^/]+)(?:/.*)?")


@dataclass(frozen=True, kw_only=True, slots=True)
class Target:
    """What a role is given on.

    Attributes:
        kind: Which sort of thing.
        name: Its name: a project, ``gs://BUCKET``, a repository, an account's address, a secret.
        location: Of a repository.
        project: The project that it is in, where its name does not say so.
    """

    kind: Literal["project", "bucket", "repository", "account", "secret"]
    name: str
    location: str = ""
    project: str = ""

    def __str__(self) -> str:
        return self.name if self.kind == "bucket" else f"{self.kind} {self.name}"


@dataclass(frozen=True, kw_only=True, slots=True)
class Account:
    """A service account.

    Attributes:
        part: Which of `PARTS` it is for.
        email: Its address.
        purpose: What it is for, in a few words.
        is_made: Whether it is to be made here; one of another project only gets roles.
    """

    part: str
    email: str
    purpose: str
    is_made: bool

    @property
    def name(self) -> str:
        """What stands before the address's @."""
        return self.email.partition("@")[0]


@dataclass(frozen=True, kw_only=True, slots=True)
class Grant:
    """A role that an account gets.

    Attributes:
        part: Which of `PARTS` it is for.
        member: The account's address, or `AGENT`.
        role: The role.
        target: On what.
        reasons: Why, a line each.
    """

    part: str
    member: str
    role: str
    target: Target
    reasons: tuple[str, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Plan:
    """Who may do what.

    Attributes:
        project: Google Cloud project.
        apis: APIs that have to be enabled.
        accounts: The service accounts.
        grants: Their roles.
        identity: Namespace and account of Kubernetes that becomes the steps' account; empty for none.
        secret: Namespace and name of the secret with a key of the steps' account; empty for none.
        remarks: What a person should know.
        following: What to type when this is done.
    """

    project: str
    apis: tuple[str, ...] = ()
    accounts: tuple[Account, ...] = ()
    grants: tuple[Grant, ...] = ()
    identity: tuple[str, str] | tuple[()] = ()
    secret: tuple[str, str] | tuple[()] = ()
    remarks: tuple[str, ...] = ()
    following: tuple[str, ...] = field(default=())

    def account(self, part: str) -> Account:
        """The account of a part."""
        return next(one for one in self.accounts if one.part == part)


def make_plan(
    needs: Needs,
    options: Options,
    settings: Settings,
    connection: Connection | None,
    functions: Sequence[Function] = (),
) -> Plan:
    """Makes the plan.

    Args:
        needs: What the steps need.
        options: What the user said.
        settings: Where project, region and registry come from when nothing was said.
        connection: Where runs go; None for this machine.
        functions: What starts runs when files come; what they need is taken to be usual when there is none yet.

    Raises:
        ArgumentError: No project is known, or something is no name.
    """
    return _Planner(needs, options, settings, connection, functions).plan()


class _Planner:
    def __init__(
        self,
        needs: Needs,
        options: Options,
        settings: Settings,
        connection: Connection | None,
        functions: Sequence[Function],
    ) -> None:
        self._functions = functions if not options.parts or "cd" in options.parts else ()
        self._needs, self._options, self._settings, self._connection = needs, options, settings, connection
        self._kind = connection.kind if connection else "local"
        vertex = connection if connection and connection.kind == "vertex" else None
        self._project = options.project or (vertex.project if vertex else "") or settings.google_project
        if not self._project:
            raise ArgumentError(
                "No Google Cloud project is known.",
                "Name it: %kfp_setup_auth --project PROJECT, or set KFP_MAGICS_GOOGLE_PROJECT.",
            )
        self._parts = options.parts or PARTS
        self._registry = options.registry or settings.registry
        self._root = connection.pipeline_root if connection else ""
        self._emails = {
            "steps": self._email(options.account or (vertex.service_account if vertex else ""), "kfp-steps"),
            "ci": self._email(options.build_account or settings.cloudbuild_service_account, "kfp-builds"),
            "cd": self._email(options.event_account, "kfp-events"),
        }
        self._check()

    def _check(self) -> None:
        options = self._options
        _matches(_PROJECT, self._project, "project of Google Cloud", "gcloud projects list shows yours.")
        for name in options.buckets:
            _matches(_BUCKET, self._bucket(name).removeprefix("gs://"), "bucket", "Write --bucket NAME.")
        if options.namespace:
            _matches(_LABEL, options.namespace, "namespace", "kubectl get namespaces lists them.")
        if options.secret:
            _matches(_NAME, options.secret, "secret of Kubernetes", "Write --secret user-gcp-sa.")
        if options.secret and options.workload_identity:
            raise ArgumentError(
                "Steps get their rights by workload identity or by a secret, not by both.",
                "Leave --secret out: with workload identity there is no key that can get lost.",
            )

    def _email(self, given: str, usual: str) -> str:
        given = given.rpartition("/")[2]  # Cloud Build's setting may be a full name
        if "@" in given:
            form = "Write NAME@PROJECT.iam.gserviceaccount.com"
            return _matches(_EMAIL, given, "address of a service account", form)
        name = _matches(_ACCOUNT, given or usual, "name of a service account", "It has 6 to 30 letters, digits or -.")
        domain, _, project = self._project.rpartition(":")
        return f"{name}@{f'{project}.{domain}' if domain else project}.iam.gserviceaccount.com"

    def plan(self) -> Plan:
        grants = [grant for part in self._parts for grant in _GRANTS[part](self)]
        accounts = tuple(self._account(part) for part in PARTS if part in self._parts)
        identity = self._identity() if "steps" in self._parts else ()
        secret = self._secret() if "steps" in self._parts else ()
        return Plan(
            project=self._project,
            apis=tuple(sorted(set(self._apis()))),
            accounts=accounts,
            grants=tuple(_merged(grants)),
            identity=identity,
            secret=secret,
            remarks=tuple(self._remarks(identity, secret)),
            following=tuple(self._following(identity, secret)),
        )

    def _account(self, part: str) -> Account:
        purposes = {"steps": "steps of pipelines", "ci": "builds of images", "cd": "functions that start runs"}
        email = self._emails[part]
        mine = self._email("", "kfp-steps").partition("@")[2]
        return Account(part=part, email=email, purpose=purposes[part], is_made=email.partition("@")[2] == mine)

    def _apis(self) -> Iterator[str]:
        yield "iam.googleapis.com"
        if "steps" in self._parts:
            yield from self._needs.apis
            yield from ["aiplatform.googleapis.com"] if self._kind == "vertex" else []
            yield from ["iamcredentials.googleapis.com"] if self._options.workload_identity else []
        if {"ci", "cd"} & set(self._parts):
            yield from ("artifactregistry.googleapis.com", "cloudbuild.googleapis.com", "logging.googleapis.com")
        if "cd" in self._parts:
            yield from ("cloudfunctions.googleapis.com", "eventarc.googleapis.com", "pubsub.googleapis.com")
            yield from ("run.googleapis.com", "storage.googleapis.com")

    # Steps

    def steps(self) -> Iterator[Grant]:
        """What steps need: what their code calls, and what runs themselves need."""
        places = [self._bucket(name) for name in self._options.buckets]
        needs = list(self._needs.needs)
        if root := self._root_bucket():
            needs.append(Need(role=USER, on=root, reasons=("artifacts of runs",)))
        if self._kind == "vertex":
            needs.append(Need(role=VERTEX, on="", reasons=("runs of Vertex AI",)))
            needs.append(Need(role="roles/logging.logWriter", on="", reasons=("logs of steps",)))
        spread = [
            replace(need, on=place) for need in needs for place in (places if places and _is_wide(need) else [need.on])
        ]
        for need in smallest(_united(spread)):
            yield self._grant("steps", need.role, self._target(need.on), *need.reasons)
        if self._kind == "vertex" and (repository := self._repository()):
            yield self._grant("steps", "roles/artifactregistry.reader", repository, "images of steps are pulled")

    def _root_bucket(self) -> str:
        return self._bucket(self._root) if self._root.startswith("gs://") else ""

    @staticmethod
    def _bucket(text: str) -> str:
        return f"gs://{text.removeprefix('gs://').partition('/')[0]}"

    def _target(self, on: str) -> Target:
        if on.startswith("gs://"):
            return Target(kind="bucket", name=on)
        if on.startswith("secret:"):
            return Target(kind="secret", name=on.removeprefix("secret:"), project=self._project)
        return Target(kind="project", name=self._project)

    def _grant(self, part: str, role: str, target: Target, *reasons: str, member: str = "") -> Grant:
        return Grant(part=part, member=member or self._emails[part], role=role, target=target, reasons=reasons)

    # CI and CD

    def ci(self) -> Iterator[Grant]:
        """What builds need."""
        project = self._target("")
        place = self._repository() or project
        yield self._grant("ci", "roles/artifactregistry.writer", place, "images are pushed")
        yield self._grant("ci", "roles/logging.logWriter", project, "logs of builds")
        if self._settings.builder == "cloudbuild" or self._settings.cloudbuild_bucket:
            name = self._settings.cloudbuild_bucket or default_bucket(self._project, self._settings.google_region)
            yield self._grant("ci", VIEWER, self._target(self._bucket(name)), "sources that %kfp_build uploads")

    def cd(self) -> Iterator[Grant]:
        """What the functions need that start runs, and what brings them events."""
        project = self._target("")
        yield self._grant("cd", "roles/eventarc.eventReceiver", project, "events of new files")
        yield self._grant("cd", "roles/run.invoker", project, "Eventarc calls the function")
        on_vertex = [one for one in self._functions if one.kind == "vertex"]
        if on_vertex or (self._kind != "kfp" and not self._functions):
            yield self._grant("cd", VERTEX, project, "runs are started on Vertex AI")
            for email in dict.fromkeys(
                [one.account or self._emails["steps"] for one in on_vertex] or [self._emails["steps"]]
            ):
                account = Target(kind="account", name=email, project=self._project)
                yield self._grant("cd", "roles/iam.serviceAccountUser", account, "runs have the account of the steps")
        places = [one.claims for one in self._functions] or [*map(self._bucket, self._options.buckets)]
        for place in dict.fromkeys(places or [""]):
            yield self._grant("cd", USER, self._target(place), "which files have started a run is kept there")
        yield self._grant("cd", "roles/pubsub.publisher", project, "Cloud Storage tells of new files", member=AGENT)

    def _repository(self) -> Target | None:
        match = _REPOSITORY.fullmatch(self._registry)
        if match is None:
            return None
        return Target(kind="repository", name=match["name"], location=match["location"], project=match["project"])

    # The cluster

    def _identity(self) -> tuple[str, str] | tuple[()]:
        options, connection = self._options, self._connection
        if options.workload_identity:
            namespace, slash, account = options.workload_identity.partition("/")
            form = "Write --workload-identity NAMESPACE/ACCOUNT."
            if not slash:
                raise ArgumentError(f"{options.workload_identity!r} names no account of Kubernetes.", form)
            _matches(_LABEL, namespace, "namespace", form)
            return namespace, _matches(_NAME, account, "account of Kubernetes", form)
        if options.secret or connection is None or connection.kind != "kfp":
            return ()
        namespace = options.namespace or connection.namespace
        usual = "default-editor" if namespace else "pipeline-runner"
        return namespace or "kubeflow", connection.service_account or usual

    def _secret(self) -> tuple[str, str] | tuple[()]:
        if not self._options.secret:
            return ()
        known = self._connection.namespace if self._connection else ""
        return self._options.namespace or known or "kubeflow", self._options.secret

    def _remarks(self, identity: tuple[str, ...], secret: tuple[str, ...]) -> Iterator[str]:
        yield from self._needs.remarks if "steps" in self._parts else ()
        if any(map(_is_wide, self._needs.needs)) and not self._options.buckets and "steps" in self._parts:
            yield "Some steps do not tell their bucket and get a role for all of the project: --bucket NAME narrows it."
        if "steps" in self._parts and self._kind != "vertex" and not identity and not secret:
            yield "For a cluster: --workload-identity NAMESPACE/ACCOUNT, or --secret user-gcp-sa where there is none."
        if secret:
            yield "A key can get lost, workload identity cannot: prefer --workload-identity where the cluster has it."
        if self._kind == "kfp":
            yield "Images are pulled by the cluster's nodes: their account needs roles/artifactregistry.reader."
        for one in self._functions:
            if one.token:
                yield f"{one.name} reads {one.token} from a secret: its account needs {SECRETS} on that one."
        if self._registry and not self._repository() and "ci" in self._parts:
            yield f"{self._registry} is not in Artifact Registry: builds may write to all repositories of the project."

    def _following(self, identity: tuple[str, ...], secret: tuple[str, ...]) -> Iterator[str]:
        if "steps" in self._parts and secret:
            name = secret[1]
            host = self._connection.host if self._connection and self._connection.host else "https://HOST"
            yield f"Mount the key in all steps on Kubernetes:  %kfp_connect {host} --gcp-secret {name}"
            yield f"  or everywhere:  KFP_MAGICS_GCP_SECRET={name}"
            yield (
                f"  or in one step:  %%kfp_component --secret-volume {name}={GCP_MOUNT} "
                f"--env {CREDENTIALS}={GCP_MOUNT}/{gcp_key_file(name)}"
            )
        elif "steps" in self._parts and identity:
            yield f"Runs whose account is {identity[1]} in {identity[0]} have these rights; steps need no key."
        if "steps" in self._parts and self._kind == "vertex":
            connection = self._connection
            if connection is not None and connection.service_account != self._emails["steps"]:
                yield f"Run with it:  %kfp_connect {connection.name} --service-account {self._emails['steps']}"
        if "ci" in self._parts:
            yield f"Build with it:  KFP_MAGICS_CLOUDBUILD_SERVICE_ACCOUNT={self._emails['ci']}"
        if "cd" in self._parts:
            yield f"Start runs with it:  %kfp_cd create … --service-account {self._emails['cd']}"


_GRANTS = {"steps": _Planner.steps, "ci": _Planner.ci, "cd": _Planner.cd}


def _is_wide(need: Need) -> bool:
    """Whether it is about objects in a bucket that nobody knows."""
    return need.role.startswith("roles/storage.object") and not need.on


def _united(needs: Sequence[Need]) -> list[Need]:
    found: dict[tuple[str, str], Need] = {}
    for need in needs:
        before = found.get((need.role, need.on))
        reasons = (*before.reasons, *need.reasons) if before else need.reasons
        found[need.role, need.on] = replace(need, reasons=tuple(dict.fromkeys(reasons)))
    return sorted(found.values(), key=lambda one: (one.role, one.on))


def _merged(grants: Sequence[Grant]) -> list[Grant]:
    """One account may have several parts; a role that it gets twice is given once."""
    found: dict[tuple[str, str, Target], Grant] = {}
    for grant in grants:
        key = (grant.member, grant.role, grant.target)
        before = found.get(key)
        found[key] = replace(before, reasons=(*before.reasons, *grant.reasons)) if before else grant
    return list(found.values())


def _matches(pattern: re.Pattern[str], word: str, what: str, hint: str) -> str:
    if not pattern.fullmatch(word):
        raise ArgumentError(f"{word!r} is no {what}.", hint)
    return word
