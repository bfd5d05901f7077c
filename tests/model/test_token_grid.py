"""Where the patches are among tokens."""

import numpy as np
import pytest

from jaxclip.model.token_grid import TokenGrid
from jaxclip.numerics.ops import resize_positions


@pytest.mark.parametrize(("n_tokens", "grid"), [(2, (1, 1)), (5, (2, 2)), (50, (7, 7)), (257, (16, 16))])
def test_a_square_grid_is_found_by_its_tokens(n_tokens, grid):
    found = TokenGrid.square(n_tokens)
    assert (found.grid, found.n_prefix, found.n_tokens) == (grid, 1, n_tokens)


@pytest.mark.parametrize("n_tokens", [0, 1, 3, 4, 49, 256])
def test_other_numbers_of_tokens_make_no_square(n_tokens):
    assert TokenGrid.square(n_tokens) is None


@pytest.mark.parametrize("n_prefix", [0, 1, 5])
def test_positions_before_the_patches_are_left_as_they_are(n_prefix):
    """Registers, or no class token at all: their number follows from the grid."""
    positions = np.random.default_rng(0).standard_normal((n_prefix + 6, 4)).astype(np.float32)
    resized = np.asarray(resize_positions(positions, (2, 3), (4, 3)))
    assert len(resized) == n_prefix + 12
    np.testing.assert_array_equal(resized[:n_prefix], positions[:n_prefix])
    np.testing.assert_array_equal(resized[n_prefix:], resize_positions(positions[n_prefix:], (2, 3), (4, 3)))
