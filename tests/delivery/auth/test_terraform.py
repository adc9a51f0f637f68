"""Rights as Terraform, read by a parser that is not ours."""

from __future__ import annotations

import shutil
import subprocess

import hcl2
import pytest

from kfp_magics.delivery.auth.hcl import Block, Expression, identifier
from kfp_magics.delivery.auth.text import terraform_file
from tests.delivery.auth.test_commands import KUBEFLOW, VERTEX, plan


def plain(value):
    """What python-hcl2 says, without the quotes and marks that some of its versions leave in."""
    if isinstance(value, dict):
        return {plain(key): plain(one) for key, one in value.items() if not key.startswith("__")}
    if isinstance(value, list):
        return [plain(one) for one in value]
    return value[1:-1] if isinstance(value, str) and value[:1] == value[-1:] == '"' else value


def resources(text: str) -> dict[tuple[str, str], dict]:
    found = {}
    for one in plain(hcl2.loads(text))["resource"]:
        [(kind, named)] = one.items()
        [(name, body)] = named.items()
        assert (kind, name) not in found, "two resources have one name"
        found[kind, name] = body
    return found


def test_each_command_has_its_resource(settings) -> None:
    settings.registry = "europe-west4-docker.pkg.dev/shop-123/images"
    made = plan(settings, VERTEX)
    found = resources(terraform_file(made, "how"))
    assert {name for kind, name in found if kind == "google_service_account"} == {"steps", "builds", "events"}
    assert len([1 for kind, _ in found if kind.endswith("_iam_member")]) == len(made.grants)
    bucket = found["google_storage_bucket_iam_member", "steps_storage_objectUser_wares"]
    assert bucket["bucket"] == "wares"
    assert bucket["role"] == "roles/storage.objectUser"
    assert bucket["member"] == "serviceAccount:${google_service_account.steps.email}"
    images = found["google_artifact_registry_repository_iam_member", "builds_artifactregistry_writer_images"]
    assert (images["project"], images["location"], images["repository"]) == ("shop-123", "europe-west4", "images")
    assert (
        found["google_secret_manager_secret_iam_member", "steps_secretmanager_secretAccessor_token"]["secret_id"]
        == "token"
    )


def test_workload_identity_is_there_and_a_key_is_not(settings) -> None:
    found = resources(terraform_file(plan(settings, KUBEFLOW), "how"))
    binding = found["google_service_account_iam_member", "steps_workload_identity"]
    assert binding["member"] == "serviceAccount:shop-123.svc.id.goog[team-a/default-editor]"
    assert found["kubernetes_annotations", "steps"]["kind"] == "ServiceAccount"
    text = terraform_file(plan(settings, KUBEFLOW, secret="user-gcp-sa"), "%kfp_setup_auth --secret user-gcp-sa")
    assert "google_service_account_key" not in {kind for kind, _ in resources(text)}
    assert "`%kfp_setup_auth --secret user-gcp-sa --apply` makes it" in text


def test_accounts_of_others_are_named_by_their_address(settings) -> None:
    found = resources(terraform_file(plan(settings, account="runner@other.iam.gserviceaccount.com"), "how"))
    assert ("google_service_account", "steps") not in found
    member = found["google_storage_bucket_iam_member", "steps_storage_objectUser_wares"]["member"]
    assert member == "serviceAccount:runner@other.iam.gserviceaccount.com"


def test_the_same_plan_gives_the_same_text(settings) -> None:
    assert terraform_file(plan(settings, VERTEX), "how") == terraform_file(plan(settings, VERTEX), "how")


@pytest.mark.parametrize(
    "text", ['a "quoted" one', "back\\slash", "two\nlines", "${not.worked.out}", "%{ if x }", "ünï"]
)
def test_texts_stay_texts(text) -> None:
    block = Block(kind="locals", values={"one": text, "map": {"a b": text}, "list": [text]})
    found = plain(hcl2.loads(f"{block}\n"))["locals"][0]
    escaped = text.replace("${", "$${").replace("%{", "%%{")
    for read in (found["one"], plain(found["map"])["a b"], plain(found["list"])[0]):
        assert read.encode().decode("unicode_escape").encode("latin1", "replace").decode("utf-8", "replace") in {
            escaped,
            text,
        } or read.replace('\\"', '"').replace("\\\\", "\\").replace("\\n", "\n") in {escaped, text}


def test_names_that_terraform_takes() -> None:
    assert identifier("a.b/c-d") == "a_b_c_d"
    assert identifier("1x") == "_1x"
    assert str(Block(kind="x", values={"a": Expression("b.c"), "long": True})) == "x {\n  a    = b.c\n  long = true\n}"


@pytest.mark.where_present("terraform", "tofu")
@pytest.mark.parametrize("connection", [None, KUBEFLOW, VERTEX])
def test_terraform_itself_finds_nothing_to_mend(settings, connection, tmp_path) -> None:
    (tmp_path / "main.tf").write_text(terraform_file(plan(settings, connection), "how"))
    program = shutil.which("terraform") or shutil.which("tofu") or ""
    done = subprocess.run(
        [program, "fmt", "-check", "-diff", str(tmp_path)], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (0, ""), done.stderr
