import dataclasses
import re

import pytest

from ltood.core.errors import DataError
from ltood.core.registry import available, load, summary
from ltood.store.layout import check_split_name


@pytest.fixture(params=available("datasets"))
def name(request):
    return request.param


def test_an_entry_says_what_it_is_and_where_it_comes_from(name):
    assert re.match(r"\S.*[.:]\Z|\S.*, .*", summary("datasets", name))
    assert len(load("datasets", name).SOURCE) > 20


def test_settings_are_frozen_and_have_defaults(name):
    config = load("datasets", name).Config()
    field = dataclasses.fields(config)[0].name
    with pytest.raises(dataclasses.FrozenInstanceError):
        setattr(config, field, None)


def test_splits_are_well_named_and_complete(name):
    dataset = default_dataset(name)
    names = dataset.splits()
    for split in names:
        check_split_name(split)
    assert {"train", "test"} <= set(names)
    assert len(set(names)) == len(names)
    classes, error = tried(lambda: dataset.class_names)
    if error is None:
        assert len(set(classes)) == len(classes) > 1
    else:
        assert says_what_to_do(error)


def test_files_are_watched_for_every_split_or_their_absence_is_explained(name):
    dataset = default_dataset(name)
    watched, error = tried(dataset.watched)
    if error is None:
        assert set(dataset.splits()) <= set(watched)
        for files in watched.values():
            assert all((files.root / path).is_file() for path in files.paths)
    else:
        assert says_what_to_do(error)


def default_dataset(name):
    module = load("datasets", name)
    return module.Dataset(module.Config())


def tried(call):
    """What a call gives, or the error where the images are not on this machine."""
    try:
        return call(), None
    except DataError as error:
        return None, error


def says_what_to_do(error):
    """Whether a message names a path and goes on after a semicolon or a full stop."""
    return re.search(r"/\S+.*[;.] *\w+", str(error))
