import numpy as np
import pytest

from minibitnet.nn import ops, ste
from minibitnet.nn.autograd import Tensor, backward, record
from minibitnet.nn.config import ModelConfig
from minibitnet.nn.layers import BinaryLinear, BitLinear, Linear, Module, projection_of
from minibitnet.quant import absmax_int8, absmean_ternary, dequantize, sign_binary
from minibitnet.variants import VARIANTS


class Pair(Module):
    def __init__(self, rng):
        self.first = Linear(3, 2, rng)
        self.stack = [Linear(2, 2, rng), Linear(2, 4, rng)]
        self.tied = self.first.weight
        self.number = 7


def test_parameters_are_named_by_attribute_path_and_listed_once(rng):
    pair = Pair(rng)
    assert list(pair.parameters()) == ["first.weight", "stack.0.weight", "stack.1.weight"]


@pytest.mark.parametrize("layer, quantize", [(BitLinear, absmean_ternary), (BinaryLinear, sign_binary)])
def test_a_bit_linear_is_its_equation(layer, quantize, rng):
    """y = W~ x~ s: exactly the integer product times the two scales."""
    bit_linear, x = layer(8, 5, rng), rng.standard_normal((8, 2, 3)).astype(np.float32)
    w, q = quantize(bit_linear.weight.data), absmax_int8(x)
    sums = np.einsum("nm,mbt->nbt", w.codes.astype(int), q.codes.astype(int))
    assert np.array_equal(bit_linear(Tensor(x)).data, sums.astype(np.float32) * (w.scale * q.scale))


def test_a_bit_linear_called_twice_counts_both_calls(rng):
    """No state is kept of a call: of y = W a + W b the gradient is g a^T + g b^T, with the quantized a and b
    of each call."""
    layer, targets = BitLinear(4, 3, rng), np.zeros((1, 2), int)
    inputs = [Tensor(rng.standard_normal((4, 1, 2)).astype(np.float32)) for _ in range(2)]
    with record() as tape:
        y = ops.add(*(layer(x) for x in inputs))
        loss = ops.cross_entropy(y, targets)
    g = ops.cross_entropy.__wrapped__(y.data, targets)[1](1.0)[0]
    both = sum(ops.columns(g).astype(float) @ ops.columns(dequantize(*absmax_int8(x.data))).T for x in inputs)
    off = np.abs(backward(tape, loss)[layer.weight.key] - both).max()
    # two tokens, each on a grid of 12 bits or more
    assert 0 < off < 2**-11 * np.abs(g).max() * np.abs([x.data for x in inputs]).max()


def test_q_k_and_v_share_one_quantized_input(rng):
    layer, x = BitLinear(4, 3, rng), Tensor(rng.standard_normal((4, 1, 2)).astype(np.float32))
    quantized = layer.prepare_input(x)
    assert layer.prepare_input(quantized) is quantized
    assert np.array_equal(layer(quantized).data, layer(x).data)


def test_a_quantized_layer_computes_the_same_and_hands_its_gradient_to_the_latent_weight(rng):
    """The training step's short cut (quantize once, differentiate its copy) equals the straight-through op on
    the tape."""
    for layer in (BitLinear(6, 4, rng), BinaryLinear(6, 4, rng)):
        quantized, x = layer.quantized(), Tensor(rng.standard_normal((6, 2, 3)).astype(np.float32))
        results = []
        for used in (layer, quantized):
            with record() as tape:
                y = used(x)
                loss = ops.cross_entropy(y, np.zeros((2, 3), int))
            results.append((y.data, backward(tape, loss)[used.weight.key]))
        assert np.array_equal(results[0][0], results[1][0]) and np.array_equal(results[0][1], results[1][1])
        assert layer.weight.data.dtype == np.float32


def test_binary_activations_are_per_tensor_in_training_and_per_token_otherwise(rng):
    layer, x = BinaryLinear(6, 4, rng), Tensor(rng.standard_normal((6, 2, 3)).astype(np.float32))
    assert layer.quantized(training=True).prepare_input(x).data.scale.shape == (1, 1, 1)
    assert layer.quantized().prepare_input(x).data.scale.shape == (1, 2, 3)
    assert layer.prepare_input(x).data.scale.shape == (1, 2, 3)
    assert BitLinear(6, 4, rng).quantized(training=True).prepare_input(x).data.scale.shape == (1, 2, 3)





def test_eight_bits_whatever_the_variant(rng):
    """The first stage of training for fewer: behind the same transformation, in training and out of it."""
    x = Tensor(rng.standard_normal((8, 2, 3)).astype(np.float32))
    for name in ("a48", "v2", "ternary", "binary"):
        for reads in VARIANTS[name].reads:
            layer = projection_of(ModelConfig(linear=name), reads)(8, 4, rng)
            of_eight = layer.quantized(eight_bits=True)
            given = ops.hadamard(x).data if reads.rotated else x.data
            assert np.array_equal(of_eight.prepare_input(x).data.codes, absmax_int8(given).codes)
            assert np.array_equal(layer.quantized().prepare_input(x).data.codes, reads.quantize(given).codes)
            assert np.array_equal(layer.prepare_input(x).data.codes, reads.quantize(given).codes)
    training = BinaryLinear(8, 4, rng).quantized(training=True, eight_bits=True)
    assert training.prepare_input(x).data.scale.shape == (1, 1, 1)


def test_straight_through_ops_are_what_the_layers_use():
    assert BitLinear.quantize_weight is ste.ternary_weight
    assert BinaryLinear.quantize_weight is ste.binary_weight
