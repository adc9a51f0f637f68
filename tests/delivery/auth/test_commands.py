"""Rights as commands, run for real by bash against programs that read their words as gcloud and kubectl do."""

from __future__ import annotations

import base64
import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from kfp_magics.backends.connections import Connection
from kfp_magics.delivery.auth.apply import apply
from kfp_magics.delivery.auth.commands import commands
from kfp_magics.delivery.auth.functions import functions_in
from kfp_magics.delivery.auth.needs import Need, Needs
from kfp_magics.delivery.auth.plan import make_plan
from kfp_magics.delivery.auth.text import script
from kfp_magics.delivery.auth.words import Options
from kfp_magics.delivery.cloud.folder import function_files
from kfp_magics.delivery.cloud.target import Target
from kfp_magics.delivery.newdata.rules import Rule
from kfp_magics.errors import ArgumentError, DeliveryError
from tests.delivery.auth.cloud import Cloud
from tests.delivery.auth.tools import KEY

NEEDS = Needs(
    needs=(
        Need(role="roles/bigquery.jobUser", on="", reasons=("step a, line 2: query",)),
        Need(role="roles/storage.objectUser", on="gs://wares", reasons=("step a, line 3: put",)),
        Need(role="roles/storage.objectViewer", on="", reasons=("step b, line 4: get",)),
        Need(role="roles/secretmanager.secretAccessor", on="secret:token", reasons=("step b, line 5: ask",)),
    ),
    apis=("bigquery.googleapis.com", "storage.googleapis.com"),
)
STEPS = "serviceAccount:kfp-steps@shop-123.iam.gserviceaccount.com"
BUILDS = "serviceAccount:kfp-builds@shop-123.iam.gserviceaccount.com"
EVENTS = "serviceAccount:kfp-events@shop-123.iam.gserviceaccount.com"
KUBEFLOW = Connection(name="k", kind="kfp", host="https://k.example.org", namespace="team-a")
VERTEX = Connection(
    name="vertex:shop-123/europe-west4",
    kind="vertex",
    project="shop-123",
    region="europe-west4",
    pipeline_root="gs://runs-of-shop/here",
)


@pytest.fixture
def cloud(tmp_path, monkeypatch) -> Cloud:
    made = Cloud(tmp_path / "cloud")
    monkeypatch.setenv("PATH", made.path)
    return made


def plan(settings, connection=None, needs=NEEDS, **words):
    return make_plan(needs, Options(**{"project": "shop-123", **words}), settings, connection)


def test_the_script_runs_and_gives_each_account_its_roles(settings, cloud) -> None:
    settings.registry = "europe-west4-docker.pkg.dev/shop-123/images/team"
    text = script(plan(settings, VERTEX), "how")
    done = cloud.bash(text)
    assert (done.returncode, done.stdout) == (0, ""), done.stderr
    assert len(cloud.state["accounts"]) == 3
    assert "aiplatform.googleapis.com" in cloud.state["apis"]
    assert cloud.members("bucket gs://wares", "roles/storage.objectUser") == [STEPS]
    assert cloud.members("secret token", "roles/secretmanager.secretAccessor") == [STEPS]
    assert cloud.members("project shop-123", "roles/storage.objectViewer") == [STEPS]
    assert cloud.members("project shop-123", "roles/bigquery.jobUser") == [STEPS]
    assert cloud.members("project shop-123", "roles/aiplatform.user") == [STEPS, EVENTS]
    assert cloud.members("bucket gs://runs-of-shop", "roles/storage.objectUser") == [STEPS]
    assert cloud.members("repository images", "roles/artifactregistry.reader") == [STEPS]
    assert cloud.members("repository images", "roles/artifactregistry.writer") == [BUILDS]
    assert cloud.members("project shop-123", "roles/eventarc.eventReceiver") == [EVENTS]
    assert cloud.members("project shop-123", "roles/run.invoker") == [EVENTS]
    assert cloud.members("account kfp-steps@shop-123.iam.gserviceaccount.com", "roles/iam.serviceAccountUser") == [
        EVENTS
    ]
    agent = "serviceAccount:service-42@gs-project-accounts.iam.gserviceaccount.com"
    assert cloud.members("project shop-123", "roles/pubsub.publisher") == [agent]


def test_the_script_can_be_run_again_and_says_the_same_each_time(settings, cloud) -> None:
    text = script(plan(settings, KUBEFLOW, parts=("steps",), secret="user-gcp-sa"), "how")
    assert text == script(plan(settings, KUBEFLOW, parts=("steps",), secret="user-gcp-sa"), "how")
    assert cloud.bash(text).returncode == 0
    before = cloud.state
    assert cloud.bash(text).returncode == 0
    assert cloud.state == before
    assert cloud.state["keys"] == 1


def test_each_role_says_which_step_and_line_is_the_reason(settings) -> None:
    text = script(plan(settings, parts=("steps",)), "how")
    assert "#   roles/storage.objectUser            gs://wares        ← step a, line 3: put\n" in text
    assert "Cloud Build" not in text
    assert "eventarc" not in text


def test_workload_identity_is_the_usual_way_on_a_cluster(settings, cloud) -> None:
    made = plan(settings, KUBEFLOW, parts=("steps",))
    assert made.identity == ("team-a", "default-editor")
    assert cloud.bash(script(made, "how")).returncode == 0
    email = "kfp-steps@shop-123.iam.gserviceaccount.com"
    member = "serviceAccount:shop-123.svc.id.goog[team-a/default-editor]"
    assert cloud.members(f"account {email}", "roles/iam.workloadIdentityUser") == [member]
    assert cloud.state["annotations"] == {"team-a/default-editor": email}
    assert "keys" not in cloud.state
    assert plan(settings, workload_identity="other/runner").identity == ("other", "runner")


def test_a_key_goes_into_the_secret_and_nowhere_else(settings, cloud, tmp_path) -> None:
    told: list[str] = []
    apply(commands(plan(settings, KUBEFLOW, parts=("steps",), secret="user-gcp-sa")), told.append)
    kept = cloud.state["secrets"]["team-a"]["user-gcp-sa"]
    assert json.loads(base64.b64decode(kept["user-gcp-sa.json"]))["private_key"] == KEY
    assert "POISON" not in "\n".join(told)
    assert "POISON" not in json.dumps(cloud.calls)  # words of a command line are seen by everybody
    state = tmp_path / "cloud" / "state.json"
    files = [path for path in tmp_path.rglob("*") if path.is_file() and path != state and path.parent != cloud.bin]
    assert not [path for path in files if b"POISON" in path.read_bytes()]


def test_no_key_is_made_when_the_cluster_does_not_answer(settings, cloud) -> None:
    cloud.change(faults=[{"word": "get secret", "times": 9, "said": "Unable to connect to the server: no route"}])
    text = script(plan(settings, KUBEFLOW, parts=("steps",), secret="user-gcp-sa"), "how")
    assert cloud.bash(text).returncode == 1
    assert "keys" not in cloud.state


def test_apply_tells_what_it_does_and_what_is_there_already(settings, cloud) -> None:
    made = commands(plan(settings, KUBEFLOW))
    told: list[str] = []
    apply(made, told.append)
    assert len(told) == len(made)
    assert told[1].endswith("Account kfp-steps@shop-123.iam.gserviceaccount.com, for steps of pipelines: done")
    assert all(line.endswith(": done") for line in told)
    changes, told = len(cloud.changes()), []
    apply(made, told.append)
    undecided = [line for line in told if not line.endswith("there already")]
    assert [line.split("] ")[1] for line in undecided] == [  # nobody can know about these, and they do no harm
        f"APIs of shop-123 that are called: {len(cloud.state['apis'])}: done",
        "roles/pubsub.publisher on project shop-123 for Cloud Storage's own account: done",
    ]
    assert len(cloud.changes()) == changes + 2


def test_a_role_with_a_condition_is_not_the_role(settings, cloud) -> None:
    binding = {"role": "roles/bigquery.jobUser", "members": [STEPS], "condition": {"title": "until tomorrow"}}
    cloud.change(policies={"project shop-123": [binding]})
    told: list[str] = []
    apply(commands(plan(settings, parts=("steps",))), told.append)
    assert next(line for line in told if "bigquery.jobUser" in line).endswith(": done")


def test_apply_stops_at_the_first_failure_with_two_lines(settings, cloud) -> None:
    said = "ERROR: (gcloud.projects.add-iam-policy-binding) PERMISSION_DENIED: not you\n- '@type': type.googleapis.com"
    cloud.change(faults=[{"word": "roles/bigquery.jobUser", "times": 1, "said": said}])
    told: list[str] = []
    with pytest.raises(DeliveryError) as caught:
        apply(commands(plan(settings)), told.append)
    assert str(caught.value).splitlines() == [
        "roles/bigquery.jobUser on project shop-123 for kfp-steps@shop-123.iam.gserviceaccount.com: "
        "ERROR: (gcloud.projects.add-iam-policy-binding) PERMISSION_DENIED: not you",
        "Mend that and say --apply again: what was done is there and stays.",
    ]
    assert "roles/run.invoker" not in json.dumps(cloud.calls)


def test_a_key_in_what_a_program_says_is_not_shown(settings, cloud) -> None:
    cloud.change(faults=[{"word": "create secret", "times": 1, "said": f"error: bad data {KEY}"}])
    with pytest.raises(DeliveryError) as caught:
        apply(commands(plan(settings, KUBEFLOW, parts=("steps",), secret="user-gcp-sa")), lambda _: None)
    assert "POISON" not in str(caught.value)
    assert "error: bad data …" in str(caught.value)


def test_an_account_that_is_not_known_everywhere_yet_is_waited_for(settings, cloud) -> None:
    said = "ERROR: (gcloud) INVALID_ARGUMENT: Service account kfp-steps does not exist."
    cloud.change(faults=[{"word": "roles/bigquery.jobUser", "times": 2, "said": said}])
    made = commands(plan(settings, parts=("steps",)))
    apply(made, lambda _: None, pauses=(0.0, 0.0))
    assert cloud.members("project shop-123", "roles/bigquery.jobUser") == [STEPS]
    cloud.change(faults=[{"word": "roles/storage.objectUser", "times": 3, "said": said}], policies={})
    with pytest.raises(DeliveryError, match="does not exist"):  # it is there for long, so that something else is wrong
        apply(made, lambda _: None, pauses=(0.0, 0.0))


def test_without_the_tools_nothing_is_begun(settings, tmp_path, monkeypatch) -> None:
    (tmp_path / "bin").mkdir()
    os.symlink(shutil.which("bash") or "", tmp_path / "bin" / "bash")
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    with pytest.raises(DeliveryError, match="gcloud is not on this machine; nothing was done"):
        apply(commands(plan(settings)), lambda _: None)
    cloud = Cloud(tmp_path / "cloud")
    os.symlink(cloud.bin / "gcloud", tmp_path / "bin" / "gcloud")
    with pytest.raises(DeliveryError, match="kubectl is not on this machine"):
        apply(commands(plan(settings, KUBEFLOW)), lambda _: None)


@pytest.mark.parametrize(
    ("words", "wrong"),
    [
        ({"project": "Shop"}, "'Shop' is no project"),
        ({"project": "shop; rm -rf /"}, "is no project"),
        ({"project": "$(touch x)"}, "is no project"),
        ({"account": "x"}, "'x' is no name of a service account"),
        ({"account": "a b@c"}, "is no address"),
        ({"buckets": ("../b",)}, "is no bucket"),
        ({"namespace": "Team"}, "is no namespace"),
        ({"secret": "a b"}, "is no secret"),
        ({"workload_identity": "team"}, "names no account"),
        ({"workload_identity": "team/a b"}, "is no account"),
        ({"secret": "x", "workload_identity": "a/b"}, "not by both"),
    ],
)
def test_what_is_no_name_is_refused_in_two_lines(settings, words, wrong) -> None:
    with pytest.raises(ArgumentError, match=wrong.replace("(", r"\(")) as caught:
        plan(settings, **words)
    assert len(str(caught.value).splitlines()) == 2


def test_without_a_project_there_is_no_plan(settings) -> None:
    with pytest.raises(ArgumentError) as caught:
        plan(settings, project="")
    assert str(caught.value).splitlines() == [
        "No Google Cloud project is known.",
        "Name it: %kfp_setup_auth --project PROJECT, or set KFP_MAGICS_GOOGLE_PROJECT.",
    ]
    settings.google_project = "of-settings"
    assert plan(settings, project="").project == "of-settings"
    assert plan(settings, VERTEX, project="").project == "shop-123"
    assert plan(settings, VERTEX).project == "shop-123"


def test_words_that_a_shell_would_read_are_quoted(settings, cloud, tmp_path) -> None:
    evil = Need(role="roles/x", on="", reasons=("step a, line 2: x = '$(touch stolen)' `touch stolen`\nrm -rf x",))
    text = script(plan(settings, needs=Needs(needs=(evil,)), parts=("steps",)), "how")
    subprocess.run(["bash", "-n"], input=text, text=True, check=True)
    assert cloud.bash(f"cd {tmp_path}\n{text}").returncode == 0
    assert not (tmp_path / "stolen").exists()
    assert all(line.startswith("#") for line in text.splitlines() if "stolen" in line or "rm -rf" in line)


def test_accounts_of_others_get_roles_and_are_not_made(settings, cloud) -> None:
    parts = ("steps", "ci")
    made = plan(
        settings, parts=parts, account="runner@other-project.iam.gserviceaccount.com", build_account="builder-x"
    )
    assert cloud.bash(script(made, "how")).returncode == 0
    assert "runner@other-project.iam.gserviceaccount.com" not in cloud.state["accounts"]
    assert "builder-x@shop-123.iam.gserviceaccount.com" in cloud.state["accounts"]
    assert cloud.members("bucket gs://wares", "roles/storage.objectUser") == [
        "serviceAccount:runner@other-project.iam.gserviceaccount.com"
    ]


def write_function(folder: Path, name: str, facts: dict, claims: str = "") -> None:
    """Writes a function as ``%kfp_cd create`` does."""
    rule = Rule(name=name, on="gs://news-1/train*", pipeline="train")
    for path, content in function_files(rule, "pipelineInfo: {}\n", Target(facts=facts), claims).items():
        place = folder / name / path
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(content)


def test_functions_that_were_written_get_what_they_need_and_no_more(settings, cloud, tmp_path) -> None:
    assert functions_in(tmp_path / "functions") == []
    runner = "runner@shop-123.iam.gserviceaccount.com"
    facts = {"kind": "vertex", "service_account": runner}
    write_function(tmp_path / "functions", "one", facts, claims="gs://marks-1/here")
    write_function(tmp_path / "functions", "two", {"kind": "kfp", "token_env": "KFP_TOKEN", "service_account": "ksa"})
    found = functions_in(tmp_path / "functions")
    made = make_plan(NEEDS, Options(project="shop-123", parts=("cd",)), settings, None, found)
    assert (
        "two reads KFP_TOKEN from a secret: its account needs roles/secretmanager.secretAccessor on that one."
        in made.remarks
    )
    assert cloud.bash(script(made, "how")).returncode == 0
    assert cloud.members("bucket gs://marks-1", "roles/storage.objectUser") == [EVENTS]
    assert cloud.members("bucket gs://news-1", "roles/storage.objectUser") == [EVENTS]
    assert cloud.members("project shop-123", "roles/storage.objectUser") == []
    assert cloud.members(f"account {runner}", "roles/iam.serviceAccountUser") == [EVENTS]
    on_cluster = make_plan(NEEDS, Options(project="shop-123", parts=("cd",)), settings, None, found[1:])
    assert "roles/aiplatform.user" not in {grant.role for grant in on_cluster.grants}
    (tmp_path / "functions" / "two" / "target.json").write_text("{")
    with pytest.raises(DeliveryError, match=r"target\.json' cannot be read"):
        functions_in(tmp_path / "functions")


def test_buckets_that_are_named_narrow_what_is_not_told(settings, cloud) -> None:
    assert any("--bucket NAME narrows it" in one for one in plan(settings).remarks)
    made = plan(settings, parts=("steps",), buckets=("data-1", "gs://data-2/x"))
    assert not any("narrows" in one for one in made.remarks)
    assert cloud.bash(script(made, "how")).returncode == 0
    assert cloud.members("bucket gs://data-1", "roles/storage.objectViewer") == [STEPS]
    assert cloud.members("bucket gs://data-2", "roles/storage.objectViewer") == [STEPS]
    assert cloud.members("project shop-123", "roles/storage.objectViewer") == []


@pytest.mark.where_present("gcloud")
def test_the_real_gcloud_takes_these_words(settings, tmp_path) -> None:
    settings.registry = "europe-west4-docker.pkg.dev/shop-123/images"
    made = commands(plan(settings, KUBEFLOW))
    lines = [one.text.replace("\n", " ").split("|| ")[-1] for one in made] + [one.look for one in made if one.look]
    words = [line for line in lines if line.startswith("gcloud") and "$(" not in line]
    assert len(words) > 20
    asked = tmp_path / "commands.json"
    asked.write_text(json.dumps([{"command_string": line} for line in words]))
    lint = ["gcloud", "meta", "lint-gcloud-commands", f"--commands-file={asked}"]
    done = subprocess.run(lint, capture_output=True, text=True, check=False)
    assert [
        (one["command_string"], one["error_message"]) for one in json.loads(done.stdout) if not one["success"]
    ] == []


@pytest.mark.where_present("kubectl")
def test_the_real_kubectl_takes_the_key_from_its_input(settings, tmp_path) -> None:
    text = commands(plan(settings, KUBEFLOW, parts=("steps",), secret="user-gcp-sa"))[-1].text
    put = text.splitlines()[2].partition("| ")[2]
    done = subprocess.run(
        ["bash", "-c", f"{put} --dry-run=client --output=json"], input=KEY, capture_output=True, text=True, check=True
    )
    assert base64.b64decode(json.loads(done.stdout)["data"]["user-gcp-sa.json"]).decode() == KEY
