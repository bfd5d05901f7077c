"""Names of heads: one reader, one writer."""

import numpy as np
import pytest

from jaxclip.model.head_names import chosen_heads, head_name, parse_heads, parse_name


@pytest.mark.parametrize(("layer", "head"), [(0, 0), (5, 2), (10, 11), (np.int64(3), np.int64(1))])
def test_what_is_written_is_read_again(layer, head):
    name = head_name(layer, head)
    assert parse_name(name) == (layer, head)
    assert parse_heads(f"{name}, {name}") == ((layer, head),) * 2
    assert np.argwhere(chosen_heads([name], 12, 12)).tolist() == [[layer, head]]


def test_a_layer_alone_is_all_its_heads():
    assert parse_name("7") == (7, None)
    assert chosen_heads(["1"], 3, 4).sum(1).tolist() == [0, 4, 0]


@pytest.mark.parametrize("name", ["", "5.", ".2", "5.2.1", "-1", "5,2", "5.2 ", "\u0665.2", "a.b", "5.2\n"])
def test_other_names_are_refused_and_said(name):
    with pytest.raises(ValueError, match="counted from 0; got") as found:
        parse_name(name)
    assert repr(name) in str(found.value)


@pytest.mark.parametrize("words", ["", "5", "5.2,", "5.2;5.3", "5.2,6"])
def test_a_list_of_heads_takes_single_heads_alone(words):
    with pytest.raises(ValueError, match=r"such as 5\.2,5\.3; got"):
        parse_heads(words)


@pytest.mark.parametrize("name", ["3", "3.0", "2.4"])
def test_heads_that_a_model_lacks_are_refused(name):
    with pytest.raises(ValueError, match=f"there is no head {name}: the model has layers 0 to 2 of heads 0 to 3 each"):
        chosen_heads([name], 3, 4)
