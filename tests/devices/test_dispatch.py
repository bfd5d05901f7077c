"""A device is never kept waiting for the host: nothing inside a step goes there, and a pass stays one step ahead."""

import jax
import jax.numpy as jnp
import numpy as np
import small_pass
import towers

from jaxclip.data.open_data import open_data
from jaxclip.runs import run_pass
from jaxclip.runs.component_moments import Collected
from jaxclip.runs.step import step


def test_no_number_is_fetched_before_the_next_step_is_sent_out(tmp_path, tmp_path_factory, monkeypatch):
    events = []

    class Watched:
        def __init__(self, number, value):
            self.number, self.value = number, value

        def __array__(self, dtype=None, copy=None):
            events.append(("fetched", self.number))
            return np.asarray(self.value, dtype)

    def watched(*arguments):
        number = sum(kind == "sent" for kind, _ in events)
        events.append(("sent", number))
        moments, state, norm = step(*arguments)
        return moments, state, Watched(number, norm)

    monkeypatch.setattr(run_pass, "step", watched)
    source = open_data(small_pass.pictures(tmp_path_factory.getbasetemp()))
    options = run_pass.PassOptions(batch=small_pass.BATCH)
    run_pass.run_pass(small_pass.clip(), source, tmp_path / "run", options, save_every=1e9)
    n = -(-len(source) // small_pass.BATCH)
    ahead = [event for i in range(1, n) for event in (("sent", i), ("fetched", i - 1))]
    assert n > 3
    assert events == [("sent", 0), *ahead, ("fetched", n - 1)]


def test_a_step_calls_nothing_on_the_host():
    vision = towers.vision()
    images = jnp.asarray(towers.images(vision.config))
    leaves, tree = jax.tree.flatten(({"all": Collected.zero(vision.config)}, vision, images, jnp.ones(len(images)), {}))
    lowered = jax.jit(lambda *leaves: step(*jax.tree.unflatten(tree, leaves), "normalized")).lower(*leaves)
    assert not on_the_host(lowered.as_text())
    assert on_the_host(jax.jit(lambda x: jax.debug.print("{}", x)).lower(1.0).as_text())


def on_the_host(text):
    return any(word in text for word in ("callback", "infeed", "outfeed", "stablehlo.send", "stablehlo.recv"))
