import dataclasses
import re
from pathlib import Path

import pytest

from ltood.core.errors import DataError
from ltood.core.registry import available, load, summary
from ltood.store.layout import check_split_name

#: Entries whose classes are folders on disk.
FOLDERS = ("folder", "imagenet")


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
    module = load("datasets", name)
    dataset = module.Dataset(module.Config())
    names = dataset.splits()
    for split in names:
        check_split_name(split)
    assert {"train", "test"} <= set(names)
    assert len(set(names)) == len(names)
    if name in FOLDERS:
        with pytest.raises(DataError, match="there is no folder"):
            _ = dataset.class_names
        return
    assert len(set(dataset.class_names)) == len(dataset.class_names) > 1


def test_an_entry_has_a_test_of_its_own(name):
    assert (Path(__file__).parent / f"test_{name}.py").is_file()
