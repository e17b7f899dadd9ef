"""The gallery: complete, linked, searchable, and readable in a browser."""

import html.parser
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner

import derive
from derive import catalog, gallery
from derive.gallery.__main__ import main
from tests.browser import CHROMIUM, Browser
from tests.export.test_pages import views

pytest.importorskip("pygments", reason="the gallery extra")
NAMES = ["attention", "cross_entropy", "linear", "softmax"]
needs_browser = pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium here")


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("gallery")
    gallery.build(folder, NAMES, validated=False)
    return folder


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with Browser() as opened:
        yield opened


class Links(html.parser.HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.targets: list[str] = []
        self.names: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        for key, value in attrs:
            if key in ("href", "src") and value:
                self.targets.append(value)
            if key == "id" and value:
                self.names.add(value)


def test_every_link_leads_somewhere_on_the_disk(site: Path) -> None:
    pages = sorted(site.glob("*.html"))
    assert len(pages) == 2 * (len(NAMES) + 1)
    for page in pages:
        read = Links()
        read.feed(page.read_text())
        assert read.targets
        for target in read.targets:
            file, _, name = target.partition("#")
            assert not re.match(r"\w+:|//", target), "a page needs the network"
            assert not file or (site / file).is_file(), target
            assert not name or name in read.names, target


def test_a_page_holds_the_rules_and_the_files(site: Path) -> None:
    for name in NAMES:
        op = derive.parse(catalog.load(name).text, name)
        for page in (site / f"{name}.html", site / f"{name}.zh.html"):
            text = html.unescape(re.sub(r"<[^>]+>", "", page.read_text()))
            assert all(g.index in text for g in op.gradients.values())
            assert f"{name}.cu" in text
            assert "__global__" in text
            assert f"def {name}_backward" in text
        assert '<span class="k' in (site / f"{name}.html").read_text(), "code has no colours"


def test_a_validated_operation_says_so_and_is_not_made_twice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    gallery.build(tmp_path, ["relu", "tanh"])
    assert 'class="badge pass"' in (tmp_path / "index.html").read_text()
    before = {p: p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()}

    def broken(*args: object) -> None:
        raise AssertionError("made again")

    monkeypatch.setattr("derive.gallery.site.entry", broken)
    gallery.build(tmp_path, ["relu", "tanh"])
    assert before == {p: p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()}
    monkeypatch.undo()

    (tmp_path / "relu.zh.html").unlink()  # broken off between the two: made again, and not validated again
    monkeypatch.setattr("derive.gallery.site._measured", broken)
    gallery.build(tmp_path, ["relu", "tanh"])
    assert before == {p: p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()}
    with pytest.raises(AssertionError, match="made again"):
        gallery.build(tmp_path, ["relu"], again=True)


def test_the_command_writes_a_site_and_refuses_an_unknown_name(tmp_path: Path) -> None:
    done = CliRunner().invoke(main, ["-o", str(tmp_path / "site"), "relu", "--no-validate"])
    assert done.exit_code == 0, done.output
    assert (tmp_path / "site" / "index.zh.html").is_file()
    assert CliRunner().invoke(main, ["-o", str(tmp_path), "no_such_op"]).exit_code == 2


@needs_browser
@pytest.mark.parametrize("page", ["index.html", "index.zh.html", "linear.html", "attention.zh.html"])
def test_pages_are_readable_everywhere(browser: Browser, site: Path, page: str) -> None:
    views(browser, site / page)


@needs_browser
def test_search_finds_by_name_title_and_formula(browser: Browser, site: Path) -> None:
    browser.open(site / "index.html")

    def found(text: str) -> list[str]:
        browser.evaluate("document.getElementById('search').value = ''; document.getElementById('search').focus()")
        browser.press(text)
        return browser.evaluate(
            "[...document.querySelectorAll('.cards > li:not([hidden]) a')].map(a => a.getAttribute('href'))")

    assert found("softmax") == ["attention.html", "cross_entropy.html", "softmax.html"]
    assert found("Linear LAYER") == ["linear.html"]
    assert found("线性") == ["linear.html"]
    assert found("logsumexp") == ["cross_entropy.html"]
    assert found("nothing like it") == []
    assert browser.evaluate("!document.getElementById('none').hidden")
    assert browser.said == []


@needs_browser
def test_a_reader_gets_from_page_to_page(browser: Browser, site: Path) -> None:
    browser.open(site / "index.html")
    steps = [("a[href='linear.html']", "Linear layer"), ("a[hreflang]", "线性层"), ("a[rel=next]", "softmax"),
             (".bar a", "derive")]
    for selector, title in steps:
        browser.follow(selector)
        assert browser.evaluate("document.title").startswith(title)
