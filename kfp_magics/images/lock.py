"""Requirements locked by uv: every package with its version and its hashes, kept by the hash of what was asked."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
from typing import TYPE_CHECKING

from kfp_magics.errors import BuildError, RequirementsError, did_you_mean
from kfp_magics.images.kept import kept
from kfp_magics.installer import uv

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from kfp_magics.images.base import Platform

PLATFORMS = {"linux/amd64": "x86_64-manylinux_2_28", "linux/arm64": "aarch64-manylinux_2_28"}
"""OCI's word for a platform → uv's: the C library of Debian 10, RHEL 8 and everything later."""
RUNTIME_NEEDS = ("typing-extensions",)
"""What KFP's runtime part imports besides itself."""
_INDEXES = ("UV_INDEX", "UV_DEFAULT_INDEX", "UV_INDEX_URL", "UV_EXTRA_INDEX_URL", "UV_FIND_LINKS", "UV_EXCLUDE_NEWER")
_NETWORK = ("dns error", "network", "connection", "timed out", "resolve host", "offline")


class Locks:
    """Locks requirements, and remembers what came of it.

    Args:
        folder: Where locks are kept.
        offline: Use uv's cache only.
        asks: Whether uv is asked at all; otherwise only what was locked before is known.
    """

    def __init__(self, folder: Path, *, offline: bool = False, asks: bool = True) -> None:
        self._folder = folder
        self._offline = offline
        self._asks = asks

    def lock(
        self,
        requirements: Iterable[str],
        *,
        python: str,
        platform: Platform,
        kfp: str = "",
        anew: bool = False,
    ) -> tuple[str, ...]:
        """Finds the versions that an image gets.

        Args:
            requirements: Lines as pip reads them.
            python: Minor version of the image's interpreter.
            platform: What the image runs on.
            kfp: Version of KFP whose runtime part the image needs, without what only its compiler needs, unless the
                requirements want the whole KFP themselves. Empty for none.
            anew: Looks for the newest versions again, whatever was locked before.

        Returns:
            One line for each package, sorted: ``name==version --hash=sha256:… …``.

        Raises:
            RequirementsError: There is no solution, or the index cannot be reached; in uv's own words.
        """
        wanted = sorted({*requirements, *(RUNTIME_NEEDS if kfp else ())})
        found = self._locked(wanted, python, platform, whole=True, anew=anew) if wanted else ()
        if kfp and "kfp" not in map(name_of, found):
            found += self._locked([f"kfp=={kfp}"], python, platform, whole=False, anew=False)
        return tuple(sorted(found))

    def _locked(
        self, wanted: Sequence[str], python: str, platform: Platform, *, whole: bool, anew: bool
    ) -> tuple[str, ...]:
        if platform not in PLATFORMS:
            raise BuildError(f"There are no images for the platform {platform!r}.", did_you_mean(platform, PLATFORMS))
        asked = {
            "wanted": wanted,
            "python": python,
            "platform": PLATFORMS[platform],
            "whole": whole,
            "indexes": {name: os.environ[name] for name in _INDEXES if name in os.environ},
        }
        key = hashlib.sha256(json.dumps(asked, sort_keys=True).encode()).hexdigest()[:32]
        found = kept(
            self._folder / f"{key}.txt",
            lambda: self._ask_uv(wanted, python, PLATFORMS[platform], whole=whole),
            anew=anew,
        )
        return tuple(found.splitlines())

    def _ask_uv(self, wanted: Sequence[str], python: str, platform: str, *, whole: bool) -> str:
        if not self._asks:
            raise RequirementsError(f"{', '.join(wanted)} are not locked yet.", "%kfp_build locks them.")
        words = [
            *("pip", "compile", "-", "--quiet", "--no-header", "--no-annotate", "--generate-hashes", "--no-progress"),
            *("--python-version", python, "--python-platform", platform),
            *(() if whole else ("--no-deps",)),
            *(("--offline",) if self._offline else ()),
        ]
        done = subprocess.run(
            uv(*words),
            input="\n".join(wanted),
            capture_output=True,
            text=True,
            encoding="utf-8",
            check=False,
            cwd=self._folder,
        )
        if done.returncode:
            raise _refusal(done.stderr or done.stdout, wanted)
        lines = [line.strip() for line in done.stdout.replace("\\\n", " ").splitlines()]
        found = [" ".join(line.split()) for line in lines if line and not line.startswith("#")]
        for line in found:
            if "--hash=" not in line:
                raise RequirementsError(
                    f"The requirement {line!r} cannot be locked: nothing tells its content for good.",
                    "Publish it as a wheel and name its version or its URL, or build the step from a Dockerfile.",
                )
        return "".join(f"{line}\n" for line in found)


def name_of(line: str) -> str:
    """The package of a locked line, as indexes write it; empty when the line does not read."""
    from packaging.requirements import InvalidRequirement, Requirement  # noqa: PLC0415  (where nothing is locked, not needed)
    from packaging.utils import canonicalize_name  # noqa: PLC0415  (as above)

    try:
        return canonicalize_name(Requirement(line.partition(" --hash")[0]).name)
    except InvalidRequirement:
        return ""


def _refusal(output: str, wanted: Sequence[str]) -> RequirementsError:
    lines = [line.strip(" │╰─▶×├") for line in output.splitlines()]
    said = [line.removeprefix("error: ").removeprefix("cause: ") for line in lines if line]
    why = " ".join(line for line in said if not line.startswith(("No solution found", "hint:", "warning:")))[:800]
    if any(word in output.lower() for word in _NETWORK):
        hint = "Check the network and the index; with the setting offline only what uv has cached is taken."
    elif "Python" in why:
        hint = "Take a base image with another Python (--base-image python:3.12-slim), or other versions (--packages)."
    else:
        asked = ", ".join(wanted)[:200]
        hint = f"Change what the step requires ({asked}): --packages names it, --no-infer infers nothing."
    return RequirementsError(f"The step's requirements cannot be locked: {why or 'uv gave no reason'}", hint)
