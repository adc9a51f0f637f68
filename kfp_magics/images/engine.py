"""Images built by docker, podman or buildah, by their command line: the way for folders with a Dockerfile."""

from __future__ import annotations

import os
import re
import subprocess
import tarfile
import tempfile
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from kfp_magics import engines
from kfp_magics.errors import BuildError, EngineError
from kfp_magics.images import folders
from kfp_magics.images.base import ImageRef
from kfp_magics.images.children import follow
from kfp_magics.images.dockerfile import base_images, instructions, line_of
from kfp_magics.images.preinstalled import preinstall

if TYPE_CHECKING:
    from kfp_magics.engines import Engine
    from kfp_magics.images.base import ImageSpec, Log

_PUSHED = re.compile(r"digest: (sha256:[0-9a-f]{64})")
_STEP = re.compile(
    r"^(?:\[\d+/\d+\] )?step \d+/\d+ ?: (?P<what>.+)$"  # podman, buildah, docker's older builder
    r"|^#\d+ \[(?:\S+ )?\d+/\d+\] (?P<what2>.+)$",  # BuildKit
    re.IGNORECASE,
)
_NOISE = re.compile(r"^(--> |COMMIT|Getting image source|Copying (blob|config)|Writing manifest|Storing signatures|$)")
_AT_STEP = re.compile(r'building at STEP "(.+?)": ')
_NOT_ALLOWED = ("unauthorized", "denied", "authentication required", "no basic auth", "forbidden")
_BUILT = 0.85  # share of a build that is done when only the push is left
_DATE = 315_619_200  # 1980-01-02: the first day that every archive format can hold
_TITLE, _CONTENT = "org.opencontainers.image.title", "io.kfp-magics.content"


@dataclass(frozen=True, kw_only=True, slots=True)
class _Work:
    """One build, while it is carried out."""

    engine: Engine
    spec: ImageSpec
    folder: Path
    dockerfile: str
    log: Log
    plain_http: str

    @property
    def text(self) -> str:
        return (self.folder / self.dockerfile).read_text(encoding="utf-8", errors="replace")


class EngineBuilder:
    """Builds images with a container engine of this machine; see `Builder`.

    The engine's own logins count: ``podman login HOST`` is what lets podman push.

    Args:
        name: docker, podman or buildah.
        destination: Registry and path that images go to.
        plain_http: Hosts besides those on loopback that may do without TLS, separated by commas; docker has its own
            settings for that.
    """

    def __init__(self, name: str, destination: str, *, plain_http: str = "") -> None:
        self.name = name
        self._destination = destination
        self._plain_http = plain_http

    def build(self, spec: ImageSpec, log: Log) -> ImageRef:
        """Builds and publishes one image; see `Builder.build`."""
        try:
            engine = engines.find(self.name)
        except EngineError as error:
            raise BuildError(error.message, error.hint) from error
        with tempfile.TemporaryDirectory(prefix="kfpm-build-") as scratch:
            folder = Path(scratch, "folder")
            folder.mkdir()
            log.step("writing the build folder", 0.0)
            work = _Work(
                engine=engine,
                spec=spec,
                folder=folder,
                dockerfile=write_folder(spec, folder),
                log=log,
                plain_http=self._plain_http,
            )
            if not spec.folder:
                preinstall(spec, folder, work.dockerfile, log)
            _pull_bases(work)
            image = _build(work, Path(scratch, "image"))
            log.step("pushing", _BUILT)
            digest = self._push(work, image, Path(scratch, "digest"))
        return ImageRef(repository=f"{self._destination}/{spec.name}", digest=digest, tag=spec.tag)

    def _push(self, work: _Work, image: str, file: Path) -> str:
        """Pushes an image; the tag is what a registry gets last."""
        repository = f"{self._destination}/{work.spec.name}"
        tagged = f"{repository}:{work.spec.tag}"
        if work.engine.name == "docker":
            return _push_by_docker(work, image, tagged)
        words = ["push", "--digestfile", str(file), *engines.plain_http(work.engine, repository, work.plain_http)]
        _call(work, [*words, image, f"docker://{tagged}"], f"The image {tagged} cannot be pushed")
        return file.read_text(encoding="utf-8").strip()


def write_folder(spec: ImageSpec, target: Path) -> str:
    """Writes what a build reads to an empty folder, ignore rules applied.

    Args:
        spec: What is built.
        target: The folder.

    Returns:
        Name of its Dockerfile.

    Raises:
        BuildError: There is none, a file cannot be read, or leads out of the folder.
    """
    source = folders.read_folder(spec.folder) if spec.folder else folders.Folder(root=Path(), entries=())
    with tempfile.TemporaryFile() as packed:
        folders.pack(source, spec.files, packed, digest=spec.folder_digest)
        packed.seek(0)
        with tarfile.open(fileobj=packed, mode="r|") as tar:
            for member in tar:
                _extract(tar, member, target)
    for name in (".dockerignore", ".containerignore"):  # their rules are applied, and engines read them differently
        (target / name).unlink(missing_ok=True)
    found = next((name for name in folders.DOCKERFILES if (target / name).is_file()), "")
    if not found:
        raise BuildError(
            f"The folder of {spec.name!r} has no Dockerfile, and docker, podman and buildah need one.",
            "Write one, or take another builder: --builder cloudbuild carries out its cloudbuild.yaml.",
        )
    return found


def _extract(tar: tarfile.TarFile, member: tarfile.TarInfo, target: Path) -> None:
    place = target / member.name
    if not place.parent.resolve().is_relative_to(target.resolve()):
        raise BuildError(f"The path {member.name!r} leads out of the step's folder.", "Use plain relative paths.")
    place.parent.mkdir(parents=True, exist_ok=True)
    if member.issym():
        place.symlink_to(member.linkname)
        return
    source = tar.extractfile(member)
    assert source is not None
    with source, place.open("wb") as file:
        while piece := source.read(1 << 20):
            file.write(piece)
    place.chmod(member.mode)


def _pull_bases(work: _Work) -> None:
    """Pulls bases from registries without TLS, and those whose name has no host; engines pull all others themselves."""
    for image in base_images(work.text):
        names = engines.names(work.engine, image)
        options = engines.plain_http(work.engine, image, work.plain_http)
        special = options or len(names) > 1
        if not special or "$" in image or _output(work, "inspect", "--type", "image", image):
            continue
        work.log.step(f"pulling {image}")
        for name in names:
            code, last = _follow(work, ["pull", *options, name])
            if not code or not any(engines.UNRESOLVED in line for line in last):
                break
        if code:
            raise BuildError(f"The base image {image} cannot be pulled: {_reason(last)}", _hint(work, last))


def _build(work: _Work, file: Path) -> str:
    spec = work.spec
    words = [
        *("build" if work.engine.name != "buildah" else "bud", "--file", str(work.folder / work.dockerfile)),
        *("--platform", spec.platform, "--iidfile", str(file)),
        *("--label", f"{_TITLE}={spec.name}", "--label", f"{_CONTENT}={spec.tag}"),
    ]
    environment = {"SOURCE_DATE_EPOCH": str(_DATE), "BUILDKIT_PROGRESS": "plain"}
    if work.engine.name != "docker":
        words.append("--layers")
    if work.engine.name == "buildah":
        # Inside of containers and without root only chroot works, and it works everywhere.
        environment["BUILDAH_ISOLATION"] = os.environ.get("BUILDAH_ISOLATION", "chroot")
    if not spec.folder and work.engine.name != "docker":  # byte-code that a RUN of the user's compiled keeps its date
        words += ["--timestamp", str(_DATE)]
    steps: list[str] = []
    total = len(instructions(work.text))

    def on_line(line: str) -> None:
        work.log.write(f"{line}\n")
        if match := _STEP.match(line):
            steps.append((match["what"] or match["what2"]).strip())
            work.log.step(f"step {len(steps)} of {total}: {steps[-1][:60]}", _BUILT * min(1.0, len(steps) / total))

    code, last = follow([work.engine.program, *words, str(work.folder)], on_line, work.log.check, environment)
    if code:
        raise _build_failure(work, steps[-1] if steps else "", last)
    return file.read_text(encoding="utf-8").strip()


def _push_by_docker(work: _Work, image: str, tagged: str) -> str:
    _call(work, ["tag", image, tagged], f"The image cannot be called {tagged}")
    try:
        said = _call(work, ["push", tagged], f"The image {tagged} cannot be pushed")
        found = [match[1] for line in said if (match := _PUSHED.search(line))]
        repository = tagged.rpartition(":")[0]
        known = _output(work, "inspect", "--format", "{{range .RepoDigests}}{{.}}\n{{end}}", tagged).split()
    finally:
        _output(work, "image", "rm", "--no-prune", tagged)  # the name was only for the push
    found += [one.rpartition("@")[2] for one in known if one.startswith(f"{repository}@")]
    if not found:
        raise BuildError(f"docker does not say what it pushed as {tagged}.", "Build again: %kfp_build.")
    return found[0]


def _call(work: _Work, words: list[str], failed: str) -> list[str]:
    code, last = _follow(work, words)
    if code:
        raise BuildError(f"{failed}: {_reason(last)}", _hint(work, last))
    return last


def _follow(work: _Work, words: list[str]) -> tuple[int, list[str]]:
    def on_line(line: str) -> None:
        if not _NOISE.match(line):
            work.log.write(f"{line}\n")

    return follow([work.engine.program, *words], on_line, work.log.check)


def _output(work: _Work, *words: str) -> str:
    """What a quick question to an engine gives; nothing when it refuses."""
    with suppress(OSError, subprocess.CalledProcessError):
        return subprocess.run(
            [work.engine.program, *words], stdin=subprocess.DEVNULL, capture_output=True, text=True, check=True
        ).stdout.strip()
    return ""


def _build_failure(work: _Work, step: str, last: list[str]) -> BuildError:
    named = next((match[1] for line in reversed(last) if (match := _AT_STEP.search(line))), "") or step
    found = line_of(work.text, named) if named else None
    where = f" at line {found.line} of its {work.dockerfile} ({found.text[:80]})" if found else ""
    return BuildError(f"{work.engine.name} cannot build {work.spec.name!r}{where}: {_reason(last)}", _hint(work, last))


def _reason(last: list[str]) -> str:
    lines = [line.strip() for line in last if line.strip() and not _NOISE.match(line) and not _STEP.match(line)]
    return "\n".join(lines[-6:]) or "it gave no reason"


def _hint(work: _Work, last: list[str]) -> str:
    said = "\n".join(last).lower()
    if any(word in said for word in _NOT_ALLOWED):
        return f"Log in first: {work.engine.name} login HOST. It needs to read the base image and to write the new one."
    if "exec format error" in said:
        return f"This machine does not run {work.spec.platform}: install qemu-user-static, or build on Cloud Build."
    return ""
