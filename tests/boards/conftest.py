import copy

import pytest

from tests.boards.board_samples import content_of, make_view
from tests.comparing.compare_samples import make_store


@pytest.fixture(scope="session")
def board_store(tmp_path_factory):
    return make_store(tmp_path_factory.mktemp("board_store"))


@pytest.fixture(scope="session")
def view(board_store, tmp_path_factory):
    return make_view(tmp_path_factory.mktemp("board"), board_store)


@pytest.fixture(scope="session")
def board_content(view):
    return content_of(view)


@pytest.fixture
def content(board_content):
    """Content of the record of the row kNN, to change at will."""
    return copy.deepcopy(board_content)
