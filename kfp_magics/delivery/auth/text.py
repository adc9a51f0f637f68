"""The plan as a person reads it: what each account may do and why, then the commands, as one script of bash."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kfp_magics.delivery.auth.commands import SHELL, commands
from kfp_magics.delivery.auth.plan import AGENT
from kfp_magics.delivery.auth.terraform import terraform

if TYPE_CHECKING:
    from collections.abc import Iterator

    from kfp_magics.delivery.auth.plan import Plan


def script(plan: Plan, how: str) -> str:
    """Writes the commands of a plan as a script, with what they are for above them.

    Args:
        plan: The plan.
        how: What was typed to get here.
    """
    head = [
        f"Rights on Google Cloud in the project {plan.project}. Nothing was done: {how} --apply runs these commands."
    ]
    parts = ["\n".join(["#!/usr/bin/env bash", *_comments([*head, "", *_reasons(plan)]), *SHELL])]
    parts += [f"# {command.title}\n{command.text}" for command in commands(plan)]
    if plan.following:
        parts.append("\n".join(_comments(list(plan.following))))
    return "\n\n".join(parts) + "\n"


def terraform_file(plan: Plan, how: str) -> str:
    """Writes a plan as a file of Terraform, with what it is for above it.

    Args:
        plan: The plan.
        how: What was typed to get here.
    """
    head = [f"Rights on Google Cloud in the project {plan.project}.", "", *_reasons(plan)]
    following = "\n".join(["", *_comments(list(plan.following)), ""]) if plan.following else ""
    return "\n".join(_comments(head)) + "\n\n" + terraform(plan, how) + following


def _comments(lines: list[str]) -> list[str]:
    return [f"# {line}".rstrip() for text in lines for line in text.splitlines() or [""]]


def _reasons(plan: Plan) -> Iterator[str]:
    for account in plan.accounts:
        yield f"{account.email}: {account.purpose}"
        mine = [grant for grant in plan.grants if grant.part == account.part and grant.member != AGENT]
        width = max((len(grant.role) for grant in mine), default=0)
        place = max((len(str(grant.target)) for grant in mine), default=0)
        for grant in mine:
            head = f"{grant.role:{width}}  {grant.target!s:{place}}"
            for reason in grant.reasons:
                yield f"  {head}  ← {reason}"
                head = " " * len(head)
        if not mine:
            yield "  no role: no step calls a service of Google's"
        if account.part == "steps" and plan.identity:
            yield f"  becomes {'/'.join(plan.identity)} of the cluster, by workload identity"
        if account.part == "steps" and plan.secret:
            yield f"  its key goes into the secret {plan.secret[1]} in {plan.secret[0]}"
        yield ""
    yield from (f"Note: {remark}" for remark in plan.remarks)
