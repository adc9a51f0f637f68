"""Which file system a path lies on, because SQLite's WAL needs shared memory that network file systems lack."""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path

_NETWORK = re.compile(
    r"nfs\d?|cifs|smb\w*|afs|ncpfs|9p|ceph|lustre|gpfs|beegfs|glusterfs|gfs2?|ocfs2|orangefs|davfs|webdav|fuse(\..+)?|fuseblk"
)
_LOCAL_FUSE = frozenset({"fuseblk", "fuse.lxcfs", "fuse.portal"})
_MOUNTINFO = Path("/proc/self/mountinfo")


def supports_wal(path: Path) -> bool:
    """Whether SQLite may keep a write-ahead log beside a file.

    Args:
        path: The file or its folder; need not exist.
    """
    kind = file_system(path)
    return kind in _LOCAL_FUSE or not _NETWORK.fullmatch(kind)


def file_system(path: Path) -> str:
    """Names the type of the file system that a path lies on, ``""`` when nobody knows."""
    real = os.path.realpath(path)
    if sys.platform == "linux" and _MOUNTINFO.exists():
        return mount_type(_MOUNTINFO.read_text(encoding="utf-8", errors="surrogateescape"), real)
    import psutil  # noqa: PLC0415  (only where the system does not say it in a file)

    mounts = {part.mountpoint: part.fstype for part in psutil.disk_partitions(all=True)}
    return _longest(mounts, real)


def mount_type(mountinfo: str, real_path: str) -> str:
    """Finds the file system of a path in the text of ``/proc/self/mountinfo``.

    Args:
        mountinfo: That text.
        real_path: Absolute path without symbolic links.
    """
    mounts: dict[str, str] = {}
    for line in mountinfo.splitlines():
        before, dash, after = line.partition(" - ")
        fields = before.split()
        if dash and len(fields) > 4:
            mounts[_unescape(fields[4])] = after.split()[0]  # a later mount hides an earlier one at the same place
    return _longest(mounts, real_path)


def _longest(mounts: dict[str, str], path: str) -> str:
    above = [point for point in mounts if path == point or path.startswith(point.rstrip("/") + "/")]
    return mounts[max(above, key=len)].lower() if above else ""


def _unescape(text: str) -> str:
    return re.sub(r"\\([0-7]{3})", lambda match: chr(int(match[1], 8)), text)
