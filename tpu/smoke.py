"""Does this slice work? Devices, what crosses them, and the sum, in under a minute. Run it on every host of the slice.

python tpu/smoke.py                              # one host, or those of Cloud TPU, SLURM, Kubernetes and Open MPI
python tpu/smoke.py --expect 16 --model-axis 4   # so many devices, or it fails; heads split in four
python tpu/smoke.py --coordinator 10.0.0.1:1234 --hosts 2 --host 0    # where nothing says who is who
"""

import argparse
import sys
import time
from contextlib import nullcontext
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from jaxclip.config import Compute, DType, VisionConfig
from jaxclip.devices import cluster, sharding
from jaxclip.model.head_coordinates import head_state
from jaxclip.model.vision import VisionTransformer
from jaxclip.numerics.moments import Moments
from jaxclip.runs.sharded_moments import summed

CONFIG = VisionConfig(
    image_size=(64, 64), patch_size=(16, 16), width=256, n_layers=4, n_heads=8, mlp_dim=512, embed_dim=128,
    activation="gelu",
)  # fmt: skip


def main() -> int:
    """Exit status 0 when all of it holds."""
    options = parse()
    begin = time.monotonic()
    where = options.coordinator, options.hosts, options.host
    with cluster.joined(print, *where) if cluster.several(*where) else nullcontext():
        found = check(options)
        for what, holds in found.items():
            say(f"{'ok    ' if holds else 'BROKEN'}  {what}")
        say(f"{time.monotonic() - begin:.0f} s")
    return 0 if all(found.values()) else 1


def check(options: argparse.Namespace) -> dict[str, bool]:
    """What must hold, and whether it does."""
    devices = jax.devices()
    say(f"{len(devices)} devices ({devices[0].device_kind}), {jax.process_count()} hosts, JAX {jax.__version__}")
    mesh = sharding.make_mesh(model=options.model_axis)
    return {
        "as many devices as expected": options.expect in (None, len(devices)),
        "sums and gathers over all devices": collectives(mesh),
        **{f"the parts sum to the embedding, {dtype}": ok for dtype, ok in sums(mesh).items()},
        "moments of all devices are those of one": moments(mesh),
    }


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--coordinator", help="address:port of host 0, where no launcher says it")
    parser.add_argument("--hosts", type=int, help="how many there are")
    parser.add_argument("--host", type=int, help="which one this is, from 0")
    parser.add_argument("--expect", type=int, help="devices there must be")
    parser.add_argument("--model-axis", type=int, default=1, help="devices that share one copy of the weights")
    return parser.parse_args()


def collectives(mesh: Mesh) -> bool:
    """Every device's number arrives, once."""
    numbers = jnp.arange(mesh.size, dtype=jnp.float32)
    split = jax.device_put(numbers, NamedSharding(mesh, PartitionSpec(mesh.axis_names)))
    total, gathered = whole(mesh, lambda x: (x.sum(), x))(split)
    return float(total) == mesh.size * (mesh.size - 1) / 2 and bool((np.asarray(gathered) == numbers).all())


def sums(mesh: Mesh) -> dict[str, bool]:
    """Every detail of a decomposition made on all devices, against the same pass's embedding."""
    found = {}
    for dtype in ("float32", "bfloat16"):
        tower, images = model(mesh, dtype)

        def errors(tower: VisionTransformer, images: jax.Array) -> jax.Array:
            passes = [tower(images, detail=detail) for detail in ("full", "head", "token", "layer")]
            apart = [jnp.linalg.norm(parts.total() - embedding, axis=-1) for embedding, parts in passes]
            return jnp.stack([(d / jnp.linalg.norm(z, axis=-1)).max() for d, (z, _) in zip(apart, passes, strict=True)])

        found[dtype] = bool((np.asarray(whole(mesh, errors)(tower, images)) < 1e-5).all())
    return found


def moments(mesh: Mesh) -> bool:
    """A head's moments summed over devices, against NumPy's of what all devices made."""
    tower, images = model(mesh, "float32")
    parts = mesh.shape[sharding.DATA]

    def both(tower: VisionTransformer, images: jax.Array) -> tuple[Moments, jax.Array]:
        samples = head_state(tower, images).heads[:, -1, 0]
        return summed(jax.vmap(Moments.of)(samples.reshape(parts, -1, samples.shape[-1]))), samples

    found, samples = whole(mesh, both)(tower, images)
    expected = np.cov(np.float64(samples).T, bias=True)
    error = np.abs(np.asarray(found.covariance) - expected).max()
    return bool(error < 1e-6 * np.abs(expected).max())


@partial(jax.jit, static_argnames="dtype")
def weights(dtype: DType) -> VisionTransformer:
    tower = VisionTransformer(CONFIG, nnx.Rngs(0), Compute(dtype=dtype))
    return jax.tree.map(lambda x: x.astype(dtype), tower)


def model(mesh: Mesh, dtype: DType) -> tuple[nnx.Module, jax.Array]:
    """A small tower and images, placed."""
    images = np.random.default_rng(0).standard_normal((4 * mesh.shape[sharding.DATA], *CONFIG.image_size, 3))
    # By way of the host: an array that one process holds cannot be placed on the devices of others.
    tower = jax.tree.map(np.asarray, weights(dtype))
    return sharding.place_vision(tower, mesh), sharding.place_batch(images.astype(np.float32), mesh)


def whole(mesh: Mesh, function):
    """Results are on every device, so that every host can read them."""
    return jax.jit(function, out_shardings=NamedSharding(mesh, PartitionSpec()))


def say(text: str) -> None:
    if jax.process_index() == 0:
        print(text, flush=True)


if __name__ == "__main__":
    sys.exit(main())
