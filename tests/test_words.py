"""How a magic line is split."""

import pytest

from kfp_magics.magics.words import split


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("", []),
        ("  calc  n=3 --wait ", ["calc", "n=3", "--wait"]),
        ("calc name='a b' other=\"c 'd'\" e=f\\ g", ["calc", "name=a b", "other=c 'd'", "e=f g"]),
        ("calc names=['x', \"y z\"] n=1", ["calc", "names=['x', \"y z\"]", "n=1"]),
        ("calc d={'a': [1, {'b': ']'}]}", ["calc", "d={'a': [1, {'b': ']'}]}"]),
        ("calc 'names=[\"x\"]'", ["calc", 'names=["x"]']),
        ("calc names=[]", ["calc", "names=[]"]),
        ("calc names=[1, (2, 3)] größe=[ü]", ["calc", "names=[1, (2, 3)]", "größe=[ü]"]),
        ("calc names=['it\\'s']", ["calc", "names=['it\\'s']"]),
        ("--name 'a b=[c d]' x", ["--name", "a b=[c d]", "x"]),
        ("calc names=[1", ["calc", "names=[1"]),
        ("calc n=3   # as of today, it's three", ["calc", "n=3"]),
        ("   # nothing but a remark", []),
        ("calc tag=#1 'a #b' c#d", ["calc", "tag=#1", "a #b", "c#d"]),
        ("calc raw[1]=2 [a b]", ["calc", "raw[1]=2", "[a", "b]"]),
    ],
)
def test_words(line: str, words: list[str]) -> None:
    assert split(line) == words


def test_a_quote_that_is_not_closed() -> None:
    with pytest.raises(ValueError, match="No closing quotation"):
        split("calc 'n=3")
