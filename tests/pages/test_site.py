"""The site: builds without a warning, needs no network, and no link of it is dead."""

import os
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

from tests.browser import BROWSER, dom

ROOT = Path(__file__).resolve().parents[2]
#: Pages of the repository that the site does not hold; their links are checked, too.
OUTSIDE = ("README.md", "CONTRIBUTING.md", "CHANGELOG.md", "SECURITY.md", "CODE_OF_CONDUCT.md")


class Page(HTMLParser):
    """Links, anchors and loaded files of one page."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.links: set[str] = set()
        self.loaded: set[str] = set()
        self.anchors: set[str] = set()
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag, attrs):
        given = {name: value for name, value in attrs if value}
        if "id" in given:
            self.anchors.add(given["id"])
        if tag == "a" and "href" in given:
            self.links.add(given["href"])
        if tag == "link" and "href" in given:
            self.loaded.add(given["href"])
        if tag in ("script", "img", "iframe", "source") and "src" in given:
            self.loaded.add(given["src"])


@pytest.fixture(scope="module")
def site(tmp_path_factory) -> dict[Path, Page]:
    """Every page of the site, built once, by its path."""
    pytest.importorskip("material")
    pytest.importorskip("mkdocstrings")
    folder = tmp_path_factory.mktemp("site")
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--quiet", "--strict", "--site-dir", folder],
        cwd=ROOT,
        env={**os.environ, "NO_MKDOCS_2_WARNING": "1", "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr.strip() == ""
    return {path: Page(path) for path in folder.rglob("*.html")}


def test_it_has_every_page(site):
    names = {path.name for path in site}
    pages = [path for path in (ROOT / "docs").rglob("*.md") if path.name != "README.md"]
    assert {path.with_suffix(".html").name for path in pages} <= names
    assert {"methods.html", "command-line.html", "metrics.html", "404.html"} <= names


def test_no_link_is_dead(site):
    dead = [
        f"{path.name}: {link}"
        for path, page in site.items()
        for link in page.links | page.loaded
        if path.name != "404.html" and not is_alive(path, link, site)
    ]
    assert dead == []


def is_alive(path, link, site):
    """Whether a link leads to a file of the site, and to a place on it that exists."""
    parts = urlsplit(link)
    if parts.scheme or parts.netloc:
        return True
    target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
    if target.is_dir():
        target /= "index.html"
    if not target.is_file():
        return False
    return (
        not parts.fragment or target not in site or unquote(parts.fragment) in site[target].anchors
    )


def test_nothing_is_fetched_from_elsewhere(site):
    elsewhere = {link for page in site.values() for link in page.loaded if urlsplit(link).netloc}
    assert elsewhere == set()


def test_every_entry_has_a_section_with_its_settings(site):
    from ltood.core.registry import available, load
    from ltood.core.settings import describe

    pages = {path.stem: path for path in site if path.parent.name == "reference"}
    for kind in ("methods", "calibrators", "normalisers", "recipes", "backbones", "datasets"):
        text = pages[kind].read_text(encoding="utf-8")
        for name in available(kind):
            section = re.split(r'<h2 id="', text.partition(f'<h2 id="{name}">')[2])[0]
            assert section, (kind, name)
            for key in describe(load(kind, name).Config):
                assert f"<code>{key}</code>" in section, (kind, name, key)


def test_every_public_name_is_in_the_reference(site):
    import ltood

    pages = [path for path in site if path.parent.name == "reference"]
    text = "\n".join(path.read_text(encoding="utf-8") for path in pages)
    anchors = {anchor.rpartition(".")[2] for path in pages for anchor in site[path].anchors}
    for name in set(ltood.__all__) - {"__version__"}:
        assert name in anchors or f"<code>ltood.{name}</code>" in text, name


def test_the_picture_of_the_front_page_is_small():
    assert 10_000 < (ROOT / "docs/assets/report.webp").stat().st_size < 150_000


def test_the_index_of_the_search_knows_entries_and_settings(site):
    [index] = {path.parent for path in site if path.name == "404.html"}
    text = (index / "search/search_index.json").read_text(encoding="utf-8")
    for word in ("himplos", "fpr95_ood_pos", "export-detector", "ltood_crc32c"):
        assert word in text


def test_links_of_pages_outside_the_site(site):
    built = {path.as_posix(): page for path, page in site.items()}
    for name in OUTSIDE:
        text = (ROOT / name).read_text(encoding="utf-8")
        for link in re.findall(r"\]\(([^)\s]+)\)", text):
            parts = urlsplit(link)
            if parts.scheme:
                continue
            assert (ROOT / parts.path).exists(), f"{name}: {link}"
            if parts.fragment and parts.path.startswith("docs/"):
                page = parts.path.removeprefix("docs/").removesuffix(".md")
                [found] = [page_ for path, page_ in built.items() if path.endswith(f"/{page}.html")]
                assert parts.fragment in found.anchors, f"{name}: {link}"


@pytest.mark.skipif(BROWSER is None, reason="needs Chromium or Chrome")
def test_the_search_works_on_pages_opened_from_a_folder(site, tmp_path):
    front = next(
        path for path in site if path.name == "index.html" and (path.parent / "search").is_dir()
    )
    found = dom(front, tmp_path, "?q=mahalanobis")
    assert found.count("md-search-result__item") >= 3
    assert "reference/methods.html?h=mahalanobis#mahalanobis" in found
