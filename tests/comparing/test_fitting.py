"""Work of fitting that several methods share."""

from ltood.comparing.plan import Config
from ltood.comparing.running import compare
from tests.comparing.compare_samples import count_reads


def test_statistics_of_the_training_rows_are_shared(store, monkeypatch):
    passes = []
    for methods in (("mahalanobis",), ("nearest_class_mean",)):
        read = count_reads(monkeypatch)
        compare(store, Config(methods), {}, device="cpu")
        passes.append(read.count("train"))
        monkeypatch.undo()
    read = count_reads(monkeypatch)
    compare(store, Config(("mahalanobis", "nearest_class_mean")), {}, device="cpu")
    assert min(passes) > 0
    assert read.count("train") == max(passes)
