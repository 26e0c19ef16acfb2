"""`ltood negatives`: lists of words that negative labels are chosen from."""

from pathlib import Path
from typing import Annotated

import typer

from ltood.cli.options import Device, Store, echo_for, file_option

app = typer.Typer(help="Make lists of negative labels for CLIP.", no_args_is_help=True)

_OUT = Path("data/negatives.csv")
#: Where WordNet is kept once it was fetched.
_WORDNET = Path("data/sets/wordnet")

Out = Annotated[Path, file_option("List to write, for the setting negatives.words")]
Adjectives = Annotated[
    Path | None, typer.Option(help="More words, one a line, with the prompts of adjectives.")
]


@app.command("build")
def build(
    recipe: Annotated[
        str, typer.Option(help="neglabel, csp, interneg or negrefine-list.")
    ] = "neglabel",
    wordnet: Annotated[
        Path | None,
        typer.Option(help="Folder or archive of a WordNet; fetched where it is left out."),
    ] = None,
    words: Annotated[
        Path | None, typer.Option(help="Nouns, one a line, instead of WordNet's.")
    ] = None,
    adjectives: Adjectives = None,
    leave_out: Annotated[
        list[str] | None,
        typer.Option(help="File of WordNet to leave out, such as noun.food; repeatable."),
    ] = None,
    every_word: Annotated[
        bool, typer.Option(help="Take all words of a synset, not the first one alone.")
    ] = False,
    seed: Annotated[int, typer.Option(help="Of the superclasses that csp draws.")] = 0,
    out: Out = _OUT,
) -> None:
    """List the candidates of a recipe, from WordNet or from files of words."""
    from ltood.negatives import building
    from ltood.runtime.files import write_atomically

    building.check_build(recipe, wordnet, words, adjectives)
    if words is not None or adjectives is not None:
        texts = [[] if path is None else building.words_of(path) for path in (words, adjectives)]
        source = ", ".join(path.name for path in (words, adjectives) if path is not None)
        made = building.from_files(texts[0], texts[1], recipe, seed=seed, source=source)
    else:
        from ltood.negatives.wordnet import SOURCE, read_wordnet
        from ltood.sets.downloads import fetch

        path = fetch(SOURCE, _WORDNET) if wordnet is None else wordnet
        corpus = read_wordnet(path, every_word=every_word)
        made = building.from_wordnet(corpus, recipe, leave_out=leave_out, seed=seed)
    write_atomically(out, made.to_text().encode())
    echo_for(out)(f"{out}: {made.summary()}. Set negatives.words to it.")


@app.command("import")
def import_labels(
    file: Annotated[Path, typer.Argument(help="Labels, one a line, as they are to be read.")],
    adjectives: Adjectives = None,
    recipe: Annotated[
        str, typer.Option(help="listed, or negrefine-list for the prompts of CSP.")
    ] = "listed",
    out: Out = _OUT,
) -> None:
    """List labels that were chosen already; all of them are used."""
    from ltood.negatives import building
    from ltood.runtime.files import write_atomically

    building.check_import(recipe)
    texts = building.words_of(file)
    others = [] if adjectives is None else building.words_of(adjectives)
    made = building.chosen(texts, others, recipe, file.name)
    write_atomically(out, made.to_text().encode())
    echo_for(out)(f"{out}: {made.summary()}. Set negatives.words to it.")


@app.command("add")
def add(
    store: Store,
    head: Annotated[Path, typer.Option(help="Head from text, as `ltood adapt` made it.")],
    checkpoint: Annotated[Path, typer.Option(help="Checkpoint of the CLIP model.")],
    words: Annotated[Path, typer.Option(help="List that build or import wrote.")],
    settings: Annotated[
        list[str] | None, typer.Option("--set", help="Setting of negatives KEY=VALUE; repeatable.")
    ] = None,
    device: Device = "auto",
) -> None:
    """Give a head the negative labels of a list, without DVC or params.yaml.

    Text features of words are kept beside the head; the folder may be removed.
    """
    from ltood.core.errors import ConfigError
    from ltood.core.settings import parse
    from ltood.negatives import NegativesConfig
    from ltood.runtime.params import parse_assignments

    given = parse_assignments(settings or [], "--set")
    if "words" in given:
        raise ConfigError("the list of words is not a setting here; give it by --words.")
    config = parse({**given, "words": str(words)}, NegativesConfig, "negatives")

    from ltood.adapting.encoders import text_encoder
    from ltood.adapting.negatives import set_negatives
    from ltood.store.features import FeatureStore

    made = set_negatives(
        FeatureStore.open(store),
        config,
        text_encoder(checkpoint),
        head,
        state_folder=head.with_name(f"{head.name}.state"),
        device_name=device,
    )
    typer.echo(f"{head}: {len(made.arrays['negative_weight']):,} negative labels")
