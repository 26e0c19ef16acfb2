"""Places behind an address, as `ltood push` and `ltood pull` use them."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ltood.runtime.drivers import Driver
from ltood.sharing.manifest import MANIFEST, PARTS


class Remote:
    """A folder on another machine or in an object store."""

    is_near = False

    def __init__(self, address: str, options: Mapping[str, Any] | None = None) -> None:
        """Take an address; the arguments and errors are those of `Driver`."""
        self._driver = Driver(address, options)
        self.address = self._driver.address

    def sizes(self) -> dict[str, int]:
        """Bytes of the list and of every part by name."""
        # Not the whole folder: it may be the root of a bucket that holds much else.
        found = self._driver.sizes(PARTS)
        listed = self._driver.size(MANIFEST)
        return found if listed is None else {**found, MANIFEST: listed}

    def fetch(self, name: str, target: Path) -> None:
        """Copy a file from there, block by block."""
        with self._driver.told("read"):
            self._driver.system.get_file(self._driver.at(name), str(target))

    def send(self, name: str, source: Path) -> None:
        """Copy a part there, block by block; it appears whole or with another size."""
        with self._driver.told("written"):
            self._driver.make_folder(name)
            self._driver.system.put_file(str(source), self._driver.at(name))

    def publish(self, files: Mapping[str, bytes], stale: Sequence[str]) -> None:
        """Write small files one by one."""
        for name, content in files.items():
            self._driver.write(name, content)
        for name in stale:
            self._driver.remove(name)
