"""Activations of 4 bits behind ternary weights.   [a48] arXiv 2411.04965; [v2] arXiv 2504.18415

What comes out of a norm is like a bell, and 4 bits do. What comes before o and before down has a few large
numbers and many near 0, and 4 bits of it lose too much: [a48] keeps 8 bits there, and leaves half of o's out;
[v2] turns it with a Hadamard matrix, which spreads the large ones over all, and then 4 bits do. Both train
with 8 bits first.
"""
from ..nn import layers, ops, ste, training
from ..nn.layers import BitLinear
from ..quant import Quantized
from .replacing import Change, all_of, replaced


class FourBits(BitLinear):
    """4-bit activations in front of q, k, v and gate, up; ``intermediate`` says what o and down get. With
    ``eight`` all of them have 8, for the first stage of training. [a48] §2.2, [v2] §2.2"""
    eight = False

    def prepare_input(self, x):                  # of q, for k and v as well; of gate, for up
        if isinstance(x.data, Quantized):
            return x
        return ste.int8_activation(x) if self.eight else ste.int4_activation(x)

    def __call__(self, x):
        if not isinstance(x.data, Quantized):    # of o, and of down
            x = self.intermediate(x)
        return super().__call__(x)

    def intermediate(self, x):
        """4 bits as well."""
        return self.prepare_input(x)


class Hybrid(FourBits):
    """8 bits for o, whose smaller half is 0, and for down.   [a48] §2.1"""

    def intermediate(self, x):
        n, m = self.weight.data.codes.shape if isinstance(self.weight.data, Quantized) else (
            self.weight.data.shape)
        sparse = n == m and not self.eight       # o is square, down is not
        return ste.sparse_int8_activation(x) if sparse else ste.int8_activation(x)


class Rotated(FourBits):
    """4 bits for o and down as well, behind a Hadamard transformation, in both stages.   [v2] eq. 7"""

    def intermediate(self, x):
        return self.prepare_input(ops.hadamard(x))


class RotatedEight(Rotated):
    """8 bits throughout: what the first stage ends in."""
    eight = True


def four_bits(kind, since=0.0):
    """Activations of 4 bits by a class above, from this share of the steps on; 8 bits before. The finished
    model has 4."""
    def change(run):
        own = type("Own", (kind,), {})

        def step(model, quantized, optimizer, *arguments, **options):
            own.eight = optimizer.t < since * run.steps
            try:
                return usual(model, quantized, optimizer, *arguments, **options)
            finally:
                own.eight = False
        usual = training.step
        return all_of(replaced(layers.PROJECTIONS, run.arm, own), replaced(training, "step", step))
    return change


CHANGES = {
    "int4": Change("4-bit activations everywhere", four_bits(FourBits)),
    "int4_last": Change("8-bit activations, 4-bit ones for the last fifth", four_bits(FourBits, 0.8)),
    "hybrid": Change("4-bit activations, 8-bit ones for o (half of them 0) and down", four_bits(Hybrid)),
    "hybrid_last": Change("8-bit activations, the hybrid for the last fifth", four_bits(Hybrid, 0.8)),
    "rotated": Change("4-bit activations, Hadamard before o and down", four_bits(Rotated)),
    "rotated_last": Change("Hadamard before o and down, 4-bit activations for the last fifth",
                           four_bits(Rotated, 0.8)),
    "rotated8": Change("8-bit activations, Hadamard before o and down",
                       lambda run: replaced(layers.PROJECTIONS, run.arm, RotatedEight)),
}
