"""What git knows of a repository: asked by command line, read only."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

from kfp_magics.errors import DeliveryError

EMPTY = "4b825dc642cb6eb9a060e54bf8d69288fbee4904"
"""Git's name of a tree without files: since then, everything is new."""
_ZERO = re.compile(r"0{40}|0{64}")


class Repository:
    """A folder in a git repository; paths are relative to the folder.

    Args:
        folder: The folder; need not be the top.

    Raises:
        DeliveryError: It is in none, or git is not installed.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.prefix, top = self._text("rev-parse", "--show-prefix", "--show-toplevel").splitlines()
        self.top = Path(top)

    def commit(self, revision: str, *, or_all: bool = False) -> str:
        """Finds a commit.

        Args:
            revision: As people write it; nothing or zeros, as hosts send for a new branch, stand for the empty tree.
            or_all: Also take the empty tree for a commit that is not here.

        Raises:
            DeliveryError: It is not in this clone.
        """
        if not revision or _ZERO.fullmatch(revision) or revision == EMPTY:
            return EMPTY
        words = ("rev-parse", "--verify", "--quiet", "--end-of-options", f"{revision}^{{commit}}")
        done = self._run(*words)
        if not done.returncode:
            return done.stdout.decode().strip()
        if or_all:
            return EMPTY
        shallow = self._text("rev-parse", "--is-shallow-repository").strip() == "true"
        why, hint = ", which is shallow", "git fetch --unshallow; in a GitHub workflow: fetch-depth: 0"
        raise DeliveryError(
            f"There is no commit {revision!r} in this clone{why if shallow else ''}.",
            hint if shallow else "git log names those that there are.",
        )

    def changed(self, since: str, until: str = "") -> tuple[list[str], list[str]]:
        """Names what changed, in the folder and outside of it.

        Args:
            since: A commit or the empty tree.
            until: A commit; the files as they lie there when empty, new ones included.

        Returns:
            Paths in the folder; paths outside of it, from the top.
        """
        words = ["diff", "--name-only", "--no-renames", "--no-ext-diff", "-z", since, *([until] if until else []), "--"]
        paths = self._list(*words)
        if not until:
            paths += [f"{self.prefix}{path}" for path in self._list("ls-files", "-z", "--others", "--exclude-standard")]
        inside = [path.removeprefix(self.prefix) for path in paths if path.startswith(self.prefix)]
        return sorted(set(inside)), sorted({path for path in paths if not path.startswith(self.prefix)})

    def read(self, revision: str, path: str) -> bytes:
        """The content of a file in a commit, by its path in the folder; empty when it is not there."""
        done = self._run("cat-file", "blob", f"{revision}:{self.prefix}{path}")
        return b"" if done.returncode else done.stdout

    def copy(self, revision: str, under: str, target: Path) -> None:
        """Writes the files below a folder as they are in a commit; the files that lie there stay as they are.

        Args:
            revision: A commit, the empty tree, or nothing for the files as they lie there, ignored ones left out.
            under: A folder in the folder.
            target: Where to.
        """
        if not revision:
            self._copy_here(under, target)
            return
        if revision == EMPTY:
            return
        lines = [line.partition("\t") for line in self._list("ls-tree", "-r", "-z", revision, "--", f"{under}/")]
        files = [(about.split(), path) for about, _, path in lines]
        blobs = [(mode, blob, path) for (mode, kind, blob), path in files if kind == "blob"]
        contents = self._contents([blob for _, blob, _ in blobs])
        for (mode, _, path), content in zip(blobs, contents, strict=True):
            _put(target / path, content, executable=mode == "100755", link=mode == "120000")

    def _contents(self, blobs: list[str]) -> list[bytes]:
        """Reads many files at once: a process for each would take longer than building."""
        answer = self._checked("cat-file", "--batch", asked="".join(f"{one}\n" for one in blobs).encode())
        found, at = [], 0
        for _ in blobs:
            end = answer.index(b"\n", at)
            size = int(answer[at:end].split()[-1])
            found.append(answer[end + 1 : end + 1 + size])
            at = end + 1 + size + 1
        return found

    def _copy_here(self, under: str, target: Path) -> None:
        for path in self._list("ls-files", "-z", "--cached", "--others", "--exclude-standard", "--", f"{under}/"):
            source = self.folder / path
            if source.is_symlink():
                _put(target / path, bytes(source.readlink()), link=True)
            elif source.is_file():
                _put(target / path, source.read_bytes(), executable=bool(source.stat().st_mode & 0o100))

    def folders(self, revision: str, under: str) -> set[str]:
        """Names the folders in a folder that hold files; the revision as in `copy`."""
        if revision:
            return {
                path.split("/")[-1] for path in self._list("ls-tree", "-d", "-z", "--name-only", revision, f"{under}/")
            }
        words = ("ls-files", "-z", "--cached", "--others", "--exclude-standard", "--", f"{under}/")
        return {path.split("/")[1] for path in self._list(*words) if path.count("/") > 1}

    def remotes(self) -> list[str]:
        """The last part of the address of each remote, without ``.git``."""
        done = self._run("config", "--get-regexp", r"^remote\..*\.url$")  # nothing when there is none
        urls = [line.partition(" ")[2] for line in done.stdout.decode("utf-8", "replace").splitlines()]
        return [url.rstrip("/").removesuffix(".git").replace(":", "/").rpartition("/")[2] for url in urls]

    def hooks(self) -> Path:
        """The folder of hooks, wherever the configuration says."""
        return self.folder / self._text("rev-parse", "--git-path", "hooks").strip()

    def _list(self, *words: str) -> list[str]:
        return [one for one in self._checked(*words).decode("utf-8", "surrogateescape").split("\0") if one]

    def _text(self, *words: str) -> str:
        return self._checked(*words).decode()

    def _checked(self, *words: str, asked: bytes = b"") -> bytes:
        done = self._run(*words, asked=asked)
        if done.returncode:
            said = (done.stderr.decode("utf-8", "replace").strip().splitlines() or ["git gave no reason"])[-1]
            raise DeliveryError(f"Git refuses in {str(self.folder)!r}: {said}", "git status there says more.")
        return done.stdout

    def _run(self, *words: str, asked: bytes = b"") -> subprocess.CompletedProcess[bytes]:
        try:
            return subprocess.run(["git", *words], cwd=self.folder, input=asked, capture_output=True, check=False)  # noqa: S607  (the user's git)
        except FileNotFoundError as error:
            missing = "git is not installed." if self.folder.is_dir() else f"There is no folder {str(self.folder)!r}."
            raise DeliveryError(missing, "Name the folder of a git repository, and have git installed.") from error


def _put(place: Path, content: bytes, *, executable: bool = False, link: bool = False) -> None:
    place.parent.mkdir(parents=True, exist_ok=True)
    if link:
        place.symlink_to(content.decode("utf-8", "surrogateescape"))
        return
    place.write_bytes(content)
    place.chmod(0o755 if executable else 0o644)
