"""An error says what, where, which value, what to do."""

import ast
import pickle

from derive.errors import CheckError, DeriveError, NotationError, Where


def test_render_shows_carets_under_the_place() -> None:
    line = "Y[i] = sum(k, sum(k, X[i,k]))"
    node = ast.parse(line).body[0].value.args[1]  # type: ignore[attr-defined]
    error = NotationError("index k is bound twice", where=Where.of(line, node), value="k", hint="use another letter")
    assert error.render().splitlines() == [
        "error: index k is bound twice",
        "  line 1: Y[i] = sum(k, sum(k, X[i,k]))",
        "                        ^^^^^^^^^^^^^^",
        "  value: k",
        "  hint: use another letter",
    ]


def test_columns_are_characters_even_after_wide_letters() -> None:
    source = "αβ = 1\nY[i] = β + γ"
    node = ast.parse(source).body[1].value.right  # type: ignore[attr-defined]
    where = Where.of(source, node)
    assert (where.number, where.line[where.start : where.stop]) == (2, "γ")


def test_an_error_survives_pickling() -> None:
    error = pickle.loads(pickle.dumps(DeriveError("no", value=3, hint="yes")))
    assert (error.what, error.value, error.hint, error.status) == ("no", 3, "yes", 2)
    assert CheckError("unequal").status == 1
