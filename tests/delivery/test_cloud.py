"""Functions in the cloud: what is shown, deployed, told and deleted, against Google's services as they speak."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import grpc
import pytest

from kfp_magics.backends.connections import Connections, parse
from kfp_magics.settings import Settings
from tests.delivery.cloud_server import CloudServer, Fault
from tests.delivery.storage_server import StorageServer

Say = Callable[..., str]


CREATE = ["create", "--on", "gs://wares/in/*.csv", "--run", "fit.py", "data=$uri", "--name", "fit"]
SECRET = ["--secret", "KFP_TOKEN=kfp-token"]


def test_a_function_is_shown_then_made_and_then_the_same(say: Say, google: CloudServer) -> None:
    shown = say(*CREATE, *SECRET)
    assert "create  fit in europe-west4" in shown
    assert '+ "runtime": "python312"' in shown
    assert "+ pipeline.yaml (" in shown
    assert "--apply does it" in shown
    assert google.functions == {}
    shown = say(*CREATE, *SECRET, "--apply", "--service-account", "runner@shop.iam.gserviceaccount.com")
    assert "fit waits for new objects gs://wares/in/*.csv." in shown
    [made] = google.functions.values()
    assert made.name == "projects/shop/locations/europe-west4/functions/fit"
    assert made.event_trigger.trigger_region == "europe-west4"
    assert made.event_trigger.event_type == "google.cloud.storage.object.v1.finalized"
    assert {one.attribute: one.value for one in made.event_trigger.event_filters} == {"bucket": "wares"}
    assert made.event_trigger.retry_policy.name == "RETRY_POLICY_RETRY"
    assert made.service_config.service_account_email == "runner@shop.iam.gserviceaccount.com"
    assert [(one.key, one.secret, one.version) for one in made.service_config.secret_environment_variables] == [
        ("KFP_TOKEN", "kfp-token", "latest")
    ]
    calls = len(google.calls)
    shown = say(*CREATE, *SECRET, "--apply", "--service-account", "runner@shop.iam.gserviceaccount.com")
    assert "same    fit" in shown
    assert not {"CreateFunction", "UpdateFunction", "GenerateUploadUrl"} & set(google.calls[calls:])


def test_what_changed_here_is_shown_and_deployed(say: Say, google: CloudServer) -> None:
    say(*CREATE, *SECRET, "--apply")
    shown = say(*CREATE, "epochs=5", *SECRET)
    assert "update  fit in europe-west4\n" in shown  # nobody else changed anything
    assert '+  "epochs": 5' in shown
    say(*CREATE, "epochs=5", *SECRET, "--apply")
    assert "same    fit" in say(*CREATE, "epochs=5", *SECRET)


def test_what_somebody_changed_in_the_console_is_said_and_put_back(say: Say, google: CloudServer) -> None:
    say(*CREATE, *SECRET, "--apply")
    [made] = google.functions.values()
    made.service_config.max_instance_count = 1
    shown = say(*CREATE, *SECRET)
    assert "update  fit in europe-west4  (changed by hand meanwhile)" in shown
    assert '- "instances at most": 1' in shown
    say(*CREATE, *SECRET, "--apply")
    google.edit("fit", "newdata/once.py", b"print('mine')\n")
    shown = say(*CREATE, *SECRET)
    assert "(changed by hand meanwhile)" in shown
    assert "-print('mine')" in shown
    say(*CREATE, *SECRET, "--apply")
    assert "same    fit" in say(*CREATE, *SECRET)


def test_what_one_changed_in_the_folder_is_kept_and_deployed(say: Say, google: CloudServer) -> None:
    say(*CREATE, *SECRET, "--apply")
    Path("functions/fit/requirements.txt").write_text("functions-framework==3.10.2\nmine==1\n")
    shown = say(*CREATE, *SECRET)
    assert "You changed functions/fit/requirements.txt, and it stays; --replace writes it anew." in shown
    assert "+mine==1" in shown
    assert "mine==1" not in say(*CREATE, *SECRET, "--replace")


def test_functions_are_listed_read_and_deleted(say: Say, google: CloudServer, bucket: StorageServer) -> None:
    assert "There is no function" in say("list", "--cloud")
    for name in ("fit", "other"):
        say(*CREATE[:-1], name, *SECRET, "--apply")
    google.functions["projects/shop/locations/europe-west4/functions/foreign"] = type(
        next(iter(google.functions.values()))
    )(name="projects/shop/locations/europe-west4/functions/foreign")
    shown = say("list", "--cloud")
    assert "fit    function  europe-west4  active  Starts fit for new objects gs://wares/in/*.csv" in shown
    assert "foreign" not in shown
    for number in range(5):
        google.print("fit", f"line {number}")
    google.print("fit", "Started: run-1", payload={"kfp_magics": {"run": "run-1"}})
    google.print("other", "another one")
    lines = say("logs", "fit", "--cloud").splitlines()
    assert [line.partition(" ")[2].partition(" ")[2] for line in lines] == [
        *(f"line {number}" for number in range(5)),
        "Started: run-1",
    ]
    assert "fit is gone" in say("delete", "fit", "--cloud")
    assert "There is no one function 'fit'" in say("delete", "fit", "--cloud", code=2)
    assert "There is no one function 'oter'" in say("logs", "oter", "--cloud", code=2)


def test_a_function_of_somebody_else_is_left_alone(say: Say, google: CloudServer) -> None:
    say(*CREATE, *SECRET, "--apply")
    [made] = google.functions.values()
    del made.labels["managed-by"]
    shown = say(*CREATE, *SECRET, "--apply", code=2)
    assert "There is a function 'fit' that kfp-magics did not make." in shown


AGENT = "Permission denied while using the Eventarc Service Agent. If you recently started to use Eventarc, wait."
PUBLISH = "The Cloud Storage service account for your bucket is unable to publish to Cloud Pub/Sub topics."
API = "Cloud Functions API has not been used in project 1234 before or it is disabled."


@pytest.mark.parametrize(
    ("method", "code", "message", "hint"),
    [
        ("CreateFunction", grpc.StatusCode.PERMISSION_DENIED, AGENT, "--role roles/eventarc.serviceAgent"),
        ("CreateFunction", grpc.StatusCode.INVALID_ARGUMENT, PUBLISH, "--role roles/pubsub.publisher"),
        ("GetFunction", grpc.StatusCode.PERMISSION_DENIED, API, "gcloud services enable cloudfunctions.googleapis.com"),
        ("CreateFunction", grpc.StatusCode.PERMISSION_DENIED, "denied", "Ask for roles/cloudfunctions.developer"),
    ],
)
def test_what_google_refuses_is_two_lines(
    method: str, code: grpc.StatusCode, message: str, hint: str, say: Say, google: CloudServer
) -> None:
    google.faults[method] = Fault(code, message, times=9)
    lines = say(*CREATE, *SECRET, "--apply", code=2).strip().splitlines()[-2:]
    assert message in lines[0]
    assert hint in lines[1]
    assert google.functions == {}


def test_a_region_that_does_not_fit_the_bucket(say: Say, google: CloudServer, bucket: StorageServer) -> None:
    bucket.storage.buckets["wares"]["location"] = "EU"
    assert "create  fit in europe-west1" in say(*CREATE, *SECRET)
    say(*CREATE, *SECRET, "--region", "us-central1", "--apply")
    [made] = google.functions.values()
    assert made.name.split("/")[3] == "us-central1"
    assert made.event_trigger.trigger_region == "eu"  # a trigger waits where its bucket is, wherever the function is
    assert "There is no bucket 'nowhere'." in say(*CREATE[:2], "gs://nowhere/*", *CREATE[3:], *SECRET, code=2)


def test_a_build_that_fails_is_told_in_two_lines(say: Say, google: CloudServer) -> None:
    google.broken = "Build failed with status: FAILURE and message: no version satisfies mine==1"
    lines = say(*CREATE, *SECRET, "--apply", code=2).strip().splitlines()[-2:]
    assert "cannot create the function fit: " in lines[0]
    assert "no version satisfies mine==1" in lines[0]
    google.broken = ""
    assert "waits for new objects" in say(*CREATE, *SECRET, "--apply")


def test_secrets_are_named_and_never_given(say: Say, google: CloudServer) -> None:
    assert "--secret KFP_TOKEN=SECRET" in say(*CREATE, code=2)
    shown = say(*CREATE, "--secret", "KFP_TOKEN=eyJhbGciOi.secret/value==", code=2)
    assert "--secret takes the name of a secret" in shown
    assert "eyJ" not in shown
    Connections(Settings().home_path).remember(parse("https://kfp.test", {"token_file": "/tmp/token"}))
    assert "cannot log in to kfp.test as you do: --token-file names a file" in say(*CREATE, code=2)


def test_without_a_server_the_folder_is_written_and_nothing_deployed(
    say: Say, google: CloudServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KFP_MAGICS_BACKEND", "local")
    shown = say(*CREATE)
    assert "Runs go to this machine, where a function in the cloud cannot start them." in shown
    assert "kfp-magics cd test FILE tries the function here." in shown
    assert json.loads(Path("functions/fit/rule.json").read_text())["templates"] == {"data": "$uri"}
    say(*CREATE, "--apply", code=2)
    assert google.calls == []


def test_files_cannot_be_gathered_for_longer_than_anybody_waits(say: Say, google: CloudServer) -> None:
    assert "Take at most --gather 420" in say(*CREATE, *SECRET, "--gather", "600", code=2)


def test_a_folder_is_no_bucket(say: Say, google: CloudServer) -> None:
    assert "waits for objects of a bucket" in say(*CREATE[:2], "/data/*", *CREATE[3:], code=2)
