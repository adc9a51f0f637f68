"""The layers of a step's requirements: one for each large distribution, one for all the small ones."""

from __future__ import annotations

import os
import tempfile
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

from kfp_magics.images.bytecode import Workers
from kfp_magics.images.gathering import gather
from kfp_magics.images.layers import SITE, Entry, Layer, LayerCache, disk_error, tar_pieces
from kfp_magics.images.wheels import Installed, Locked, Target, install

if TYPE_CHECKING:
    from collections.abc import Sequence

    from kfp_magics.images.base import Log
    from kfp_magics.images.stores import Shelf

_LARGE = 1 << 20  # bytes of a distribution from which it has a layer of its own
_MOST = 22  # layers of single distributions: runtimes have a limit, and each costs a little at every pull
HOOK = f"{SITE}/sitecustomize.py"
HOOK_TEXT = b'''"""Reads the .pth files of what is installed here, which Python does in its own site folders only."""
import importlib.machinery
import importlib.util
import os
import site
import sys

here = os.path.dirname(os.path.abspath(__file__))
site.addsitedir(here)
others = [path for path in sys.path if os.path.abspath(path) != here]
spec = importlib.machinery.PathFinder.find_spec("sitecustomize", others)  # the base image's own, if it has one
if spec is not None and spec.loader is not None:
    spec.loader.exec_module(importlib.util.module_from_spec(spec))
'''


class Dependencies:
    """Makes layers of requirements. Others may do so at the same time, here and elsewhere: nothing is made twice.

    Args:
        cache: Layers that this machine made.
        shelf: Layers that any machine made.

    Attributes:
        sent: Bytes that went to the shelf.
    """

    def __init__(self, cache: LayerCache, shelf: Shelf) -> None:
        self._cache = cache
        self._shelf = shelf
        self.sent: list[int] = []
        self._cores = os.cpu_count() or 2

    def layers(self, lines: Sequence[str], target: Target, log: Log) -> tuple[Layer, ...]:
        """Finds or makes the layers of a lock, in an order that is always the same.

        Args:
            lines: The lock.
            target: What they are for.
            log: Told what happens.

        Raises:
            BuildError: A requirement cannot be had for the target.
        """
        locked = sorted({(one := Locked.read(line)).name: one for line in lines}.values(), key=lambda one: one.name)
        whole = target.key("set", *(one.line for one in locked))
        if found := self._shelf.find_layers(whole):
            log.write(f"{len(found)} layers of requirements found in the registry\n")
            return found
        with self._cache.holding([whole], log.check):
            if found := self._shelf.find_layers(whole):
                return found
            made = self._arranged(self._each(locked, target, log), target, log)
            self.sent.append(self._shelf.leave_layers(whole, made, log.check))
        return made

    def _each(self, locked: Sequence[Locked], target: Target, log: Log) -> dict[Locked, Layer]:
        keys = {one: target.key(one.line) for one in locked}
        found = {one: layer for one in locked if (layer := self._cache.find(keys[one]))}
        lacking = [one for one in locked if one not in found]
        with ThreadPoolExecutor(8) as pool:
            shelved = zip(lacking, pool.map(lambda one: self._shelf.find_layers(keys[one]), lacking), strict=True)
            found |= {one: layers[0] for one, layers in shelved if layers}
        if found:
            log.write(f"found the layers of {', '.join(one.what for one in found)}\n")
        lacking = [one for one in locked if one not in found]
        return found | self._make(lacking, target, log)

    def _make(self, locked: Sequence[Locked], target: Target, log: Log) -> dict[Locked, Layer]:
        keys = {one: target.key(one.line) for one in locked}
        with self._cache.holding(keys.values(), log.check):  # whoever waited finds them made
            found = {one: layer for one in locked if (layer := self._cache.find(keys[one]))}
            lacking = [one for one in locked if one not in found]
            if not lacking:
                return found
            log.step(f"installing {_count(len(lacking), 'package')}", 0.1)
            try:
                self._cache.folder.mkdir(parents=True, exist_ok=True)
                with tempfile.TemporaryDirectory(dir=self._cache.folder, prefix=".install-") as folder:
                    found |= self._packed(lacking, keys, target, Path(folder), log)
            except OSError as error:
                raise disk_error(self._cache.folder, error) from error
        self._cache.prune()
        return found

    def _packed(
        self, locked: Sequence[Locked], keys: dict[Locked, str], target: Target, folder: Path, log: Log
    ) -> dict[Locked, Layer]:
        install(locked, target, folder / "all", log.check)
        installed = dict.fromkeys((one.name for one in locked), Installed(folder / "all"))
        for name in installed[locked[0].name].clashing():
            alone = folder / name
            install([one for one in locked if one.name == name], target, alone, log.check)
            installed[name] = Installed(alone)
        largest = sorted(locked, key=lambda one: -installed[one.name].size(one.name))
        log.step(f"packing {_count(len(locked), 'package')}", 0.2)
        with (
            Workers(self._cores) as workers,
            ThreadPoolExecutor(max(4, self._cores)) as pool,
        ):

            def pack(one: Locked) -> Layer:
                place = installed[one.name]
                entries = place.entries(one.name, workers, target.most_compiled)
                has_paths = place.has_path_files(one.name)
                with closing(tar_pieces(entries)) as tar:
                    layer = self._cache.add(keys[one], one.what, tar, target.how, has_paths=has_paths, check=log.check)
                if layer.unpacked >= _LARGE:
                    self.sent.append(self._shelf.leave_layers(keys[one], [layer], log.check))
                return layer

            return dict(zip(largest, gather(pool, pack, largest, log.check), strict=True))

    def _arranged(self, made: dict[Locked, Layer], target: Target, log: Log) -> tuple[Layer, ...]:
        sizes = sorted(made, key=lambda one: (-made[one].unpacked, one.name))
        large = {one for one in sizes[:_MOST] if made[one].unpacked >= _LARGE}
        small = sorted((one for one in made if one not in large), key=lambda one: one.name)
        only_there = [one for one in small if made[one].content is None]
        made |= self._make(only_there, target, log) if only_there else {}
        hooked = any(layer.has_paths for layer in made.values())
        group = [self._group(small, made, target, hooked=hooked)] if small or hooked else []
        return (*(made[one] for one in sorted(large, key=lambda one: one.name)), *group)

    def _group(self, small: Sequence[Locked], made: dict[Locked, Layer], target: Target, *, hooked: bool) -> Layer:
        key = target.key("group", str(hooked), *(one.line for one in small))
        with self._cache.holding([key]):  # quickly made, not worth a question
            if found := self._cache.find(key):
                return found
            files = {}
            for one in small:
                files.update({entry.path: entry for entry in self._cache.entries(made[one], target.how)})
            if hooked:
                files[HOOK] = Entry(HOOK, HOOK_TEXT)
            what = small[0].what if len(small) == 1 else f"{_count(len(small), 'small package')}"
            return self._cache.add(key, what, tar_pieces(files.values()), target.how)


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"
