"""The pages of one operation, and the index of all."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from derive import catalog
from derive.catalog import Entry as CatalogEntry
from derive.cost import report
from derive.emit import sources
from derive.emit.templates import render
from derive.export import Document, Measured, document
from derive.export.media import html_body
from derive.export.write import read_blocks
from derive.gallery.paint import painted
from derive.operation import parse
from derive.rule.numpy import value_of

OTHER = {"en": "zh", "zh": "en"}
WORDS = {
    "en": {"index": "derive: gradients, derived and emitted", "search": "Search by name, title or formula",
           "found": "operations", "none": "Nothing by that name.", "files": "The emitted files", "other": "中文",
           "home": "All operations", "contents": "On this page", "valid": "validated", "invalid": "failed",
           "lead": "Forward formulas, and what derive makes of them: every gradient derived step by step, CUDA kernels "
                   "for both passes, and what the validation of those kernels found."},
    "zh": {"index": "derive：梯度的推导与核函数", "search": "按名称、标题或公式查找",
           "found": "个运算", "none": "没有这样的运算。", "files": "生成的文件", "other": "English",
           "home": "全部运算", "contents": "本页目录", "valid": "已验证", "invalid": "未通过",
           "lead": "这里收录一批前向公式，以及 derive 由它们得到的结果："
                   "逐步推导的梯度、前向和反向的 CUDA 核函数，以及对这些核函数的验证。"},
}


@dataclass(frozen=True)
class Card:
    """What the index shows of one operation; texts by language.

    Attributes:
        name: of the operation and its pages.
        formula: its statements.
        rules: the gradients, one a line, in matrices.
        status: pass, fail, or nothing where no validation was run.
    """

    name: str
    titles: Mapping[str, str]
    sentences: Mapping[str, str]
    formula: str
    rules: tuple[str, ...]
    status: str


@dataclass(frozen=True)
class Entry:
    """One operation of the gallery.

    Attributes:
        doc: its derivation.
        rules: the gradients, one a line, in matrices.
        files: emitted file -> text.
    """

    doc: Document
    rules: tuple[str, ...]
    files: tuple[tuple[str, str], ...]

    @property
    def card(self) -> Card:
        d = self.doc
        found = {m.status for m in d.validation}
        return Card(d.name, {"en": d.title, "zh": d.title_zh}, {"en": d.sentence, "zh": d.sentence_zh}, d.text,
                    self.rules, "fail" if "fail" in found else "pass" if "pass" in found else "")


def entry(name: str, validation: Sequence[Measured] = ()) -> Entry:
    """An operation of the catalogue, derived and emitted.

    Args:
        validation: figures of a run; empty means not run.

    Raises:
        FileError: there is no such operation.
    """
    e = catalog.load(name)
    op = parse(e.text, e.name)
    costs = report(op)
    doc = document(op, title=e.title, sentence=e.sentence, title_zh=e.title_zh, sentence_zh=e.sentence_zh,
                   origin=e.source, validation=validation, costs=costs)
    rules = tuple(g.matrix for g in op.gradients.values())
    constants = [f"{n} = {value_of(v)!r}" for n, v in op.derivation.forward.params]
    made = sources(op.name, costs.plan, rules=op.rules, numpy_forward=[*constants, *op.forward_numpy])
    return Entry(doc, rules, tuple(made.items()))


def page_name(name: str, lang: str) -> str:
    return f"{name}.html" if lang == "en" else f"{name}.{lang}.html"


def page(e: Entry, lang: str, before: CatalogEntry | None, after: CatalogEntry | None) -> str:
    """The page of one operation in one language, linked with those before and after it."""
    found = list(read_blocks(e.doc, lang))
    sections = [b.text for b in found if b.kind == "heading" and b.level == 2]
    files = [(n, n.rsplit(".", 1)[-1], painted(t.rstrip("\n"), LANGUAGE_OF[n.rsplit(".", 1)[-1]])) for n, t in e.files]
    return render("gallery/page.html.j2", words=WORDS[lang], lang=lang, body=html_body(found, painted),
                  title=e.card.titles[lang], sections=sections, files=files, home=page_name("index", lang),
                  other=page_name(e.doc.name, OTHER[lang]), other_lang=OTHER[lang],
                  before=before and (page_name(before.name, lang), title(before, lang)),
                  after=after and (page_name(after.name, lang), title(after, lang)))


LANGUAGE_OF = {"cu": "cuda", "py": "python", "json": "json"}


def index(cards: Sequence[Card], lang: str) -> str:
    """All operations with a search box."""
    return render("gallery/index.html.j2", words=WORDS[lang], lang=lang, cards=cards, page_name=page_name,
                  other=page_name("index", OTHER[lang]), other_lang=OTHER[lang])


def title(e: CatalogEntry, lang: str) -> str:
    return e.title if lang == "en" else e.title_zh or e.title
