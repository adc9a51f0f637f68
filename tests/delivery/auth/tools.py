"""gcloud and kubectl for tests: they read their words as the real ones do, and keep what they are told in a file.

Run as a program, its name says which of the two it is. What it does not know ends with exit code 2, as there.
"""

import argparse
import base64
import json
import os
import sys
from pathlib import Path

KEY = "-----BEGIN PRIVATE KEY-----POISON-----END PRIVATE KEY-----"


def main() -> int:
    program = Path(sys.argv[0]).name
    state = Path(sys.argv[0]).parent.parent / "state.json"
    cloud = json.loads(state.read_text()) if state.exists() else {}
    with (state.parent / "calls").open("a") as calls:
        calls.write(json.dumps([program, *sys.argv[1:]]) + "\n")
    words = (gcloud_parser() if program == "gcloud" else kubectl_parser()).parse_args()
    for fault in list(cloud.get("faults", [])):
        if fault["word"] in " ".join(sys.argv) and fault["times"]:
            fault["times"] -= 1
            state.write_text(json.dumps(cloud))
            print(fault["said"], file=sys.stderr)
            return 1
    code = words.do(words, cloud)
    state.write_text(json.dumps(cloud))
    return code


def gcloud_parser() -> argparse.ArgumentParser:
    common = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    common.add_argument("--project")
    common.add_argument("--quiet", action="store_true")
    common.add_argument("--format")
    parser = argparse.ArgumentParser(prog="gcloud", allow_abbrev=False)
    groups = parser.add_subparsers(required=True)
    services = groups.add_parser("services").add_subparsers(required=True)
    enable = services.add_parser("enable", parents=[common])
    enable.add_argument("names", nargs="+")
    enable.set_defaults(do=enable_services)

    accounts = groups.add_parser("iam").add_subparsers(required=True).add_parser("service-accounts")
    accounts = accounts.add_subparsers(required=True)
    describe = accounts.add_parser("describe", parents=[common])
    describe.add_argument("email")
    describe.set_defaults(do=describe_account)
    create = accounts.add_parser("create", parents=[common])
    create.add_argument("name")
    create.add_argument("--display-name")
    create.set_defaults(do=create_account)
    keys = accounts.add_parser("keys").add_subparsers(required=True).add_parser("create", parents=[common])
    keys.add_argument("output")
    keys.add_argument("--iam-account", required=True)
    keys.set_defaults(do=create_key)
    policies(accounts, common, "account")

    storage = groups.add_parser("storage").add_subparsers(required=True)
    storage.add_parser("service-agent", parents=[common]).set_defaults(do=agent)
    policies(storage.add_parser("buckets").add_subparsers(required=True), common, "bucket", conditions=False)
    policies(groups.add_parser("projects").add_subparsers(required=True), common, "project")
    policies(groups.add_parser("secrets").add_subparsers(required=True), common, "secret")
    artifacts = groups.add_parser("artifacts").add_subparsers(required=True).add_parser("repositories")
    policies(artifacts.add_subparsers(required=True), common, "repository", location=True)
    return parser


def policies(group, common, kind, *, conditions=True, location=False) -> None:
    add = group.add_parser("add-iam-policy-binding", parents=[common], allow_abbrev=False)
    add.add_argument("--member", required=True)
    add.add_argument("--role", required=True)
    if conditions:
        add.add_argument("--condition", choices=["None"], required=True)  # asked for otherwise, once a policy has some
    add.set_defaults(do=bind)
    get = group.add_parser("get-iam-policy", parents=[common], allow_abbrev=False)
    get.set_defaults(do=policy)
    for verb in (add, get):
        verb.add_argument("name")
        verb.set_defaults(kind=kind)
        if location:
            verb.add_argument("--location", required=True)


def kubectl_parser() -> argparse.ArgumentParser:
    common = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    common.add_argument("--namespace", required=True)
    parser = argparse.ArgumentParser(prog="kubectl", allow_abbrev=False)
    verbs = parser.add_subparsers(required=True)
    get = verbs.add_parser("get", parents=[common])
    get.add_argument("kind", choices=["secret", "serviceaccount"])
    get.add_argument("name")
    get.add_argument("--ignore-not-found", action="store_true")
    get.add_argument("--output", required=True)
    get.set_defaults(do=get_one)
    annotate = verbs.add_parser("annotate", parents=[common])
    annotate.add_argument("kind", choices=["serviceaccount"])
    annotate.add_argument("name")
    annotate.add_argument("pairs", nargs="+")
    annotate.add_argument("--overwrite", action="store_true")
    annotate.set_defaults(do=annotate_one)
    create = verbs.add_parser("create").add_subparsers(required=True).add_parser("secret")
    generic = create.add_subparsers(required=True).add_parser("generic", parents=[common])
    generic.add_argument("name")
    generic.add_argument("--from-file", action="append", required=True)
    generic.set_defaults(do=create_secret)
    return parser


def enable_services(words, cloud) -> int:
    cloud["apis"] = sorted({*cloud.get("apis", []), *words.names})
    return 0


def describe_account(words, cloud) -> int:
    if words.email not in cloud.get("accounts", []):
        print(f"ERROR: (gcloud.iam.service-accounts.describe) NOT_FOUND: {words.email}", file=sys.stderr)
        return 1
    print(words.email)
    return 0


def create_account(words, cloud) -> int:
    email = f"{words.name}@{words.project}.iam.gserviceaccount.com"
    if email in cloud.get("accounts", []):
        print(
            f"ERROR: (gcloud.iam.service-accounts.create) Resource in projects [{words.project}] is the subject of a "
            "conflict: already exists",
            file=sys.stderr,
        )
        return 1
    cloud.setdefault("accounts", []).append(email)
    print(f"Created service account [{words.name}].", file=sys.stderr)
    return 0


def create_key(words, cloud) -> int:
    cloud["keys"] = cloud.get("keys", 0) + 1
    text = json.dumps({"type": "service_account", "client_email": words.iam_account, "private_key": KEY})
    if words.output == "-":
        sys.stdout.write(text)
    else:
        Path(words.output).write_text(text)
    print(f"created key [abc] of type [json] as [{words.output}] for [{words.iam_account}]", file=sys.stderr)
    return 0


def agent(words, cloud) -> int:
    print("service-42@gs-project-accounts.iam.gserviceaccount.com")
    return 0


def bind(words, cloud) -> int:
    bindings = cloud.setdefault("policies", {}).setdefault(f"{words.kind} {words.name}", [])
    members = next((one for one in bindings if one["role"] == words.role), None)
    if members is None:
        bindings.append(members := {"role": words.role, "members": []})
    if words.member not in members["members"]:
        members["members"].append(words.member)
    print(f"Updated IAM policy for {words.kind} [{words.name}].", file=sys.stderr)
    return 0


def policy(words, cloud) -> int:
    print(json.dumps({"bindings": cloud.get("policies", {}).get(f"{words.kind} {words.name}", []), "etag": "x"}))
    return 0


def get_one(words, cloud) -> int:
    if words.kind == "secret":
        if words.name in cloud.get("secrets", {}).get(words.namespace, {}):
            print(f"secret/{words.name}")
        return 0
    print(cloud.get("annotations", {}).get(f"{words.namespace}/{words.name}", ""), end="")
    return 0


def annotate_one(words, cloud) -> int:
    [pair] = words.pairs
    key, _, value = pair.partition("=")
    assert key == "iam.gke.io/gcp-service-account"
    cloud.setdefault("annotations", {})[f"{words.namespace}/{words.name}"] = value
    return 0


def create_secret(words, cloud) -> int:
    files = {}
    for pair in words.from_file:
        key, _, path = pair.partition("=")
        files[key] = base64.b64encode(Path(path).read_bytes()).decode()
    cloud.setdefault("secrets", {}).setdefault(words.namespace, {})[words.name] = files
    print(f"secret/{words.name} created")
    return 0


if __name__ == "__main__":
    os.umask(0o077)
    sys.exit(main())
