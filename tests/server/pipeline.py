"""A pipeline whose two steps write what the panel shows."""

from kfp import dsl


@dsl.component(base_image="python:3.11", install_kfp_package=False)
def make(lines: int, report: dsl.Output[dsl.HTML], data: dsl.Output[dsl.Dataset], folder: dsl.Output[dsl.Model]) -> int:
    import pathlib

    for line in range(lines):
        print("line", line)
    pathlib.Path(report.path).write_text("<script>alert(1)</script>")
    pathlib.Path(data.path).write_text("a,b\n1,2\n3,4\n")
    pathlib.Path(folder.path).mkdir()
    pathlib.Path(folder.path, "weights.bin").write_bytes(b"w" * 1000)
    data.metadata["rows"] = 2
    return lines


@dsl.component(base_image="python:3.11", install_kfp_package=False)
def wait(seconds: float, fail: bool) -> str:
    import time

    print("waiting", flush=True)
    time.sleep(seconds)
    if fail:
        raise ValueError("as you wish")
    return "waited"


@dsl.pipeline(name="shown")
def shown(lines: int = 3, seconds: float = 0.0, fail: bool = False):
    make(lines=lines)
    wait(seconds=seconds, fail=fail)
