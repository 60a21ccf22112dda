"""The variance of a BitLinear's output, and what happens inside it, against the layer and the model."""
import numpy as np
import pytest

from minibitnet.experiments import bitlinear
from minibitnet.experiments.lines import as_text
from minibitnet.nn import layers, ops

# ---- the variance


def test_the_norm_keeps_the_variance_whatever_the_width_and_the_input():
    """2 / pi = 0.637 for binary weights, times 0.690 for ternary ones; 512 outputs of 64 tokens are within a
    tenth of it."""
    result = bitlinear.variance()
    assert f"{bitlinear.NOT_ZERO:.3f}" == "0.690" and len(result["rows"]) == 2 * 2 * 3
    for r in result["rows"]:
        assert r["with_norm"] == pytest.approx(result["expected"][r["weights"]], rel=0.1)
        of_input = r["with_norm"] * r["input"] ** 2
        assert r["without"] == pytest.approx(of_input, rel=0.1), "without the norm it follows the input"


# ---- (a) a BitLinear, (b) a block

def test_a_bitlinear_step_by_step_is_the_layer_bit_for_bit():
    """8 features of 3 sequences of 5 tokens become 16. LN and Quant keep the shape; gamma is one number a
    token, beta one in all."""
    r = bitlinear.bitlinear_flow()
    features, outputs, a_token = (8, 3, 5), (16, 3, 5), (1, 3, 5)
    assert r["as_the_layer"] is True
    assert [tuple(s["shape"]) for s in r["bitlinear"]] == [features, features, features, a_token, (16, 8),
                                                           (1, 1), outputs, outputs]
    by_name = {s["name"]: s["values"] for s in r["bitlinear"]}
    assert by_name["Quant(LN(x))"] == "whole numbers from -127 to 127"
    assert by_name["W~ = Sign(W - alpha)"] == "whole numbers from -1 to 1"


def test_another_layer_would_be_found_out(monkeypatch):
    r = bitlinear.bitlinear_flow()
    monkeypatch.setattr(layers.BinaryLinear, "__call__", lambda self, x: x)
    r["as_the_layer"] = bitlinear.inside_a_bitlinear()[1]
    assert r["as_the_layer"] is False
    lines = map(as_text, bitlinear.bitlinear_flow_in_words(r))
    assert any("other numbers" in line and "(differs)" in line for line in lines)


def test_the_stack_has_every_layer_and_what_is_between_in_order_with_its_shapes():
    calls = bitlinear.stack()
    of_block = """
        input_layernorm
        self_attn self_attn.q_proj rope self_attn.k_proj rope self_attn.v_proj
        causal_attention self_attn.attn_sub_norm self_attn.o_proj add
        post_attention_layernorm
        mlp mlp.gate_proj mlp.up_proj swiglu mlp.ffn_sub_norm mlp.down_proj add
    """.split()
    names = [c["name"].removeprefix("layers.0.") for c in calls]
    assert names == ["embed_tokens", "layers.0", *of_block, "norm", "lm_head"]
    assert calls[0]["in"] == [3, 5] and calls[-1]["out"] == [32, 3, 5]
    assert all(c["out"][1:] == [3, 5] for c in calls)
    assert layers.ops is ops, "afterwards the ops are themselves again"


def test_what_stands_side_by_side_is_one_box():
    texts = bitlinear.boxes(bitlinear.stack())
    assert [text.split(":")[0] for text in texts] == [
        "input_layernorm", "q_proj, k_proj, v_proj", "rope of q_proj, rope of k_proj", "causal_attention",
        "attn_sub_norm", "o_proj", "add",
        "post_attention_layernorm", "gate_proj, up_proj", "swiglu", "ffn_sub_norm", "down_proj", "add"]
    assert texts[8] == "gate_proj, up_proj: BinaryLinear\n(8, 3, 5) -> (16, 3, 5)"


def test_the_values_of_a_step_are_those_of_its_array():
    assert bitlinear.step("a", np.array([[-1.0, 2.5]]))["values"] == "numbers from -1 to 2.5"
    assert bitlinear.step("a", np.array([[-1.0, 2.0]]))["values"] == "whole numbers from -1 to 2"
    assert bitlinear.step("a", np.array([[0.25]]))["values"] == "0.25"


def test_the_norm_is_drawn_in_both_panels_and_the_first_says_that_it_is_the_same(monkeypatch):
    """[bitnet] draws it inside BitLinear; here it is a layer in front of several."""
    drawn = {}
    monkeypatch.setattr(bitlinear.plotting, "flow", lambda columns, path: drawn.update(columns))
    bitlinear.draw_bitlinear_flow(bitlinear.bitlinear_flow(), None)
    inside, block = drawn.values()
    assert inside[1][0].startswith("LN(x): a LayerNorm of (b)")
    assert block[0][0].startswith("input_layernorm: LayerNorm")


def test_it_is_drawn(tmp_path):
    pytest.importorskip("matplotlib")
    assert bitlinear.draw_bitlinear_flow(bitlinear.bitlinear_flow(), tmp_path / "f.png")
    assert (tmp_path / "f.png").read_bytes().startswith(b"\x89PNG")
