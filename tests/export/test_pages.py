"""The HTML in a real browser: no console message, nothing wider than a phone, every formula there to be seen."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from derive import catalog
from derive.export import LANGUAGES, rendered
from tests.browser import CHROMIUM, Browser
from tests.export.test_export import made

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium here")
PHONE, DESK = 380, 1200


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with Browser() as opened:
        yield opened


def views(browser: Browser, page: Path) -> None:
    """Both widths, both colour schemes."""
    paper = set()
    for width in (PHONE, DESK):
        for dark in (False, True):
            browser.open(page, width, dark=dark)
            found = browser.look()
            assert browser.said == []
            assert found["overflow"] <= 0, found
            assert not found["wide"], found
            assert not found["unseen"], found
            assert not found["unread"], found
            assert found["formulas"] == page.read_text().count("<math")
            assert contrast(found["ink"], found["paper"]) > 7
            paper.add(found["paper"])
    assert len(paper) == 2, "light and dark are the same"


def contrast(ink: str, paper: str) -> float:
    """WCAG's contrast of two colours `rgb(r, g, b)`."""
    def light(colour: str) -> float:
        parts = [int(x)/255 for x in re.findall(r"\d+", colour)[:3]]
        r, g, b = (x/12.92 if x <= 0.04045 else ((x + 0.055)/1.055)**2.4 for x in parts)
        return 0.2126*r + 0.7152*g + 0.0722*b

    low, high = sorted((light(ink), light(paper)))
    return (high + 0.05)/(low + 0.05)


def written(name: str, lang: str, folder: Path) -> Path:
    page = folder / f"{name}.{lang}.html"
    page.write_text(rendered(made(name), "html", lang))
    return page


@pytest.mark.parametrize("name", ["softmax", "adamw", "attention", "layernorm", "embedding"])
@pytest.mark.parametrize("lang", LANGUAGES)
def test_a_document_is_readable_everywhere(browser: Browser, name: str, lang: str, tmp_path: Path) -> None:
    views(browser, written(name, lang, tmp_path))


@pytest.mark.slow
@pytest.mark.parametrize("name", catalog.names())
def test_every_document_is_readable_everywhere(browser: Browser, name: str, tmp_path: Path) -> None:
    for lang in LANGUAGES:
        views(browser, written(name, lang, tmp_path))


@pytest.mark.parametrize(("spoilt", "seen"), [
    ("<p style='width: 900px'>wide</p>", "overflow"),
    ("<math style='display: none'><mi>x</mi></math>", "unseen"),
    ("<math><mi>\\\\alpha</mi></math>", "unread"),
    ("<script>console.error('no')</script>", "said"),
    ("<script>nothing.here()</script>", "said"),
    ("<img src='http://127.0.0.1:9/x.png'>", "said"),
])
def test_what_is_wrong_is_seen(browser: Browser, spoilt: str, seen: str, tmp_path: Path) -> None:
    page = written("relu", "en", tmp_path)
    page.write_text(page.read_text().replace("</main>", spoilt + "</main>"))
    browser.open(page, PHONE)
    found = browser.look()
    assert browser.said if seen == "said" else found[seen]


def test_the_print_style_keeps_everything(browser: Browser, tmp_path: Path) -> None:
    browser.open(written("layernorm", "en", tmp_path), DESK)
    browser.pdf(tmp_path / "print.pdf")
    assert (tmp_path / "print.pdf").read_bytes().startswith(b"%PDF")
    browser.call("Emulation.setEmulatedMedia", media="print",
                 features=[{"name": "prefers-color-scheme", "value": "dark"}])
    assert browser.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    hidden = browser.evaluate(
        "[...document.querySelectorAll('pre')].filter(p => p.scrollWidth > p.clientWidth + 1).length")
    browser.call("Emulation.setEmulatedMedia", media="")
    assert hidden == 0
