import pytest
from hypothesis import given
from hypothesis import strategies as st

from farm.recipes.archive import plain_expression


@pytest.mark.parametrize("text", ["s0", "2*s0 + 1", "Max(1, u3)", "Eq(Mod(s0, 8), 0)", "-int_oo", "FloorDiv(s1, 2)"])
def test_sizes_as_pytorch_writes_them_are_accepted(text):
    assert plain_expression(text)


def test_sizes_as_sympy_writes_them_are_accepted():
    symbol = "Symbol('s40', positive=True, integer=True)"
    assert plain_expression(symbol)
    assert plain_expression(f"Add(Mul(Integer(2), {symbol}), FloorDiv({symbol}, Integer(8)))")


@pytest.mark.parametrize(
    "text",
    [
        *("__import__('os')", "s0.__class__", "open(s0)", "eval(s0)", "lambda x0", "s0[0]", "'a'", "exit()", "s0; s1"),
        *("a", "Symbol('a b')", "Symbol('s0').x", "Add('s0')", "Symbol('s0', commutative=exit())", 'Symbol("s0")'),
    ],
)
def test_anything_else_is_not(text):
    assert not plain_expression(text)


@given(st.text("s01+*(). ,'_abcimportx", max_size=30))
def test_what_is_accepted_reaches_no_name_but_sizes_and_known_functions(text):
    if plain_expression(text):
        assert "_" not in text
        assert "'" not in text
        assert ".i" not in text
