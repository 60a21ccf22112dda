"""The model's configuration: sizes, checked and counted before any array exists."""
import math
from dataclasses import dataclass

from ..errors import UserError
from ..options import check_choices, check_range, check_types, option
from ..variants import RMS, VARIANTS, Variant

MAX_PARAMETERS = 2**29    # 2 GiB of float32


@dataclass(frozen=True)
class ModelConfig:
    """The sizes of a Transformer, and which variant it is; UserError for sizes that make no model."""
    vocab_size: int = option(256, "token ids; the train command takes the tokenizer's number")
    linear: str = option("ternary", "what the projections are", choices=VARIANTS,
                         hint=" (one of your own is registered first: minibitnet.register_variant)")
    d_model: int = option(128, "width of the residual stream")
    n_layers: int = option(4, "blocks")
    n_heads: int = option(4, "query heads; must divide d-model")
    n_kv_heads: int = option(0, "key/value heads; must divide n-heads; 0: as many as n-heads")
    d_ffn: int = option(0, "width of the feed-forward layer; 0: 2.75 times d-model")
    context: int = option(128, "longest sequence, in tokens")
    activation: str = option("silu", "feed-forward gate: SwiGLU, or the squared ReLU of 2B-4T",
                             choices=("silu", "relu2"))
    tied: bool = option(False, "share one matrix between embedding and head")
    rope_theta: float = option(10000.0, "base of the rotary angles")
    norm_eps: float = option(1e-6, "added to the mean square inside every norm")
    d_head: int = option(0, "width of a head; 0: d-model divided by n-heads")

    def __post_init__(self):
        check_types(self)
        check_range(self, n_kv_heads=(0, 2**20), d_ffn=(0, 2**24), d_head=(0, 2**16))
        object.__setattr__(self, "n_kv_heads", self.n_kv_heads or self.n_heads)
        object.__setattr__(self, "d_ffn", self.d_ffn or 11 * self.d_model // 4)
        check_choices(self)
        check_range(self, vocab_size=(1, 2**31), d_model=(1, 2**20), n_layers=(1, 1024), n_heads=(1, 2**20),
                    n_kv_heads=(1, 2**20), d_ffn=(1, 2**24), context=(1, 2**24), rope_theta=(1, 1e12),
                    norm_eps=(0, 1))
        if self.d_head % 2:
            raise UserError(f"d_head = {self.d_head}: expected an even number, for features turn in pairs")
        if not self.d_head and (self.d_model % self.n_heads or self.head_dim % 2):
            raise UserError(f"n_heads = {self.n_heads} cuts d_model = {self.d_model} into heads of "
                            f"{self.d_model / self.n_heads:g}: expected a whole, even number")
        if self.n_heads % self.n_kv_heads:
            raise UserError(f"n_kv_heads = {self.n_kv_heads} does not divide n_heads = {self.n_heads}")

    @property
    def head_dim(self):
        return self.d_head or self.d_model // self.n_heads

    @property
    def d_attention(self):
        """All query heads together."""
        return self.n_heads * self.head_dim

    @property
    def variant(self) -> Variant:
        return VARIANTS[self.linear]

    @property
    def summary(self) -> str:
        """The variant and the sizes, in words."""
        return (f"{self.linear}, {self.n_parameters:,} parameters, {self.n_layers} layers {self.d_model} "
                f"wide, {self.vocab_size:,} tokens, context {self.context:,}")

    def tensor_shapes(self):
        """{name: shape} of every parameter, in the model's order: matrices, outputs by inputs, and gains.

        The names are those of Hugging Face's ``BitNetForCausalLM`` (with "model." before all but the head's).
        """
        V, d, F = self.vocab_size, self.d_model, self.d_ffn
        d_q, d_kv = self.d_attention, self.n_kv_heads * self.head_dim
        norm, sub_norm = self.variant.norm, self.variant.sub_norm

        def gain(norm, size):
            return (size,) if norm == RMS else None                      # the other norms have none
        block = {
            "input_layernorm": gain(norm, d),
            "self_attn.q_proj": (d_q, d),
            "self_attn.k_proj": (d_kv, d),
            "self_attn.v_proj": (d_kv, d),
            "self_attn.attn_sub_norm": gain(sub_norm, d_q),
            "self_attn.o_proj": (d, d_q),
            "post_attention_layernorm": gain(norm, d),
            "mlp.gate_proj": (F, d),
            "mlp.up_proj": (F, d),
            "mlp.ffn_sub_norm": gain(sub_norm, F),
            "mlp.down_proj": (d, F),
        }
        shapes = {"embed_tokens.weight": (V, d)}
        for i in range(self.n_layers):
            shapes |= {f"layers.{i}.{name}.weight": shape for name, shape in block.items() if shape}
        return shapes | {"norm.weight": (d,)} | ({} if self.tied else {"lm_head.weight": (V, d)})

    @property
    def n_parameters(self):
        """Counted from the sizes, before any array exists."""
        return sum(map(math.prod, self.tensor_shapes().values()))


def check_size(c):
    """UserError for a model of more than 2 GiB: a mistyped size should not take the machine down."""
    if c.n_parameters > MAX_PARAMETERS:
        raise UserError(f"this model has {c.n_parameters:,} parameters: expected at most {MAX_PARAMETERS:,}; "
                        f"is a size mistyped?")
