"""The plan as Terraform."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kfp_magics.delivery.auth.hcl import Block, Expression, identifier, quoted
from kfp_magics.delivery.auth.plan import AGENT

if TYPE_CHECKING:
    from collections.abc import Iterator

    from kfp_magics.delivery.auth.hcl import Value
    from kfp_magics.delivery.auth.plan import Grant, Plan

_NAMES = {"steps": "steps", "ci": "builds", "cd": "events"}
_GOOGLE = {"source": "hashicorp/google", "version": ">= 5.0"}
_KUBERNETES = {"source": "hashicorp/kubernetes", "version": ">= 2.23"}
_AFTER: Value = Expression("[google_project_service.apis]")
_NO_KEY = """\
# The secret {name} is not made here: Terraform would keep the key in its state. `{how} --apply` makes it, or the
# commands that `{how}` shows."""


def terraform(plan: Plan, how: str) -> str:
    """Writes a plan as a file of Terraform.

    Args:
        plan: The plan.
        how: What was typed to get here, for remarks.
    """
    blocks = [str(block) for block in (*_head(plan), *_accounts(plan), *_grants(plan), *_identity(plan))]
    if plan.secret:
        blocks.append(_NO_KEY.format(name=plan.secret[1], how=how))
    return "\n\n".join(blocks) + "\n"


def _head(plan: Plan) -> Iterator[Block]:
    providers: dict[str, dict[str, str]] = {"google": _GOOGLE}
    if plan.identity:
        providers["kubernetes"] = _KUBERNETES
    yield Block(kind="terraform", values={}, blocks=(Block(kind="required_providers", values=dict(providers)),))
    yield Block(
        kind="resource",
        labels=("google_project_service", "apis"),
        values={
            "for_each": Expression(f"toset([{', '.join(map(quoted, plan.apis))}])"),
            "project": plan.project,
            "service": Expression("each.value"),
            "disable_on_destroy": False,
        },
    )


def _accounts(plan: Plan) -> Iterator[Block]:
    for account in plan.accounts:
        if account.is_made:
            yield Block(
                kind="resource",
                labels=("google_service_account", _NAMES[account.part]),
                values={
                    "project": plan.project,
                    "account_id": account.name,
                    "display_name": f"kfp-magics: {account.purpose}",
                    "depends_on": _AFTER,
                },
            )


def _email(plan: Plan, email: str) -> str:
    """How an account's address is worked out: what refers to a resource waits for it."""
    made = next((one for one in plan.accounts if one.email == email and one.is_made), None)
    return f"google_service_account.{_NAMES[made.part]}.email" if made else quoted(email)


def _member(plan: Plan, grant: Grant) -> Value:
    if grant.member == AGENT:
        return Expression("data.google_storage_project_service_account.events.member")
    email = _email(plan, grant.member)
    if email.startswith('"'):
        return f"serviceAccount:{grant.member}"
    return Expression(f'"serviceAccount:${{{email}}}"')


def _grants(plan: Plan) -> Iterator[Block]:
    if any(one.member == AGENT for one in plan.grants):
        where: dict[str, Value] = {"project": plan.project, "depends_on": _AFTER}
        yield Block(kind="data", labels=("google_storage_project_service_account", "events"), values=where)
    for grant in plan.grants:
        target = grant.target
        kind, place = _resource(plan, grant)
        who = "storage" if grant.member == AGENT else _NAMES[grant.part]
        beside = "" if target.kind == "project" else f"_{target.name.removeprefix('gs://').partition('@')[0]}"
        name = identifier(f"{who}_{grant.role.removeprefix('roles/')}{beside}")
        values = {**place, "role": grant.role, "member": _member(plan, grant)}
        if target.kind == "project":
            values["depends_on"] = _AFTER
        yield Block(kind="resource", labels=(kind, name), values=values)


def _resource(plan: Plan, grant: Grant) -> tuple[str, dict[str, Value]]:
    target = grant.target
    if target.kind == "bucket":
        return "google_storage_bucket_iam_member", {"bucket": target.name.removeprefix("gs://")}
    if target.kind == "repository":
        where: dict[str, Value] = {
            "project": target.project,
            "location": target.location,
            "repository": target.name,
        }
        return "google_artifact_registry_repository_iam_member", where
    if target.kind == "account":
        return "google_service_account_iam_member", {"service_account_id": _account_id(plan, target.name)}
    if target.kind == "secret":
        return "google_secret_manager_secret_iam_member", {"project": target.project, "secret_id": target.name}
    return "google_project_iam_member", {"project": target.name}


def _account_id(plan: Plan, email: str) -> Value:
    found = _email(plan, email)
    if found.startswith('"'):
        return f"projects/-/serviceAccounts/{email}"
    return Expression(found.removesuffix(".email") + ".name")


def _identity(plan: Plan) -> Iterator[Block]:
    if not plan.identity:
        return
    namespace, account = plan.identity
    email = plan.account("steps").email
    yield Block(
        kind="resource",
        labels=("google_service_account_iam_member", "steps_workload_identity"),
        values={
            "service_account_id": _account_id(plan, email),
            "role": "roles/iam.workloadIdentityUser",
            "member": f"serviceAccount:{plan.project}.svc.id.goog[{namespace}/{account}]",
        },
    )
    yield Block(
        kind="resource",
        labels=("kubernetes_annotations", "steps"),
        values={
            "api_version": "v1",
            "kind": "ServiceAccount",
            "annotations": {"iam.gke.io/gcp-service-account": Expression(_email(plan, email))},
            "force": True,
        },
        blocks=(Block(kind="metadata", values={"name": account, "namespace": namespace}),),
    )
