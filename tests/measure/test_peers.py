"""The PyTorch model that the benchmark measures beside ours is the same model."""
import numpy as np
import pytest

from minibitnet.nn.autograd import backward, record
from minibitnet.nn.config import ModelConfig
from minibitnet.nn.model import Transformer

torch = pytest.importorskip("torch")


@pytest.mark.parametrize("linear", ["ternary", "float"])
def test_same_weights_same_loss_same_gradients(linear, rng):
    """Our weights copied over: the losses agree to float32 rounding, and so do the gradients of the first
    and last matrices."""
    from minibitnet.measure import peers
    c = ModelConfig(vocab_size=11, d_model=16, n_layers=2, n_heads=4, n_kv_heads=2, context=12, linear=linear)
    ours, theirs = Transformer(c), peers.Transformer(c)
    p = {name: torch.from_numpy(t.data) for name, t in ours.parameters().items()}
    with torch.no_grad():
        theirs.embed.copy_(p["embed_tokens.weight"])
        theirs.head.copy_(p["lm_head.weight"])
        for i, block in enumerate(theirs.blocks):
            for name in "qkvo":
                getattr(block, name).copy_(p[f"layers.{i}.self_attn.{name}_proj.weight"])
            for name in ("gate", "up", "down"):
                getattr(block, name).copy_(p[f"layers.{i}.mlp.{name}_proj.weight"])
    ids = rng.integers(0, 11, (2, 12))
    with record() as tape:
        loss = ours.loss(ids, ids)
    grads = backward(tape, loss)
    their_loss = theirs(torch.from_numpy(ids), torch.from_numpy(ids))
    their_loss.backward()
    assert their_loss.item() == pytest.approx(float(loss.data), rel=1e-4)
    for name, g in (("lm_head.weight", theirs.head.grad),
                    ("layers.0.mlp.down_proj.weight", theirs.blocks[0].down.grad)):
        mine = grads[ours.parameters()[name].key]
        assert np.abs(mine - g.numpy()).max() < 0.02 * np.abs(mine).max()
