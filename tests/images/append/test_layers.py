from __future__ import annotations

import gzip
import hashlib
import io
import json
import os
import random
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from kfp_magics.errors import BuildError, DefinitionError
from kfp_magics.images import bytecode
from kfp_magics.images.compression import compressor
from kfp_magics.images.image import Image
from kfp_magics.images.layers import (
    ROOT,
    Entry,
    Layer,
    LayerCache,
    _header,
    inside,
    small_layer,
    tar_pieces,
    write_layer,
)
from kfp_magics.images.manifests import Descriptor
from kfp_magics.images.references import digest_of

_PARTS = st.text(st.characters(exclude_characters="/\0", exclude_categories=["Cs"]), min_size=1, max_size=60).filter(
    lambda text: text not in {".", ".."}
)
_FILES = st.dictionaries(st.lists(_PARTS, min_size=1, max_size=5).map("/".join), st.binary(max_size=2000), max_size=8)


def unfold(files: dict[str, bytes]) -> dict[str, bytes]:
    """Leaves out files that would have to be folders of others."""
    return {path: files[path] for path in files if not any(other.startswith(f"{path}/") for other in files)}


@given(_FILES.map(unfold), st.randoms())
def test_a_tar_holds_the_files_and_is_the_same_in_any_order(files: dict[str, bytes], shuffler: random.Random) -> None:
    entries = [Entry(f"{ROOT}/src/{path}", content, len(content) % 2 == 1) for path, content in files.items()]
    made = b"".join(tar_pieces(entries))
    shuffler.shuffle(entries)
    assert b"".join(tar_pieces(entries)) == made
    with tarfile.open(fileobj=io.BytesIO(made)) as tar:
        members = tar.getmembers()
        assert {one.name: tar.extractfile(one).read() for one in members if one.isreg()} == {  # type: ignore[union-attr]
            entry.path: entry.content for entry in entries
        }
    seen: set[str] = set()
    for one in members:
        assert (one.mtime, one.uid, one.gid, one.uname, one.gname) == (0, 0, 0, "", "")
        assert one.isdir() or one.isreg()
        assert one.mode == (0o755 if one.isdir() or len(files[one.name.removeprefix(f"{ROOT}/src/")]) % 2 else 0o644)
        assert f"{one.name}/".startswith(f"{ROOT}/"), "nothing above our folder, which might be a link in the base"
        assert one.name == ROOT or str(Path(one.name).parent) in seen
        seen.add(one.name)


@given(st.lists(_PARTS, min_size=1, max_size=4).map("/".join), st.integers(0, 5000), st.booleans())
def test_the_quick_way_to_write_a_header_writes_what_the_library_writes(path: str, size: int, is_folder: bool) -> None:
    kind = tarfile.DIRTYPE if is_folder else tarfile.REGTYPE
    info = tarfile.TarInfo(path)
    info.type, info.mode, info.size = kind, 0o755, size
    assert _header(path, kind, 0o755, size) == info.tobuf(tarfile.PAX_FORMAT)


@pytest.mark.parametrize("name", ["gzip", "zstd"])
@given(data=st.data())
@settings(max_examples=20)
def test_digests_are_right_and_do_not_depend_on_how_the_content_comes(name: str, data: st.DataObject) -> None:
    content = random.Random(data.draw(st.integers(0, 9))).randbytes(5000) * data.draw(st.integers(0, 700))
    cuts = sorted(data.draw(st.lists(st.integers(0, len(content)), max_size=6)))
    pieces = [content[a:b] for a, b in zip([0, *cuts], [*cuts, len(content)], strict=True)]
    out = io.BytesIO()
    layer = write_layer("it", pieces, out, compressor(name))
    packed = out.getvalue()
    unpacked = gzip.decompress(packed) if name == "gzip" else zstandard.ZstdDecompressor().stream_reader(packed).read()
    assert unpacked == content
    assert layer.diff_id == f"sha256:{hashlib.sha256(content).hexdigest()}"
    assert (layer.digest, layer.size, layer.unpacked) == (digest_of(packed), len(packed), len(content))
    assert write_layer("it", [content], io.BytesIO(), compressor(name)) == layer


def test_zlib_packs_where_isal_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    entries = [Entry(f"{ROOT}/src/a.py", b"x = 1\n" * 50_000)]
    usual = small_layer("it", entries, compressor())
    assert compressor().version.startswith("isal ")
    compressor.cache_clear()
    monkeypatch.setitem(sys.modules, "isal", None)
    try:
        slow = compressor()
    finally:
        compressor.cache_clear()
    assert slow.version.startswith("zlib ")
    other = small_layer("it", entries, slow)
    assert other.diff_id == usual.diff_id
    assert gzip.decompress(other.content) == gzip.decompress(usual.content)  # type: ignore[arg-type]
    with pytest.raises(DefinitionError, match=r"packed by 'zst'.\nDid you mean 'zstd'"):
        compressor("zst")


@pytest.mark.parametrize("path", ["../a", "/etc/passwd", "a/../../b", "", "a\0b", ".."])
def test_no_file_leaves_its_folder(path: str) -> None:
    with pytest.raises(BuildError, match="would leave its folder"):
        inside(path, f"{ROOT}/src")


def test_a_layer_that_is_not_whole_is_not_there(tmp_path: Path) -> None:
    cache = LayerCache(tmp_path / "layers")
    made = cache.add("k", "it", tar_pieces([Entry(f"{ROOT}/a", b"1" * 9999)]), compressor(), has_paths=True)
    assert cache.find("k") == made
    assert isinstance(made.content, Path)
    made.content.write_bytes(made.content.read_bytes()[:-1])
    assert cache.find("k") is None
    (cache.folder / "j.json").write_text("{")
    assert cache.find("j") is None
    assert Layer.described(made.describe()) == Layer(
        **{**{n: getattr(made, n) for n in Layer.__slots__}, "content": None}
    )


def test_what_was_not_used_for_longest_goes_first(tmp_path: Path) -> None:
    cache = LayerCache(tmp_path, limit=25_000)
    for number, key in enumerate("abc"):
        cache.add(key, key, [random.Random(number).randbytes(10_000)], compressor())
        os.utime(tmp_path / f"{key}.layer", (number, number))
    assert cache.find("a")  # used now
    cache.prune()
    assert cache.find("a")
    assert cache.find("c")
    assert not cache.find("b")
    (tmp_path / ".install-x").mkdir()
    (tmp_path / ".now").touch()
    os.utime(tmp_path / ".install-x", (1, 1))
    cache.prune()
    assert [path.name for path in tmp_path.glob(".*")] == [".now"], "what a killed build left"


_MODULE = """
import os, sys
NAMES = {"beta", "alpha", "gamma"}
def f(append, split=("alpha", 1.5)):
    return [append for os in sys.path if os in {"x", "y", "zz"}]
class alpha:
    split = "append"
"""


def test_byte_code_is_the_same_whatever_the_compiling_process_holds(tmp_path: Path) -> None:
    made = []
    for number, before in enumerate(([], ["b.py", "c.py"])):
        folder = tmp_path / str(number)
        folder.mkdir()
        for name in ("a.py", "b.py", "c.py"):
            (folder / name).write_text(f"{_MODULE}\n{name[0]} = 'alpha'\n")
        (folder / "template.py").write_text("def {{ name }}():\n")
        with bytecode.Workers(1) as workers:
            workers.compile([(folder / name, f"/opt/{name}") for name in [*before, "a.py", "template.py"]])
        made.append(bytecode.place(folder / "a.py").read_bytes())
        assert not bytecode.place(folder / "template.py").exists()
    assert made[0] == made[1]


def test_byte_code_is_used_without_a_look_at_the_source(tmp_path: Path) -> None:
    source = tmp_path / "it.py"
    source.write_text("value = __file__\ndef where(): return where.__code__.co_filename\n")
    with bytecode.Workers(2) as workers:
        workers.compile([(source, "/opt/it.py")])
    source.write_text("value = 'changed'")
    told = subprocess.check_output([sys.executable, "-c", "import it; print(it.value, it.where())"], cwd=tmp_path)
    assert told.decode().split() == [str(source)] * 2


def test_an_image_grows_by_layers_and_keeps_what_the_base_says() -> None:
    layer = Layer("numpy==1", "sha256:" + "a" * 64, "sha256:" + "b" * 64, 5, 9, "x")
    base = Image.of(
        {
            "architecture": "arm64",
            "os": "linux",
            "created": "2024-01-01T00:00:00Z",
            "config": {
                "Env": ["PATH=/bin", "PYTHONPATH=/base", "PYTHON_VERSION=3.11.2"],
                "Cmd": ["python3"],
                "User": "7",
            },
            "rootfs": {"type": "layers", "diff_ids": ["sha256:" + "c" * 64]},
            "history": [{"created_by": "x", "empty_layer": True}, {"created_by": "y"}],
        },
        [
            Descriptor(
                media_type="application/vnd.docker.image.rootfs.diff.tar.gzip", digest="sha256:" + "d" * 64, size=1
            )
        ],
    )
    image = base.with_layers([layer]).with_runtime({"PYTHONPATH": "/ours", "A": "b=c"}, ["sh", "x"])
    config = json.loads(image.config)
    assert config["config"] == {
        "Env": ["PATH=/bin", "PYTHONPATH=/ours:/base", "PYTHON_VERSION=3.11.2", "A=b=c"],
        "Entrypoint": ["sh", "x"],
        "User": "7",
    }
    assert config["rootfs"]["diff_ids"] == ["sha256:" + "c" * 64, layer.diff_id]
    assert [one.get("created_by") for one in config["history"]] == ["x", "y", "kfp-magics: numpy==1"]
    assert base.python == "3.11"
    assert json.loads(base.config)["config"]["Cmd"] == ["python3"], "the base itself stays what it is"
    manifest = json.loads(image.manifest("h/r@sha256:" + "e" * 64))
    assert [one["mediaType"] for one in manifest["layers"]] == ["application/vnd.oci.image.layer.v1.tar+gzip", "x"]
    assert manifest["annotations"]["org.opencontainers.image.base.digest"] == "sha256:" + "e" * 64
    assert "history" not in json.loads(
        Image(dict(base.settings) | {"history": []}, base.layers).with_layers([layer]).config
    )
