"""Second-order effects are what the frozen forward pass loses when later attention no longer sees a neuron."""

import numpy as np
import oracle
import pytest
import towers

from jaxclip.analyses.directions import principal, sparse_texts
from jaxclip.analyses.second_order import neuron_coordinates, neuron_matrices, neuron_moments, second_order

SMALL = {"width": 16, "n_heads": 2, "mlp_dim": 12, "embed_dim": 7, "image_size": (32, 16)}
OPTIONS = [{}, {"layer_scale": True, "pool": "mean", "ln_pre": False}]


class Frozen:
    """A forward pass in float64 that remembers its patterns and LayerNorm sigmas, and can be run again with them.

    Run again, later attention reads values of a residual stream from which chosen neurons' outputs were taken, and
    everything else stays as it was. LayerNorm is then affine: it centres, divides by the sigma it had, and scales.
    """

    def __init__(self, vision, image, layer):
        self.config, self.layer = vision.config, layer
        self.params = params = oracle.as_float64(towers.params(vision))
        config = self.config
        x = oracle.tokens(np.asarray(image, np.float64), params, config)
        self.share = np.zeros(len(x))
        self.share[0 if config.pool == "class" else slice(1, None)] = 1 if config.pool == "class" else 1 / (len(x) - 1)
        self.later, self.rest = [], self.share @ x
        for number in range(config.n_layers):
            block = oracle.layer_of(params["blocks"], number)
            y = oracle.norm(x, block["ln_1"], config.eps)
            q, k, v = np.einsum("tw,wxhc->xhtc", y, block["attn_in"]["kernel"]) + block["attn_in"]["bias"][:, :, None]
            pattern = oracle.softmax(np.einsum("hqc,htc->hqt", q, k) / np.sqrt(config.head_dim))
            added = np.einsum("hqt,htc,hcw->qw", pattern, v, block["attn_out"]["kernel"]) + block["attn_out"]["bias"]
            added = added * block.get("ls_1", 1.0)
            if number > layer:
                sigma = np.sqrt(x.var(-1, keepdims=True) + config.eps)
                self.later.append((block, x, sigma, np.einsum("q,hqt->ht", self.share, pattern)))
            else:
                self.rest = self.rest + self.share @ added
            x = x + added
            y = oracle.norm(x, block["ln_2"], config.eps) @ block["mlp_in"]["kernel"] + block["mlp_in"]["bias"]
            hidden = oracle.activation(y, config.activation)
            gamma = block.get("ls_2", 1.0)
            added = (hidden @ block["mlp_out"]["kernel"] + block["mlp_out"]["bias"]) * gamma
            if number == layer:
                # [neuron, token, width], the bias as one neuron more
                per_neuron = np.einsum("tm,mw->mtw", hidden, block["mlp_out"]["kernel"] * gamma)
                bias = np.broadcast_to(block["mlp_out"]["bias"] * gamma, x.shape)
                self.outputs = np.concatenate([per_neuron, bias[None]])
            self.rest = self.rest + self.share @ added
            x = x + added
        self.z = self.share @ x
        self.sigma = np.sqrt(self.z.var() + config.eps)

    def embedding(self, removed=0.0):
        """With `removed` [token, width] taken from what the values of later layers are made of."""
        z = self.rest
        for block, x, sigma, pattern in self.later:
            x = x - removed
            y = (x - x.mean(-1, keepdims=True)) / sigma * block["ln_1"]["scale"] + block["ln_1"]["bias"]
            v = np.einsum("tw,whc->htc", y, block["attn_in"]["kernel"][:, 2]) + block["attn_in"]["bias"][2][:, None]
            out = np.einsum("ht,htc,hcw->w", pattern, v, block["attn_out"]["kernel"]) + block["attn_out"]["bias"]
            z = z + out * block.get("ls_1", 1.0)
        post = self.params["ln_post"]
        return ((z - z.mean()) / self.sigma * post["scale"] + post["bias"]) @ self.params["projection"]

    def effects(self):
        """What each neuron's removal costs, and last the bias's."""
        return np.stack([self.embedding() - self.embedding(output) for output in self.outputs])


@pytest.fixture(scope="module", params=OPTIONS, ids=["class", "mean"])
def case(request):
    vision = towers.vision(**SMALL | request.param)
    images = towers.images(vision.config, 3)
    return vision, images, [Frozen(vision, image, 0) for image in images]


def test_the_frozen_pass_is_the_forward_pass(case):
    vision, images, frozen = case
    expected = [oracle.decompose(image, towers.params(vision), vision.config)[0] for image in images]
    assert np.allclose([one.embedding() for one in frozen], expected, atol=1e-12)


def test_an_effect_is_what_the_neurons_removal_costs(case):
    vision, images, frozen = case
    found = second_order(vision, images, 0)
    expected = np.stack([one.effects()[:-1] for one in frozen])
    assert np.abs(found - expected).max() < 1e-5 * np.abs(expected).max()


def test_effects_of_a_layer_and_of_its_bias_are_all_that_later_attention_reads_of_its_mlp(case):
    vision, images, frozen = case
    whole = np.stack([one.embedding() - one.embedding(one.outputs.sum(0)) for one in frozen])
    bias = np.stack([one.effects()[-1] for one in frozen])
    summed = np.asarray(second_order(vision, images, 0), np.float64).sum(1)
    assert np.abs(summed + bias - whole).max() < 1e-5 * np.abs(whole).max()


def test_texts_and_chosen_neurons_are_parts_of_the_whole():
    vision = towers.vision(**SMALL)
    images = towers.images(vision.config, 3)
    texts = np.random.default_rng(1).standard_normal((4, vision.config.embed_dim)).astype(np.float32)
    whole = np.asarray(second_order(vision, images, 0))
    some = second_order(vision, images, 0, np.array([5, 2]), texts)
    assert np.abs(some - whole[:, [5, 2]] @ texts.T).max() < 1e-5 * np.abs(whole).max() * np.abs(texts).max()


def test_only_layers_that_come_later_move_a_neuron():
    vision = towers.vision(**SMALL)
    last = vision.config.n_layers - 2
    effects = np.asarray(second_order(vision, towers.images(vision.config, 1), last))[0]
    frozen = Frozen(vision, towers.images(vision.config, 1)[0], last).effects()[:-1]
    assert neuron_matrices(vision, last).shape[1] == 1
    assert np.abs(effects - frozen).max() < 1e-5 * np.abs(frozen).max()


def test_moments_of_a_streamed_set_are_those_of_its_effects():
    vision = towers.vision(**SMALL)
    images = towers.images(vision.config, 24, seed=5)
    padded = np.concatenate([images, np.full_like(images[:3], np.nan)])
    weights = np.array([1] * 24 + [0] * 3, np.float32)
    batches = [(padded[i : i + 9], weights[i : i + 9]) for i in range(0, 27, 9)]
    moments = neuron_moments(vision, batches, 0)
    effects = np.einsum(
        "bnlh,nlhe->bne",
        np.asarray(neuron_coordinates(vision, images, 0), np.float64),
        np.asarray(neuron_matrices(vision, 0), np.float64),
    )
    apart = effects - effects.mean(0)
    assert np.asarray(moments.count).tolist() == [24] * vision.config.mlp_dim
    assert np.abs(moments.mean - effects.mean(0)).max() < 1e-5 * np.abs(effects).max()
    covariance = np.einsum("bne,bnf->nef", apart, apart) / 24
    assert np.abs(moments.covariance - covariance).max() < 1e-5 * np.abs(covariance).max()
    found = principal(moments)
    for neuron, samples in enumerate(apart.transpose(1, 0, 2)):
        _, sizes, axes = np.linalg.svd(samples, full_matrices=False)
        assert abs(axes[0] @ np.asarray(found.directions[neuron])) == pytest.approx(1, abs=1e-4)
        assert float(found.share[neuron]) == pytest.approx(sizes[0] ** 2 / np.square(sizes).sum(), abs=1e-5)


def pursuit(direction, texts, steps):
    """Orthogonal matching pursuit by its definition: least squares anew at every step."""
    picks, left = [], direction
    for _ in range(steps):
        cosines = np.abs(texts @ left) / np.linalg.norm(texts, axis=1)
        cosines[picks] = -1
        picks.append(int(cosines.argmax()))
        weights = np.linalg.lstsq(texts[picks].T, direction, rcond=None)[0]
        left = direction - weights @ texts[picks]
    return picks, weights, 1 - left @ left / (direction @ direction)


def test_few_texts_by_matching_pursuit():
    rng = np.random.default_rng(0)
    axes = np.linalg.qr(rng.standard_normal((12, 12)))[0].astype(np.float32)
    found = sparse_texts(2 * axes[7] - 1.5 * axes[2], 2 * axes, 5)
    assert found.indices[:2].tolist() == [7, 2]
    assert np.allclose(found.weights, [1, -0.75, 0, 0, 0], atol=1e-6)
    texts = rng.standard_normal((40, 12)) * rng.uniform(0.5, 2, (40, 1))
    for _ in range(3):
        direction = rng.standard_normal(12).astype(np.float32)
        found = sparse_texts(direction, texts.astype(np.float32), 5)
        picks, weights, explained = pursuit(direction.astype(np.float64), texts.astype(np.float32).astype(float), 5)
        assert found.indices.tolist() == picks
        assert np.allclose(found.weights, weights, atol=1e-5)
        assert float(found.explained[-1]) == pytest.approx(explained, abs=1e-6)


def test_bad_input_is_named():
    vision = towers.vision(**SMALL)
    images = towers.images(vision.config, 1)
    with pytest.raises(ValueError, match="between 0 and 1; got 2"):
        second_order(vision, images, 2)
    with pytest.raises(ValueError, match="numbers from 0 to 11"):
        second_order(vision, images, 0, np.array([12]))
    with pytest.raises(ValueError, match="steps must be between 1 and 3"):
        sparse_texts(np.ones(3, np.float32), np.ones((5, 3), np.float32), 4)
