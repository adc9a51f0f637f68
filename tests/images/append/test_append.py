from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest

from kfp_magics.errors import BuildError
from kfp_magics.images.base import Builder
from kfp_magics.images.lock import Locks
from tests.images.append.conftest import ENV, HERE, Lines, Site, layers_of
from tests.images.append.wheelhouse import Wheelhouse
from tests.images.containers import PLATFORM, Podman, skopeo_inspect


def test_an_image_runs_with_its_requirements_its_code_and_its_settings(
    real: Site, requirements: tuple[str, ...], podman: Podman
) -> None:
    log = Lines()
    code = "import kfpm_big, kfpm_vast, kfpm_tiny, kfpm_least as l\nprint(kfpm_big.one + kfpm_vast.two, l.__cached__)\n"
    builder = real.builder()
    assert isinstance(builder, Builder)
    spec = real.spec(code, *requirements, entrypoint=("python3", "/opt/kfpm/src/step_train.py"))
    ref = builder.build(spec, log)
    assert re.search(r"code layer \d+ B, [\d.]+ m?s, 4 layers below it, [\d.]+ MB of them sent\n$", log.text)

    seen = skopeo_inspect(str(ref))
    assert len(seen["Layers"]) == 1 + 2 + 1 + 1, "base, two large, the small ones, the code"
    assert skopeo_inspect(f"{ref.repository}:{spec.tag}")["Digest"] == ref.digest
    config = skopeo_inspect(str(ref), "--config")
    assert [one["created_by"] for one in config["history"][1:]] == [
        "kfp-magics: kfpm_big==1.0",
        "kfp-magics: kfpm_vast==1.0",
        "kfp-magics: 2 small packages",
        "kfp-magics: code",
    ]
    assert set(config["config"]["Env"]) >= {f"{name}={value}" for name, value in ENV.items()}

    print_ = podman.run(str(ref))
    assert print_.split() == [
        "3",
        f"/opt/kfpm/site/kfpm_least/__pycache__/__init__.cpython-{HERE.replace('.', '')}.pyc",
    ]
    look = (
        "readlink /lib; ls /opt/kfpm/site/kfpm_least/tests; head -1 /opt/kfpm/site/bin/tiny; stat -c '%a %u' /opt/kfpm"
    )
    told = podman.run(str(ref), "-c", look, options=("--entrypoint", "sh")).split("\n")
    assert told[0] == "usr/lib", "a link in the base stays a link"
    assert told[1:4] == ["__init__.py", "test_it.py", "#!/usr/bin/env python3"] or told[1] == "test_it.py"
    assert "755 0" in told


def test_two_machines_make_the_same_image_byte_for_byte(
    site: Site, requirements: tuple[str, ...], repository: str
) -> None:
    spec = site.spec("x = 1\n", *requirements)
    first = site.builder("one").build(spec, Lines())
    away = Site(site.host, site.base, f"{repository}-away", site._folder)  # shares no layers with the first
    shuffled = replace(spec, requirements=tuple(reversed(spec.requirements)))
    second = away.builder("two").build(shuffled, Lines())
    away.close()
    assert first.digest == second.digest
    assert first.repository != second.repository


def test_what_changed_alone_travels(site: Site, requirements: tuple[str, ...], wheelhouse: Wheelhouse) -> None:
    builder, log = site.builder(), Lines()
    first = builder.build(site.spec("x = 1\n", *requirements), log)
    log.text = ""
    assert builder.build(site.spec("x = 1\n", *requirements), log) == first
    assert re.fullmatch(r"unchanged, \d+ ms\n", log.text)

    log.text = ""
    edited = builder.build(site.spec("x = 2\n", *requirements), log)
    assert edited.digest != first.digest
    assert re.fullmatch(r"code layer \d+ B, \d+ ms, dependencies cached\n", log.text)

    log.text = ""
    again = site.builder("fresh").build(site.spec("x = 3\n", *requirements), log)
    assert re.fullmatch(r"code layer \d+ B, \d+ ms, dependencies cached\n", log.text), "a machine that never built it"
    assert not (site._folder / "fresh" / "layers").exists()

    log.text = ""
    other = wheelhouse.locked("kfpm_other", {"kfpm_other.py": ""})
    more = builder.build(site.spec("x = 3\n", *requirements, other), log)
    assert re.search(r"found the layers of kfpm_big==1.0, kfpm_least==1.0, ", log.text)
    kept = {one["digest"] for one in layers_of(again)} & {one["digest"] for one in layers_of(more)}
    assert len(kept) == 4, "base, the two large ones and the code"


def test_kfp_runs_a_step_in_such_an_image(real: Site, podman: Podman, tmp_path: Path) -> None:
    code = (
        "from kfp.dsl import *\n\n"
        "def train(rows: int, model: Output[Model]) -> int:\n"
        "    open(model.path, 'w').write('weights')\n"
        "    model.metadata['rows'] = rows\n"
        "    return rows * 2\n"
    )
    import kfp

    locked = Locks(tmp_path / "locks").lock([], python=HERE, platform=PLATFORM, kfp=kfp.__version__)
    ref = real.builder().build(real.spec(code, *locked), Lines())
    assert sum(one["size"] for one in layers_of(ref)[1:]) < 3_000_000
    out = tmp_path / "out"
    out.mkdir()
    given = {
        "inputs": {"parameterValues": {"rows": 21}},
        "outputs": {
            "outputFile": "/out/executor_output.json",
            "parameters": {"Output": {"outputFile": "/out/Output"}},
            "artifacts": {
                "model": {
                    "artifacts": [{"name": "model", "type": {"schemaTitle": "system.Model"}, "uri": "/out/model"}]
                }
            },
        },
    }
    podman.run(
        str(ref),
        *("python3", "-m", "kfp.dsl.executor_main"),
        *("--component_module_path", "/opt/kfpm/src/step_train.py"),
        *("--function_to_execute", "train", "--executor_input", json.dumps(given)),
        options=("--volume", f"{out}:/out"),
    )
    told = json.loads((out / "executor_output.json").read_text())
    assert told["parameterValues"] == {"Output": 42}
    assert told["artifacts"]["model"]["artifacts"][0]["metadata"] == {"rows": 21}
    assert (out / "model").read_text() == "weights"


def test_another_machine_gets_its_own_wheels(site: Site, wheelhouse: Wheelhouse) -> None:
    tags = {machine: f"cp{HERE.replace('.', '')}-abi3-manylinux_2_17_{machine}" for machine in ("x86_64", "aarch64")}
    hashes = [wheelhouse.wheel("kfpm_native", {f"{machine}.so": machine}, tag) for machine, tag in tags.items()]
    line = f"kfpm_native==1.0 {' '.join(f'--hash={one}' for one in hashes)}"
    for platform, machine in (("linux/arm64", "aarch64"), ("linux/amd64", "x86_64")):
        ref = site.builder().build(site.spec("", line, platform=platform), Lines())
        names = [name for layer in site.layers(ref.digest) for name in layer.getnames()]
        assert [name for name in names if name.endswith(".so")] == [f"opt/kfpm/site/{machine}.so"]
        assert skopeo_inspect(str(ref), "--config")["architecture"] == platform.partition("/")[2]


def test_pure_source_distributions_are_built_here(site: Site, wheelhouse: Wheelhouse) -> None:
    ref = site.builder().build(site.spec("", wheelhouse.source("kfpm_source")), Lines())
    names = [name for layer in site.layers(ref.digest) for name in layer.getnames()]
    assert "opt/kfpm/site/kfpm_source.py" in names
    assert not [name for name in names if "direct_url" in name or "REQUESTED" in name]


@pytest.mark.parametrize("tag", ["py3-none-any", "cp311-cp311-linux_x86_64"])
def test_what_needs_a_compiler_is_refused(site: Site, wheelhouse: Wheelhouse, tag: str) -> None:
    line = wheelhouse.source("kfpm_compiled", tag=tag, compiles=tag.endswith("any"))
    with pytest.raises(BuildError, match=r"(?s)kfpm.compiled.*\n.*--builder podman"):
        site.builder().build(site.spec("", line), Lines())
    assert site.tags() == []


def test_a_wheel_for_other_platforms_only_is_refused(site: Site, wheelhouse: Wheelhouse) -> None:
    line = wheelhouse.locked("kfpm_windows", {"a.py": ""}, tag=f"cp{HERE.replace('.', '')}-none-win_amd64")
    with pytest.raises(BuildError, match=r"(?s)no wheel for linux/amd64: Because kfpm-windows==1.0 .*\n.*--builder"):
        site.builder().build(site.spec("", line, platform="linux/amd64"), Lines())
    assert site.tags() == []


def test_a_wheel_that_was_changed_since_is_refused(site: Site, wheelhouse: Wheelhouse) -> None:
    line = wheelhouse.locked("kfpm_changed", {"kfpm_changed.py": "good = True"})
    wheelhouse.locked("kfpm_changed", {"kfpm_changed.py": "good = False"})
    with pytest.raises(BuildError, match=r"(?s)not what its lock says.*kfpm-changed"):
        site.builder().build(site.spec("", line), Lines())
    assert site.tags() == []


def test_large_packages_are_compiled_when_it_is_asked_for(site: Site, wheelhouse: Wheelhouse) -> None:
    line = wheelhouse.locked(
        "kfpm_long", {"kfpm_long.py": f'TEXT = """{"x" * 2_100_000}"""\n', "kfpm_test/tests/a.py": ""}
    )
    small = wheelhouse.locked("kfpm_short", {"kfpm_short.py": "x = 1\n"})
    compiled = {}
    for bytecode in ("all", "small", "none"):
        builder = site.builder(bytecode=bytecode)
        ref = builder.build(site.spec("", line, small, name=bytecode), Lines())
        names = [name for layer in site.layers(ref.digest, bytecode) for name in layer.getnames()]
        compiled[bytecode] = sorted(
            name.rpartition("/")[2].partition(".")[0] for name in names if name.endswith(".pyc")
        )
    assert compiled == {"all": ["kfpm_long", "kfpm_short"], "small": ["kfpm_short"], "none": []}
    foreign = site.builder("foreign").build(site.spec("", small, python="3.9", name="foreign"), Lines())
    assert not [name for layer in site.layers(foreign.digest, "foreign") for name in layer.getnames() if "pyc" in name]
