"""A folder that may break off, and short ways to send to one."""

from ltood.core.errors import TransferError
from ltood.sharing.card import Remarks
from ltood.sharing.places import Folder
from ltood.sharing.pushing import push
from tests.sharing.conftest import PART


class Watched(Folder):
    """A folder that counts what is sent and fetched, and may break off."""

    def __init__(self, path, left=10**9):
        super().__init__(path)
        self.sent, self.fetched, self.left = [], [], left

    def send(self, name, source):
        self._count()
        self.sent.append(name)
        super().send(name, source)

    def fetch(self, name, target):
        self._count()
        self.fetched.append(name)
        super().fetch(name, target)

    def _count(self):
        self.left -= 1
        if self.left < 0:
            raise TransferError("the line is down.")


def send(subject, folder, part=PART, **options):
    return push(subject, Folder(folder), Remarks(), part_bytes=part, **options)


def part_files(there):
    return sorted((there / "parts").iterdir())
