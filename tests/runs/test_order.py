"""The order of a pass: every image once, whole blocks a host, and files that no two hosts write."""

import numpy as np
import pytest
import towers
from hypothesis import given
from hypothesis import strategies as st

from jaxclip.config import VisionConfig
from jaxclip.runs.bank import row_shapes
from jaxclip.runs.bank_writer import BankWriter, create_bank
from jaxclip.runs.order import Order


@st.composite
def orders(draw):
    parts = draw(st.sampled_from([1, 2, 3, 4, 8]))
    batch = parts * draw(st.integers(1, 4))
    return Order.of(draw(st.integers(1, 200)), batch, parts, draw(st.integers(1, 9)))


@given(orders())
def test_every_image_is_read_once(order):
    rows = order.rows(range(order.n_steps), range(order.parts))
    assert sorted(rows[rows >= 0]) == list(range(order.n))
    seen = [(rows[:n] >= 0).sum() for n in range(order.n_steps + 1)]
    assert [order.n_seen(n) for n in range(order.n_steps + 1)] == seen
    assert order.n_seen(order.n_steps) == order.n
    assert order.n_steps == 0 or (rows[-1] >= 0).any()


@given(orders())
def test_little_of_a_pass_is_padding(order):
    """A step more than the fewest there can be for each group, at most."""
    fewest, n_groups = -(-order.n // order.batch), -(-order.n // order.group)
    assert fewest <= order.n_steps <= fewest + n_groups


@given(orders(), st.data())
def test_hosts_have_blocks_of_their_own_and_together_all_of_them(order, data):
    n_hosts = data.draw(st.sampled_from([n for n in range(1, order.parts + 1) if order.parts % n == 0]))
    shares = [order.share(host, n_hosts) for host in range(n_hosts)]
    own = [order.rows(range(order.n_steps), share) for share in shares]
    np.testing.assert_array_equal(np.concatenate(own, axis=1), order.rows(range(order.n_steps), range(order.parts)))
    blocks = [set((rows[rows >= 0] // order.block).tolist()) for rows in own]
    assert sum(map(len, blocks)) == len(set().union(*blocks))


def test_parts_that_cannot_be_are_refused():
    with pytest.raises(ValueError, match="a batch of 6 cannot be cut into 4 equal parts"):
        Order.of(10, 6, 4)
    with pytest.raises(ValueError, match="a pass of 4 parts cannot be shared by 3 hosts, only by 1, 2, 4; use so many"):
        Order.of(10, 8, 4).share(0, 3)


def files(folder):
    paths = [path for path in folder.rglob("*") if path.is_file() and path.name != "zarr.json"]
    return {path.relative_to(folder): path.read_bytes() for path in paths}


@pytest.mark.parametrize("stops", [(), (3,), (1, 4, 6)])
def test_hosts_write_files_of_their_own_with_the_bytes_of_one(tmp_path, stops):
    """Two hosts, stopped and gone on with after some steps."""
    config, order, rng = VisionConfig(**towers.VISION), Order.of(37, 4, 2, 3), np.random.default_rng(0)
    shapes = row_shapes(config)
    whole = {name: rng.standard_normal((order.n, *shape)).astype(np.float32) for name, shape in shapes.items()}
    whole |= {"readable": np.arange(order.n) != 9, "labels/kind": np.arange(order.n, dtype=np.int32)}

    def write(folder, share, stops):
        create_bank(folder, config, order, ["kind"], "float32")
        begin = 0
        for end in (*stops, order.n_steps):
            writer = BankWriter(folder, order, share, config, ["kind"], begin)
            for rows in order.rows(range(begin, end), share):
                writer.add(rows, {name: values[np.maximum(rows, 0)] for name, values in whole.items()})
            writer.flush()
            begin = end
        return files(folder)

    one = write(tmp_path / "one", range(2), ())
    first, second = (write(tmp_path / str(host), order.share(host, 2), stops) for host in range(2))
    assert not first.keys() & second.keys()
    assert first | second == one
    assert order.n_steps > 2 * order.steps  # more than one group
