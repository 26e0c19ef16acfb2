import hashlib
import io
import itertools
import tarfile

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ltood.core.errors import CorruptStoreError
from ltood.sharing.archive import Archive, Member, make_files

NAMES = ["a", "b/c", "b/d.json", "long/" + "x" * 120, "z"]


def written(folder, sizes):
    """Files of some sizes with bytes that differ, and the members of their archive."""
    files = {}
    for number, (name, size) in enumerate(zip(NAMES, sizes, strict=False)):
        files[name] = folder / str(number)
        files[name].write_bytes(bytes((7 * number + k) % 251 for k in range(size)))
    return files, [Member(name, size) for name, size in zip(NAMES, sizes, strict=False)]


def whole(archive, files):
    return b"".join(archive.read(files, 0, archive.size))


@pytest.mark.parametrize("sizes", [[0], [1], [512], [513, 0, 511], [5, 4000, 1024, 9, 0]])
def test_the_bytes_are_a_tar_archive_of_the_files(tmp_path, sizes):
    files, members = written(tmp_path, sizes)
    archive = Archive(members)
    with tarfile.open(fileobj=io.BytesIO(whole(archive, files))) as opened:
        found = {member.name: opened.extractfile(member).read() for member in opened}
    assert found == {name: path.read_bytes() for name, path in files.items()}
    assert archive.size % tarfile.RECORDSIZE == 0


def test_equal_files_give_the_same_bytes_everywhere(tmp_path):
    files, members = written(tmp_path, [3, 700])
    # A different digest means that what is shared already would have to be sent again.
    expected = "710e0deb"
    assert hashlib.sha256(whole(Archive(members[::-1]), files)).hexdigest()[:8] == expected


@settings(deadline=None, max_examples=40)
@given(
    sizes=st.lists(st.integers(0, 2000), min_size=1, max_size=5),
    cuts=st.lists(st.integers(0, 40_000), max_size=6),
)
def test_any_ranges_put_the_files_together_again(tmp_path_factory, sizes, cuts):
    folder = tmp_path_factory.mktemp("files")
    files, members = written(folder, sizes)
    archive = Archive(members)
    everything = whole(archive, files)
    back = {name: folder / "back" / name for name in files}
    make_files(back, members)
    edges = [0, *sorted(cut for cut in cuts if cut < archive.size), archive.size]
    for start, stop in itertools.pairwise(edges):
        piece = b"".join(archive.read(files, start, stop))
        assert piece == everything[start:stop]
        archive.write(back, start, piece)
    assert {n: p.read_bytes() for n, p in back.items()} == {
        n: p.read_bytes() for n, p in files.items()
    }
    assert archive.digest(back, 0, archive.size) == hashlib.sha256(everything).hexdigest()


@pytest.mark.parametrize("at", [0, 150, 515, 1020, -1])
def test_headers_and_padding_of_another_archive_are_refused(tmp_path, at):
    files, members = written(tmp_path, [3])
    archive = Archive(members)
    data = bytearray(whole(archive, files))
    data[at] ^= 1
    with pytest.raises(CorruptStoreError):
        archive.write(files, 0, bytes(data))


def test_a_file_that_became_shorter_is_named(tmp_path):
    files, members = written(tmp_path, [300])
    files["a"].write_bytes(b"x")
    with pytest.raises(CorruptStoreError, match=str(files["a"])):
        whole(Archive(members), files)


def test_files_keep_what_they_hold_up_to_their_size(tmp_path):
    files = {"a": tmp_path / "new" / "a"}
    make_files(files, [Member("a", 3)])
    files["a"].write_bytes(b"12345")
    make_files(files, [Member("a", 2)])
    assert files["a"].read_bytes() == b"12"
    make_files(files, [Member("a", 4)])
    assert files["a"].read_bytes() == b"12\0\0"
