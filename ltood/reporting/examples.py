"""The clearest errors on the page: pictures that stand in it, with what is known of them."""

import base64
from collections.abc import Sequence
from dataclasses import dataclass

from ltood.core.errors import DataError
from ltood.store.examples import Example, ExampleGroup, Examples, Picture

#: Pictures that are smaller are enlarged without smoothing.
_SMALL = 64


@dataclass(frozen=True)
class Shown:
    """A picture on the page.

    Attributes:
        address: The small copy as a data address; empty where there is none.
        words: What it is, for those who do not see it.
        caption: Its class, or what it is called where it has none.
        is_small: Whether it is enlarged.
        place: Its path or id.
    """

    address: str
    words: str
    caption: str
    is_small: bool
    place: str


@dataclass(frozen=True)
class Card:
    """One error.

    Attributes:
        picture: The image.
        prediction: Name of the predicted class.
        score: Its OOD score.
        share: Share of the other side that it is beyond, in percent; empty where none is there.
        nearest: Nearest training images with their cosines.
    """

    picture: Shown
    prediction: str
    score: str
    share: str
    nearest: list[tuple[Shown, str]]


@dataclass(frozen=True)
class CardGroup:
    """The clearest errors of one kind.

    Attributes:
        is_missed: Whether OOD images were taken for ID ones.
        name: The OOD set or the class group.
        total: Images that could have been shown.
        cards: Errors, clearest first.
    """

    is_missed: bool
    name: str
    total: str
    cards: list[Card]


@dataclass(frozen=True)
class ExamplesPanel:
    """Section of the report on single images.

    Attributes:
        missed: By OOD set.
        alarms: By class group.
        has_pictures: Whether there is a picture to show.
        has_nearest: Whether there are nearest training images.
    """

    missed: list[CardGroup]
    alarms: list[CardGroup]
    has_pictures: bool
    has_nearest: bool


def examples_panel(
    examples: Examples, fingerprint: str, class_names: Sequence[object]
) -> ExamplesPanel:
    """The section.

    Args:
        examples: What was chosen.
        fingerprint: That of the report's scores.
        class_names: Names of the ID classes.

    Raises:
        DataError: If the examples were chosen by other scores.
    """
    if examples.scores != fingerprint:
        raise DataError(
            f"the examples were chosen by scores {examples.scores[:12]}… but these are "
            f"{fingerprint[:12]}…; run the examples stage again."
        )
    names = [str(name) for name in class_names]
    groups = [_group(group, names) for group in examples.groups]
    pictures = [card.picture for group in groups for card in group.cards]
    return ExamplesPanel(
        [group for group in groups if group.is_missed],
        [group for group in groups if not group.is_missed],
        any(picture.address for picture in pictures),
        any(card.nearest for group in groups for card in group.cards),
    )


def _group(group: ExampleGroup, names: Sequence[str]) -> CardGroup:
    cards = [_card(example, group, names) for example in group.examples]
    return CardGroup(group.kind == "missed", group.name, f"{group.total:,}", cards)


def _card(example: Example, group: ExampleGroup, names: Sequence[str]) -> Card:
    prediction = _class_name(example.prediction, names)
    own = group.name if group.kind == "missed" else _class_name(example.picture.label, names)
    return Card(
        _shown(example.picture, own, f"{own}, taken for {prediction}"),
        prediction,
        f"{example.score:.6g}",  # As the threshold beside it.
        "" if example.share is None else f"{100 * example.share:.1f}",
        [
            (
                _shown(one.picture, near, f"training image of {near}, cosine {one.similarity:.2f}"),
                f"{one.similarity:.2f}",
            )
            for one in example.nearest
            for near in [_class_name(one.picture.label, names)]
        ],
    )


def _class_name(number: int, names: Sequence[str]) -> str:
    return names[number] if 0 <= number < len(names) else str(number)


def _shown(picture: Picture, caption: str, words: str) -> Shown:
    place = picture.path if picture.path is not None else f"image {picture.id}"
    address = ""
    if picture.thumbnail is not None:
        address = f"data:image/webp;base64,{base64.b64encode(picture.thumbnail).decode()}"
    is_small = max(picture.width, picture.height) < _SMALL
    return Shown(address, f"{words} ({place})", caption, is_small, place)
