import numpy as np
import pytest

from minibitnet.experiments import bitlinear_flow
from minibitnet.nn.layers import BinaryLinear


def test_a_bitlinear_step_by_step_is_the_layer_bit_for_bit():
    """8 features of 3 sequences of 5 tokens to 16: LN and Quant keep the shape, gamma has one number a token, beta one in all."""
    r = bitlinear_flow.quick()
    assert r["as_the_layer"] is True
    assert [tuple(s["shape"]) for s in r["bitlinear"]] == [(8, 3, 5), (8, 3, 5), (8, 3, 5), (1, 3, 5), (16, 8), (1, 1), (16, 3, 5), (16, 3, 5)]
    by_name = {s["name"]: s["values"] for s in r["bitlinear"]}
    assert by_name["Quant(LN(x))"] == "whole numbers from -127 to 127" and by_name["W~ = Sign(W - alpha)"] == "whole numbers from -1 to 1"


def test_another_layer_would_be_found_out(monkeypatch):
    r = bitlinear_flow.quick()
    monkeypatch.setattr(BinaryLinear, "__call__", lambda self, x: x)
    r["as_the_layer"] = bitlinear_flow.inside_a_bitlinear()[1]
    assert r["as_the_layer"] is False and any("other numbers" in line and "(differs)" in line for line in bitlinear_flow.in_words(r))


def test_the_stack_has_every_layer_in_the_order_of_its_call_with_its_shapes():
    calls = bitlinear_flow.stack()
    assert [c["name"] for c in calls] == ["embed_tokens", "layers.0", *(f"layers.0.{name}" for name in (
        "input_layernorm", "self_attn", "self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.attn_sub_norm", "self_attn.o_proj",
        "post_attention_layernorm", "mlp", "mlp.gate_proj", "mlp.up_proj", "mlp.ffn_sub_norm", "mlp.down_proj")), "norm", "lm_head"]
    assert calls[0]["in"] == [3, 5] and calls[-1]["out"] == [32, 3, 5] and all(a["out"][1:] == [3, 5] for a in calls)


def test_what_stands_side_by_side_is_one_box():
    texts = bitlinear_flow.boxes(bitlinear_flow.stack())
    assert len(texts) == 8 and texts[1] == "q_proj, k_proj, v_proj: BinaryLinear\n(8, 3, 5) -> (8, 3, 5)" and texts[5].startswith("gate_proj, up_proj: ")


def test_the_values_of_a_step_are_those_of_its_array():
    assert bitlinear_flow.step("a", np.array([[-1.0, 2.5]]))["values"] == "numbers from -1 to 2.5"
    assert bitlinear_flow.step("a", np.array([[-1.0, 2.0]]))["values"] == "whole numbers from -1 to 2"


def test_it_is_drawn(tmp_path):
    pytest.importorskip("matplotlib")
    assert bitlinear_flow.figure(bitlinear_flow.quick(), tmp_path / "f.png") and (tmp_path / "f.png").read_bytes().startswith(b"\x89PNG")
