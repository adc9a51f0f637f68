"""A service account's key in all steps of a run on Kubernetes."""

from __future__ import annotations

from copy import deepcopy

import pytest
from google.protobuf.json_format import ParseDict
from kfp.kubernetes import kubernetes_executor_config_pb2 as pb

from kfp_magics import ir as irs
from kfp_magics.backends.base import Schedule, SubmitOptions
from kfp_magics.backends.connections import Connections, parse
from kfp_magics.backends.kfp.secrets import with_key
from kfp_magics.errors import ArgumentError
from tests.kfp.pipelines import ir_of

FILE = "/secret/gcp/user-gcp-sa.json"


def mounted(spec: dict) -> dict[str, tuple[str, str]]:
    """Step → where the key is said to be, and what is mounted there; as the server got it."""
    pods = spec["platform_spec"]["platforms"]["kubernetes"]["deploymentSpec"]["executors"]
    found = {}
    for label, executor in spec["pipeline_spec"]["deploymentSpec"]["executors"].items():
        said = {one["name"]: one["value"] for one in executor.get("container", {}).get("env", ())}
        pod = ParseDict(pods.get(label, {}), pb.KubernetesExecutorConfig())  # KFP's own words
        [volume] = pod.secret_as_volume
        place = f"{volume.secret_name_parameter.runtime_value.constant.string_value} at {volume.mount_path}"
        found[label] = (said["GOOGLE_APPLICATION_CREDENTIALS"], place)
    return found


def test_all_steps_of_runs_schedules_and_uploads_have_the_key(connect, server) -> None:
    backend = connect(gcp_secret="user-gcp-sa")
    run = backend.submit(ir_of("plain"), {"rows": 1}, SubmitOptions())
    expected = dict.fromkeys(["exec-prepare", "exec-train"], (FILE, "user-gcp-sa at /secret/gcp"))
    assert mounted(server.runs[run.id].body["pipeline_spec"]) == expected
    backend.schedule(Schedule(name="daily", interval=60), ir_of("plain"), {"rows": 1}, SubmitOptions())
    [scheduled] = server.recurring.values()
    assert mounted(scheduled["pipeline_spec"]) == expected
    backend.upload(ir_of("plain"), "plain")
    [version] = server.versions.values()
    assert mounted(version["pipeline_spec"]) == expected


def test_the_setting_does_it_for_every_server(settings, connect, server) -> None:
    settings.gcp_secret = "user-gcp-sa"
    backend = connect()
    run = backend.submit(ir_of("plain"), {"rows": 1}, SubmitOptions())
    assert set(mounted(server.runs[run.id].body["pipeline_spec"])) == {"exec-prepare", "exec-train"}


def test_without_a_secret_a_pipeline_is_sent_as_it_is(connect, server) -> None:
    pipeline = irs.parse(ir_of("plain"))
    assert with_key(pipeline, "") is pipeline


def test_a_step_with_credentials_of_its_own_keeps_them() -> None:
    pipeline = deepcopy(irs.parse(ir_of("plain")))
    executors = pipeline.spec["deploymentSpec"]["executors"]
    own = {"name": "GOOGLE_APPLICATION_CREDENTIALS", "value": "/mine.json"}
    executors["exec-prepare"]["container"]["env"] = [own]
    found = with_key(pipeline, "user-gcp-sa")
    pods = found.platform["platforms"]["kubernetes"]["deploymentSpec"]["executors"]
    assert set(pods) == {"exec-train"}
    assert found.spec["deploymentSpec"]["executors"]["exec-prepare"]["container"]["env"] == [own]
    assert irs.parse(found.text).spec == found.spec


def test_the_name_of_a_secret_is_taken_and_its_content_is_not(settings, server) -> None:
    with pytest.raises(ArgumentError, match="takes the name of a secret"):
        parse(server.url, {"gcp_secret": '{"private_key": "x"}'})
    with pytest.raises(ArgumentError, match="on Kubernetes only"):
        parse("vertex:shop/europe-west4", {"gcp_secret": "user-gcp-sa"})
    connections = Connections(settings.home_path)
    connections.remember(parse(server.url, {"gcp_secret": "user-gcp-sa"}))
    assert connections.get("kfp").gcp_secret == "user-gcp-sa"
