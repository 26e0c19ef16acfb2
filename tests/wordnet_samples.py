"""A WordNet of a few words, in the three forms in which it is read."""

import io
import tarfile
import zipfile

NOTICE = [
    "This database is being provided to you under this licence.",
    "",
    'WordNet 3.1 Copyright 2011 by somebody.  "AS IS".',
]
NOUNS = [
    (3, ["entity"]),
    (5, ["dog", "domestic_dog"]),
    (6, ["B-52", "bomber"]),
    (13, ["soup"]),
    (14, ["Force_17"]),
    (18, ["St._Nicholas", "santa"]),
    (20, ["rose"]),
    (20, ["cold"]),
    (28, ["1530s"]),
]
ADJECTIVES = [
    (0, ["Cold", "icy"]),
    (0, ["ready(p)", "set(ip)"]),
    (0, ["abeyant", "dormant"]),
    (1, ["alpine"]),
    (44, ["sought(a)"]),
]
#: The same first words as lexicographers write them.
SOURCES = {
    "noun.Tops": "{ entity, (that which is) }",
    "noun.animal": '{ dog, domestic_dog, noun.Tops:entity,@ (a member; of "it") }',
    "noun.artifact": '{ B-52", bomber, noun.Tops:entity,@ (a plane, heavy) }',
    "noun.food": "{ soup1, entity,@ (liquid food) }",
    "noun.group": '{ Force_17", entity,@ (a group) }',
    "noun.person": "{ [ St._Nicholas, adj.all:good,+ ] santa, entity,@ (a man) }",
    "noun.plant": "{ rose, entity,@ (a bush) }\n{ cold1, entity,@ (a plant of winter) }",
    "noun.time": '{ 1530"s, entity,@ (a decade) }',
    "adj.all": "[{ [Cold, hot,!] icy, (of low temperature) }\n{ ready(p), set(ip), (done) }]\n"
    "{ [abeyant, active,!] dormant, (asleep) }",
    "adj.pert": "{ alpine, noun.object:alp,\\ (of mountains) }",
    "adj.ppl": "{ sought(a), verb.contact:seek,< (looked for) }",
}


def database():
    """Content of data.noun and data.adj by name."""
    notice = "".join(f"  {number} {line}  \n" for number, line in enumerate(NOTICE, start=1))
    found = {}
    for name, kind, synsets in (("data.noun", "n", NOUNS), ("data.adj", "a", ADJECTIVES)):
        lines = [
            f"{number:08} {file:02} {kind} {len(words):02x} "
            + " ".join(f"{word} 0" for word in words)
            + " 000 | a gloss, with words\n"
            for number, (file, words) in enumerate(synsets)
        ]
        found[name] = (notice + "".join(lines)).encode()
    return found


def lists():
    """First words as lists of one a line, by name."""
    found = {}
    for name, text in SOURCES.items():
        del text
        synsets = NOUNS if name.startswith("noun") else ADJECTIVES
        numbers = {"noun.Tops": 3, "noun.animal": 5, "noun.artifact": 6, "noun.food": 13,
                   "noun.group": 14, "noun.person": 18, "noun.plant": 20, "noun.time": 28,
                   "adj.all": 0, "adj.pert": 1, "adj.ppl": 44}  # fmt: skip
        words = [words[0].split("(")[0] for file, words in synsets if file == numbers[name]]
        found[f"{name}.txt"] = "\n".join(words).encode()
    return found


def folder(path, files):
    path.mkdir(parents=True)
    for name, raw in files.items():
        (path / name).write_bytes(raw)
    return path


def tar(path, files, prefix="dict/"):
    with tarfile.open(path, "w:gz") as archive:
        for name, raw in files.items():
            member = tarfile.TarInfo(f"{prefix}{name}")
            member.size = len(raw)
            archive.addfile(member, io.BytesIO(raw))
    return path


def zipped(path, files, prefix="package/dict/"):
    with zipfile.ZipFile(path, "w") as archive:
        for name, raw in files.items():
            archive.writestr(f"{prefix}{name}", raw)
    return path
