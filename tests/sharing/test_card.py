import dataclasses
import re
from io import StringIO

import pytest
from ruamel.yaml import YAML

from ltood.sharing.card import Remarks, write_card
from ltood.sharing.pushing import describe
from ltood.sharing.subjects import open_subject


def card_of(subject, address="s3://there/toy", **remarks):
    return write_card(subject, describe(subject), address, Remarks(**remarks))


def front_matter(card):
    _, text, _ = card.split("---\n", 2)
    return YAML(typ="safe").load(StringIO(text))


def test_features(subject):
    card = card_of(subject)
    content = front_matter(card)
    assert content["ltood"]["fingerprint"] == subject.fingerprint
    assert content["ltood"]["rows"] == {
        name: split["rows"] for name, split in subject.facts["splits"].items()
    }
    assert f"ltood pull s3://there/toy f.zarr --fingerprint {subject.fingerprint[:16]}" in card
    assert "## Metrics" not in card


def test_scores_have_metrics(scores):
    card = card_of(open_subject(scores))
    assert "## Metrics" in card
    assert "`auroc`" in card
    assert re.search(r"\| method \| energy \(temperature 1\.0\) \|", card)


def test_scores_of_id_rows_have_accuracies_and_others_nothing(scores, tmp_path, features):
    from ltood.core.building import EntrySpec
    from ltood.scoring.run import score_store
    from ltood.store.features import FeatureStore

    opened = FeatureStore.open(features)
    cards = {}
    for name in ("test", "train"):
        path = tmp_path / f"{name}.zarr"
        score_store(opened, path, EntrySpec("energy"), splits=[name], device="cpu")
        cards[name] = card_of(open_subject(path))
    assert "## Metrics" not in cards["train"]
    assert "accuracy" in cards["test"].partition("## Metrics")[2].partition("##")[0]
    assert "auroc" not in cards["test"]


def test_a_detector_has_its_threshold(detector):
    card = card_of(open_subject(detector))
    assert re.search(r"\| threshold \| .*accepts 9\d\.\d\d% of [\d,]+ rows of val \|", card)
    assert "fingerprint of its features" in card


@pytest.mark.parametrize(
    ("licence", "identifier"),
    [(None, "other"), ("cc-by-4.0", "cc-by-4.0"), ("Ask us before use.", "other")],
)
def test_the_licence(subject, licence, identifier):
    card = card_of(subject, licence=licence)
    assert front_matter(card)["license"] == identifier
    assert (licence or "Nothing was said") in card


def test_terms_of_known_sets_go_along(subject):
    facts = {
        "provenance": {"dataset": {"name": "cifar10_lt"}},
        "splits": {"ood_svhn": {"rows": 1, "arrays": {}}},
    }
    card = card_of(dataclasses.replace(subject, facts=facts))
    assert "- CIFAR-10, binary version: none stated" in card
    assert "non-commercial use only" in card


def test_text_from_outside_stays_text(subject):
    facts = {
        "provenance": {"dataset": {"name": "a|b\n# x <b>[y](z)", "settings": {"k": "`v`"}}},
        "class_names": ["<script>", "b"],
        "class_counts": [2, 1],
    }
    card = card_of(dataclasses.replace(subject, facts=facts), licence="see\n---\n# here")
    assert front_matter(card)["ltood"]["data_set"] == "a|b\n# x <b>[y](z)"
    body = card.split("---\n", 2)[2]
    assert not re.search(r"(?<!\\)[<`](script|b|v)", body.replace("`cat", ""))
    assert "\n# x" not in body
    assert "\n# here" not in body


@pytest.mark.parametrize(
    ("address", "shown"),
    [
        ("/home/me/there", "ltood pull ADDRESS f.zarr"),
        ("ssh://ann:secret@lab/toy", "ltood pull ssh://ann@lab/toy f.zarr"),
    ],
)
def test_what_is_nobody_elses_business_stays_out(subject, address, shown):
    card = card_of(subject, address=address)
    assert shown in card
    assert "secret" not in card
    assert "/home/me" not in card


def test_equal_things_have_equal_cards(subject, features):
    assert card_of(subject) == card_of(open_subject(features))
