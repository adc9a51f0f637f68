"""What a step asks of its machine."""

from __future__ import annotations

import pytest

from kfp_magics.cells.options import CellOptions
from kfp_magics.cells.pod import pod_options
from kfp_magics.errors import DefinitionError
from kfp_magics.pods import PodOptions, Toleration

GPU = "nvidia.com/gpu"
GOOD = [
    ({}, PodOptions()),
    ({"cpu": "2"}, PodOptions(cpu="2")),
    ({"cpu": "0.5"}, PodOptions(cpu="0.5")),
    ({"cpu": "500m"}, PodOptions(cpu="500m")),
    ({"memory": "512M"}, PodOptions(memory="512M")),
    ({"memory": "2Gi"}, PodOptions(memory="2Gi")),
    ({"memory": "1.5Ti"}, PodOptions(memory="1.5Ti")),
    ({"gpu": "1"}, PodOptions(gpu=1, gpu_type=GPU)),
    ({"gpu": "amd.com/gpu:2"}, PodOptions(gpu=2, gpu_type="amd.com/gpu")),
    ({"gpu": "NVIDIA_TESLA_T4:4"}, PodOptions(gpu=4, gpu_type="NVIDIA_TESLA_T4")),
    ({"timeout": "90s"}, PodOptions(timeout=90)),
    ({"timeout": "10m"}, PodOptions(timeout=600)),
    ({"timeout": "1h30m5s"}, PodOptions(timeout=5405)),
    ({"retries": 3}, PodOptions(retries=3)),
    ({"no_cache": True}, PodOptions(cache=False)),
    ({"env": ("A=1", "B=a=b", "C=")}, PodOptions(env={"A": "1", "B": "a=b", "C": ""})),
    ({"env": ("A=1", "A=ü \n")}, PodOptions(env={"A": "ü \n"})),
    ({"secret": ("db:password=PW",)}, PodOptions(secrets={"PW": ("db", "password")})),
    (
        {"secret": ("db:password=PW", "db:password=PGPASSWORD")},
        PodOptions(secrets={"PW": ("db", "password"), "PGPASSWORD": ("db", "password")}),
    ),
    ({"secret_volume": ("key=/a", "key=/b")}, PodOptions(secret_volumes={"/a": "key", "/b": "key"})),
    ({"pvc": ("data=/data", "data=/more")}, PodOptions(pvcs={"/data": "data", "/more": "data"})),
    ({"label": ("team=a.b", "a.io/b=")}, PodOptions(labels={"team": "a.b", "a.io/b": ""})),
    ({"annotation": ("a.io/b=a/b c",)}, PodOptions(annotations={"a.io/b": "a/b c"})),
    ({"memory": "1048576"}, PodOptions(memory="1048576")),
    ({"image_pull_secret": ("reg.cred", "reg.cred")}, PodOptions(image_pull_secrets=("reg.cred",))),
    ({"node_selector": ("disk=ssd",)}, PodOptions(node_selector={"disk": "ssd"})),
    (
        {"toleration": ("gpu=yes:NoSchedule",)},
        PodOptions(tolerations=(Toleration(key="gpu", value="yes", effect="NoSchedule"),)),
    ),
    (
        {"toleration": ("gpu:NoExecute", "spot")},
        PodOptions(
            tolerations=(
                Toleration(key="gpu", operator="Exists", effect="NoExecute"),
                Toleration(key="spot", operator="Exists"),
            )
        ),
    ),
]


@pytest.mark.parametrize(("words", "expected"), GOOD, ids=[str(words) for words, _ in GOOD])
def test_good_options(words: dict[str, object], expected: PodOptions) -> None:
    assert pod_options(CellOptions(**words)) == expected  # type: ignore[arg-type]


BAD = [
    ({"cpu": "two"}, "--cpu cannot be 'two'"),
    ({"cpu": "-1"}, "--cpu cannot be '-1'"),
    ({"cpu": "1.5m"}, "--cpu cannot be"),
    ({"memory": "2GB"}, "--memory cannot be '2GB'"),
    ({"memory": "2 Gi"}, "--memory cannot be"),
    ({"memory": "lots"}, "--memory cannot be"),
    ({"gpu": "0"}, "--gpu cannot be '0'"),
    ({"gpu": "T4"}, "--gpu cannot be 'T4'"),
    ({"gpu": "T4:"}, "--gpu cannot be"),
    ({"gpu": "²"}, "--gpu cannot be"),
    ({"timeout": "90"}, "--timeout cannot be '90'"),
    ({"timeout": "1.5h"}, "--timeout cannot be"),
    ({"timeout": "0s"}, "--timeout cannot be zero"),
    ({"retries": -1}, "--retries cannot be -1"),
    ({"env": ("A",)}, "--env cannot be 'A'"),
    ({"env": ("=1",)}, "--env cannot be '=1'"),
    ({"env": ("1A=1",)}, "'1A' is no name of a variable"),
    ({"env": ("a-b=1",)}, "'a-b' is no name of a variable"),
    ({"secret": ("db=PW",)}, "--secret cannot be 'db=PW'"),
    ({"secret": ("db:=PW",)}, "--secret cannot be"),
    ({"secret": ("db:key",)}, "--secret cannot be"),
    ({"secret": ("db:key=P-W",)}, "'P-W' is no name of a variable"),
    ({"secret_volume": ("key=a",)}, "--secret-volume: the path 'a' is not absolute"),
    ({"pvc": ("data",)}, "--pvc cannot be 'data'"),
    ({"pvc": ("data=./x",)}, "is not absolute"),
    ({"label": ("team",)}, "--label cannot be"),
    ({"node_selector": ("=x",)}, "--node-selector cannot be"),
    ({"toleration": ("gpu:Never",)}, "--toleration cannot be 'gpu:Never'"),
    ({"toleration": ("=x",)}, "--toleration cannot be"),
    ({"cpu": "0"}, "--cpu cannot be zero"),
    ({"cpu": "0m"}, "--cpu cannot be zero"),
    ({"memory": "2"}, "--memory 2 is less than any container needs"),
    ({"memory": "0Gi"}, "--memory 0Gi is less than"),
    ({"gpu": ":1"}, "--gpu cannot be ':1'"),
    ({"secret": ("My_db:key=PW",)}, "'My_db' is no name that Kubernetes knows"),
    ({"image_pull_secret": ("a,b",)}, "--image-pull-secret: 'a,b' is no name"),
    ({"pvc": ("data_1=/x",)}, "--pvc: 'data_1' is no name"),
    ({"ephemeral_volume": ("A=/x:1Gi",)}, "--ephemeral-volume: 'A' is no name"),
    ({"label": ("a b=c",)}, "--label: 'a b' is no name of a label"),
    ({"label": ("team=a/b",)}, "--label: team cannot be 'a/b'"),
    ({"annotation": ("/a=c",)}, "--annotation: '/a' is no name"),
    ({"env": ("PW=x",), "secret": ("db:pw=PW",)}, "--env PW and --secret db:pw=PW have the same variable"),
    ({"secret": ("a:k=PW", "b:k=PW")}, "--secret a:k=PW and --secret b:k=PW have the same variable"),
    ({"secret_volume": ("a=/x", "b=/x/")}, "--secret-volume a=/x and --secret-volume b=/x/ have the same path"),
    ({"pvc": ("a=/x",), "ephemeral_volume": ("b=/x:1Gi",)}, "--pvc a=/x and --ephemeral-volume b=/x:1Gi"),
    ({"ephemeral_volume": ("b=/x:1Gi", "b=/y:1Gi")}, "have the same name"),
]


@pytest.mark.parametrize(("words", "message"), BAD, ids=[str(words) for words, _ in BAD])
def test_bad_options(words: dict[str, object], message: str) -> None:
    with pytest.raises(DefinitionError, match=message) as caught:
        pod_options(CellOptions(**words))  # type: ignore[arg-type]
    assert caught.value.hint
