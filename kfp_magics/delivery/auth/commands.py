"""The plan as commands of gcloud and kubectl: quoted, in an order that works, and harmless when they are run again."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from typing import TYPE_CHECKING

from kfp_magics.delivery.auth.plan import AGENT
from kfp_magics.pods import gcp_key_file

if TYPE_CHECKING:
    from collections.abc import Iterator

    from kfp_magics.delivery.auth.plan import Grant, Plan

SHELL = ("set -euo pipefail",)
_QUIET = ("--format=none", "--quiet")
_JSON = "--format=json"
_ANNOTATION = "iam.gke.io/gcp-service-account"


@dataclass(frozen=True, kw_only=True, slots=True)
class Command:
    """Something to be done.

    Attributes:
        title: What it does, as it is told to a person.
        text: Lines of bash.
        look: A line of bash that prints what there is, before it is done; empty where nobody can know.
        member: Who should be in what `look` prints, if that is a policy as JSON.
        role: With which role.
        expected: What else it should print; any output at all when both are empty.
    """

    title: str
    text: str
    look: str = ""
    member: str = ""
    role: str = ""
    expected: str = ""


def commands(plan: Plan) -> list[Command]:
    """Writes the commands of a plan.

    Args:
        plan: The plan.
    """
    return [*_apis(plan), *_accounts(plan), *(_grant(plan, one) for one in plan.grants), *_cluster(plan)]


def _line(*words: str) -> str:
    return " ".join(shlex.quote(word) for word in words)


def _apis(plan: Plan) -> Iterator[Command]:
    yield Command(
        title=f"APIs of {plan.project} that are called: {len(plan.apis)}",
        text=_line("gcloud", "services", "enable", *plan.apis, f"--project={plan.project}", "--quiet"),
    )


def _accounts(plan: Plan) -> Iterator[Command]:
    for account in plan.accounts:
        if not account.is_made:
            continue
        where = f"--project={plan.project}"
        look = _line("gcloud", "iam", "service-accounts", "describe", account.email, where, "--format=value(email)")
        make = _line(
            *("gcloud", "iam", "service-accounts", "create", account.name, where),
            *(f"--display-name=kfp-magics: {account.purpose}", "--quiet"),
        )
        yield Command(
            title=f"Account {account.email}, for {account.purpose}",
            text=f"{look} >/dev/null 2>&1 ||\n  {make}",
            look=look,
        )


def _grant(plan: Plan, grant: Grant) -> Command:
    target = grant.target
    scope: tuple[str, ...] = ()
    if target.kind == "repository":
        scope = (f"--location={target.location}", f"--project={target.project}")
    elif target.kind in {"account", "secret"}:
        scope = (f"--project={target.project}",)
    group = {
        "project": ("projects",),
        "bucket": ("storage", "buckets"),
        "repository": ("artifacts", "repositories"),
        "account": ("iam", "service-accounts"),
        "secret": ("secrets",),
    }[target.kind]
    condition = () if target.kind == "bucket" else ("--condition=None",)
    words = ("gcloud", *group, "add-iam-policy-binding", target.name, *scope)
    who, member = _member(plan, grant)
    title = f"{grant.role} on {target} for {who}"
    return Command(
        title=title,
        text=f"{_line(*words)} {member} {_line(f'--role={grant.role}', *condition, *_QUIET)}",
        look="" if grant.member == AGENT else _line("gcloud", *group, "get-iam-policy", target.name, *scope, _JSON),
        member=f"serviceAccount:{grant.member}",
        role=grant.role,
    )


def _member(plan: Plan, grant: Grant) -> tuple[str, str]:
    if grant.member != AGENT:
        return grant.member, _line(f"--member=serviceAccount:{grant.member}")
    asked = _line("gcloud", "storage", "service-agent", f"--project={plan.project}")
    return "Cloud Storage's own account", f'--member="serviceAccount:$({asked})"'


def _cluster(plan: Plan) -> Iterator[Command]:
    if plan.identity:
        yield from _identity(plan, *plan.identity)
    if plan.secret:
        yield _secret(plan, *plan.secret)


def _identity(plan: Plan, namespace: str, account: str) -> Iterator[Command]:
    email = plan.account("steps").email
    member = f"serviceAccount:{plan.project}.svc.id.goog[{namespace}/{account}]"
    base = ("gcloud", "iam", "service-accounts")
    where = f"--project={plan.project}"
    role = "roles/iam.workloadIdentityUser"
    yield Command(
        title=f"{namespace}/{account} of the cluster may be {email}",
        text=_line(
            *(*base, "add-iam-policy-binding", email, where),
            *(f"--member={member}", f"--role={role}", "--condition=None", *_QUIET),
        ),
        look=_line(*base, "get-iam-policy", email, where, _JSON),
        member=member,
        role=role,
    )
    on = ("serviceaccount", account, f"--namespace={namespace}")
    yield Command(
        title=f"{namespace}/{account} of the cluster is {email}",
        text=_line("kubectl", "annotate", *on, "--overwrite", f"{_ANNOTATION}={email}"),
        look=_line(
            "kubectl",
            "get",
            *on,
            f"--output=jsonpath={{.metadata.annotations.{_ANNOTATION.replace('.', chr(92) + '.')}}}",
        ),
        expected=email,
    )


def _secret(plan: Plan, namespace: str, name: str) -> Command:
    """The key goes from gcloud into kubectl through variables of the shell: no file, no word of a command line."""
    email, where = plan.account("steps").email, f"--namespace={namespace}"
    look = _line("kubectl", "get", "secret", name, where, "--ignore-not-found", "--output=name")
    key = _line(
        *("gcloud", "iam", "service-accounts", "keys", "create", "-"),
        *(f"--iam-account={email}", f"--project={plan.project}"),
    )
    put = _line("kubectl", "create", "secret", "generic", name, where, f"--from-file={gcp_key_file(name)}=/dev/stdin")
    lines = (
        f'found="$({look})" && {{ [ -n "$found" ] || (',
        f'  key="$({key})" &&',
        f"  printf '%s\\n' \"$key\" | {put}",
        "); }",
    )
    return Command(title=f"Secret {name} in {namespace}: a key of {email}", text="\n".join(lines), look=look)
