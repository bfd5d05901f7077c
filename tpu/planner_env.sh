#!/bin/sh
# Makes a Python for `jaxclip plan`: JAX with the TPU compiler, apart from the one that runs jaxclip.
#
#   sh tpu/planner_env.sh planner_env            then: jaxclip plan ... --python planner_env/bin/python
#
# JAX and Flax are those of PYTHON (by default the checkout's own environment), so that the program that is compiled is
# the one that will run.
set -eu
folder=${1:?usage: sh tpu/planner_env.sh FOLDER}
root=$(cd "$(dirname "$0")/.." && pwd)
python=${PYTHON:-$root/.venv/bin/python}
[ -x "$python" ] || python=python3
versions=$("$python" - <<'PY'
from importlib import metadata

for name, extra in (("jax", "[tpu]"), ("flax", "")):
    try:
        print(f"{name}{extra}=={metadata.version(name)}")
    except metadata.PackageNotFoundError:
        print(f"{name}{extra}")
PY
)
"$python" -m venv "$folder"
# shellcheck disable=SC2086
"$folder/bin/python" -m pip install -q $versions einops jaxtyping
"$folder/bin/python" -c "import jax, libtpu, sys; print(f'jax {jax.__version__} with libtpu: {sys.executable}')"
