"""Work of fitting that several methods share."""

from ltood.comparing.plan import Config
from ltood.comparing.running import compare
from ltood.methods.mahalanobis import Mahalanobis
from tests.comparing.compare_samples import count_reads, make_store


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


def test_members_of_an_ensemble_are_rows_beside_it(tmp_path, monkeypatch):
    """Each method is fitted once, and scores every batch once, whoever asks first."""
    store = make_store(tmp_path, splits=("train", "val", "test", "ood_far", "ood_near"))
    fits: list[str] = []
    scored: list[int] = []
    fit, score = Mahalanobis._fit, Mahalanobis._score

    def counted_fit(self, inputs):
        fits.append("fit")
        return fit(self, inputs)

    def counted_score(self, batch):
        scored.append(len(batch))
        return score(self, batch)

    monkeypatch.setattr(Mahalanobis, "_fit", counted_fit)
    monkeypatch.setattr(Mahalanobis, "_score", counted_score)
    settings = {"methods": {"ensemble": {"members": ["mahalanobis", "energy"]}}}
    names = ("ensemble", "mahalanobis", "energy")
    board, _ = compare(store, Config(names), settings, device="cpu")
    assert {row["status"] for row in board["rows"]} == {"ok"}
    assert fits == ["fit"]
    read = ("val", "test", *store.ood_splits)
    assert sum(scored) == sum(len(store.split(split)) for split in read)
