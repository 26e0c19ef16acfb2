import pytest

from ltood.evaluation.measures import Evaluation
from tests.evaluation.score_samples import make_scored


@pytest.fixture(scope="module")
def scored():
    return make_scored()


@pytest.fixture(scope="module")
def metrics(scored):
    return Evaluation(scored).metrics
