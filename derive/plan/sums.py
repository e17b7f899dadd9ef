"""Sums of products of sizes, equal products taken together: 4*m*n + 4*n*m is 8*m*n."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from derive.plan.records import Text


@dataclass(frozen=True)
class Sum:
    """Products by their sorted factors: how many times each, and as it was first written."""

    terms: Mapping[tuple[Text, ...], tuple[int, Text]]

    def __str__(self) -> str:
        found = [str(n) if not text else text if n == 1 else f"{n}*{text}" for n, text in self.terms.values() if n]
        return " + ".join(found) or "0"

    def __le__(self, other: Sum) -> bool:
        """Whether no sizes make it the greater one, as far as its terms show."""
        return all(n <= other.terms.get(factors, (0, ""))[0] for factors, (n, _) in self.terms.items())


def collected(terms: Iterable[tuple[int, Text]]) -> Sum:
    """Σ times*product."""
    found: dict[tuple[Text, ...], tuple[int, Text]] = {}
    for times, product in terms:
        factors = _factors(product)
        named = [f for f in factors if not f.isdigit()]
        for f in factors:
            times *= int(f) if f.isdigit() else 1
        before, text = found.get(tuple(sorted(named)), (0, "*".join(named)))
        found[tuple(sorted(named))] = before + times, text
    return Sum(found)


def greatest(sums: Iterable[Sum]) -> Text:
    """The greatest of several sums, without those that another is never less than."""
    tops: list[Sum] = []
    for s in sums:
        if not any(s <= top for top in tops):
            tops = [*(top for top in tops if not top <= s), s]
    return f"max({', '.join(map(str, tops))})" if len(tops) > 1 else str(tops[0]) if tops else "0"


def _factors(product: Text) -> list[Text]:
    """What a product multiplies: `*` inside brackets belongs to a factor."""
    found, depth = [""], 0
    for c in product:
        depth += (c == "(") - (c == ")")
        if c == "*" and depth == 0:
            found.append("")
        else:
            found[-1] += c
    return found
