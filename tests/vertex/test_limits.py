"""What Vertex AI cannot do is said before anything is sent to it."""

from __future__ import annotations

import json
from typing import Any

import pytest
import yaml

from kfp_magics import ir as irs
from kfp_magics.backends.abilities import FEATURES, IGNORED, ignored
from kfp_magics.backends.base import SubmitOptions
from kfp_magics.backends.vertex import limits
from kfp_magics.errors import BackendError
from kfp_magics.model import State
from tests.kfp.pipelines import ir_of
from tests.vertex.conftest import ended

POD: dict[str, Any] = {
    "secretAsEnv": [{"secretName": "s", "keyToEnv": [{"secretKey": "k", "envVar": "V"}]}],
    "secretAsVolume": [{"secretName": "s", "mountPath": "/s"}],
    "pvcMount": [{"constant": "data", "mountPath": "/data"}],
    "configMapAsEnv": [{"configMapName": "m"}],
    "imagePullSecret": [{"secretName": "s"}],
    "whatIsYetToCome": [{}],
}


def with_pod(pod: dict[str, Any], accelerator: str = "") -> str:
    spec = yaml.safe_load(ir_of("plain"))
    if accelerator:
        spec["deploymentSpec"]["executors"]["exec-train"]["container"]["resources"] = {
            "cpuLimit": 4.0,
            "memoryLimit": 16.0,
            "accelerator": {"type": accelerator, "count": "1", "resourceType": accelerator, "resourceCount": "1"},
        }
    platform = {"platforms": {"kubernetes": {"deploymentSpec": {"executors": {"exec-train": pod}}}}}
    return "\n---\n".join(json.dumps(one) for one in (spec, platform))


@pytest.mark.parametrize("feature", POD)
def test_what_a_step_cannot_do_without_is_refused(server, backend, feature) -> None:
    with pytest.raises(BackendError, match=r"The step 'train' wants .* which Vertex AI does not have") as caught:
        backend.submit(with_pod({feature: POD[feature]}), {}, SubmitOptions())
    assert caught.value.hint
    assert server.calls == []


def test_every_feature_is_done_refused_or_told_to_be_ignored() -> None:
    done = {"cpu", "memory", "accelerator", "retry"}
    assert set(FEATURES) - done == set(IGNORED["vertex"]) | set(limits.CANNOT)
    assert not set(IGNORED["vertex"]) & set(limits.CANNOT)


def test_what_a_step_does_its_work_without_is_told(server, backend, store) -> None:
    ir = with_pod({"nodeSelector": {"labels": {"disk": "ssd"}}, "podMetadata": {"labels": {"team": "a"}}})
    assert [one.feature for one in ignored(irs.parse(ir), "vertex")] == ["a node selector", "a pod label"]
    run = backend.submit(ir, {}, SubmitOptions())
    assert ended(backend, store, run).state is State.SUCCEEDED


def test_accelerators_are_googles(server, backend) -> None:
    for kind, hint in {"nvidia.com/gpu": "Write --gpu", "nvidia-tesla-t4": "Did you mean 'NVIDIA_TESLA_T4'"}.items():
        with pytest.raises(BackendError, match="knows accelerators by their type") as caught:
            backend.submit(with_pod({}, kind), {}, SubmitOptions())
        assert hint in caught.value.hint
    backend.submit(with_pod({}, "NVIDIA_TESLA_T4"), {}, SubmitOptions())
    (job,) = server.jobs.values()
    resources = job.pipeline_spec["deploymentSpec"]["executors"]["exec-train"]["container"]["resources"]
    assert (resources["cpuLimit"], resources["memoryLimit"]) == (4.0, 16.0)
    assert (resources["accelerator"]["type"], resources["accelerator"]["count"]) == ("NVIDIA_TESLA_T4", "1")


def test_an_accelerator_may_be_a_parameter(server, backend) -> None:
    backend.submit(with_pod({}, "{{$.inputs.parameters['pipelinechannel--kind']}}"), {}, SubmitOptions())
    assert len(server.jobs) == 1


def test_a_bucket_is_asked_for(server, connect) -> None:
    for root, why in {"": "needs a bucket", "minio://runs": "'minio://runs' is none"}.items():
        with pytest.raises(BackendError, match=why) as caught:
            connect(pipeline_root=root, name="shop").submit(ir_of("plain"), {}, SubmitOptions())
        assert caught.value.hint == "%kfp_connect shop --pipeline-root gs://BUCKET/FOLDER"
    assert server.calls == []
