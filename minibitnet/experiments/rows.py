"""Every table, figure, equation and claim of the papers, and what this project makes of it.

[bitnet] arXiv 2310.11453 · [b158] arXiv 2402.17764 · [2b4t] arXiv 2504.12285 · [repo] github.com/microsoft/BitNet

``python -m minibitnet.reproduce NAME`` runs the experiment of a row: a module of this folder with

    quick() -> result                at most a minute, live; a result is JSON
    in_words(result) -> lines        "paper | here | scale", the first of which sums up the row, or text
    full(progress) -> result         where it makes sense: what data/results/ holds; progress wraps an iterable, as tqdm does
    figure(result, path) -> bool     where it makes sense; False where matplotlib is absent
    measured(result) -> bool         where it depends on the machine: True makes the row's state MEASURED (``after``)

States: EXACT, the printed number or the formula itself; INFERRED, exact with a formula or a shape that the papers do not print;
MEASURED, run here at a small scale; NOT_YET; or a sentence that begins "not reproducible here, because". What was counted or measured and does not
come out as printed is said in ``but``; the experiment marks it "(differs)".
"""
import difflib
from typing import NamedTuple

from ..errors import UserError

EXACT, INFERRED, MEASURED, NOT_YET = "exact", "inferred", "measured small", "not yet"
NEVER = "not reproducible here, because "


class Row(NamedTuple):
    name: str
    source: str
    claim: str
    state: str
    experiment: str = ""     # a module of this folder, of this row alone
    home: str = ""           # where there is none: the function or class that is the formula
    but: str = ""            # what differs from the claim

    @property
    def standing(self):
        """The state, and what differs."""
        return self.state + f", but {self.but}" * bool(self.but)


ROWS = (
    # [bitnet]: definitions
    Row("b1-eq-1", "[bitnet] eq. 1", "weights become Sign(W - alpha)", EXACT, home="quant.sign_binary"),
    Row("b1-eq-2", "[bitnet] eq. 2", "Sign is +1 above zero and -1 at zero and below", EXACT, home="quant.sign_binary"),
    Row("b1-eq-3", "[bitnet] eq. 3", "alpha is the mean of the weights", EXACT, home="quant.sign_binary"),
    Row("b1-eq-4", "[bitnet] eq. 4", "activations are scaled by Q_b / gamma and clipped", EXACT, home="quant.absmax_int8",
        but="they are rounded, too, and Q_b is 127, as in the released code"),
    Row("b1-eq-5", "[bitnet] eq. 5", "gamma is the largest magnitude", EXACT, home="quant.absmax_int8"),
    Row("b1-eq-6", "[bitnet] eq. 6", "in front of a non-linearity, activations go to [0, Q_b]", EXACT, home="quant.absmax_nonnegative",
        but="gamma is taken after the shift by eta, which the paper leaves open"),
    Row("b1-granularity", "[bitnet] §2.1", "one activation scale per tensor in training, per token at inference",
        EXACT, home="nn.layers.BinaryLinear", but="in training it is one per shard of the batch"),
    Row("b1-eq-7", "[bitnet] eq. 7", "the product takes the quantized weights and activations, y = W~ x~", EXACT, home="nn.ops.quantized_linear"),
    Row("b1-eq-8", "[bitnet] eqs. 8-10", "the norm keeps the variance of the output near 1", MEASURED, "variance",
        but="it is 2 / pi = 0.64 with binary weights, 0.44 with ternary ones"),
    Row("b1-eq-11", "[bitnet] eq. 11", "BitLinear: y = W~ Quant(LN(x)) beta gamma / Q_b", EXACT, home="nn.layers.BinaryLinear",
        but="LN is a layer of its own in front of it"),
    Row("b1-eq-12", "[bitnet] eq. 12", "LN has no gain or bias; beta is the mean magnitude of the weights (quant.sign_binary)",
        EXACT, home="nn.ops.layer_norm"),
    Row("b1-eq-13", "[bitnet] eq. 13", "groups of weights have their own alpha and beta: devices need not exchange any", MEASURED, "groups"),
    Row("b1-eq-14", "[bitnet] eq. 14", "groups of activations have their own gamma and eta", EXACT, home="quant.absmax_nonnegative",
        but="with an eta, gamma is taken after the shift"),
    Row("b1-eq-15", "[bitnet] eq. 15", "each group is normed by itself", EXACT, home="nn.ops.layer_norm"),
    Row("b1-subln", "[bitnet] §2.1, Fig. 2", "the norm stands inside BitLinear, right before the activations are quantized",
        EXACT, home="nn.layers.BitLinear", but="it stands in front of BitLinear here: one for q, k and v, one for gate and up"),
    Row("b1-precision", "[bitnet] §2", "residual stream, norms, attention, embedding and head keep a higher precision",
        EXACT, home="nn.model.Transformer"),
    Row("b1-ste", "[bitnet] §2.2", "the gradient passes Sign and Clip as if they were the identity", EXACT, home="nn.ste.binary_weight"),
    Row("b1-latent", "[bitnet] §2.2", "latent weights, gradients and optimizer keep a high precision; inference has no latent weights", EXACT,
        home="nn.layers.Module.quantized"),
    Row("b1-large-lr", "[bitnet] §2.2, §3.4", "a large learning rate helps BitNet and makes the FP16 Transformer diverge", NOT_YET),
    Row("b1-eq-16", "[bitnet] eqs. 16-17", "energy of a full-precision product", EXACT, home="experiments.energy.transformer_energy",
        but="n additions are counted for the printed n - 1"),
    Row("b1-eq-18", "[bitnet] eq. 18", "only the scaling multiplies in BitNet's product", EXACT, home="experiments.energy.bitnet_energy"),
    Row("b1-eq-19", "[bitnet] eq. 19", "loss over parameters follows a N^b + c; it predicts 13B and 30B, and the gap to FP16 shrinks", NOT_YET),
    Row("b1-inference-law", "[bitnet] §3.2", "at the same inference energy BitNet has a much lower loss", NOT_YET),
    # [bitnet]: tables
    Row("b1-table-1", "[bitnet] Table 1", "energy for 512 tokens at 6.7B, 13B and 30B, two process nodes", INFERRED, "energy_table",
        but="two of 36 cells differ, by six thousandths of a joule at most"),
    Row("b1-table-2", "[bitnet] Table 2",
        "picojoules of an addition and a multiplication (taken over: all energies here are counts at these prices)", EXACT,
        home="experiments.energy.prices"),
    Row("b1-table-3", "[bitnet] Table 3", "at 6.7B BitNet scores near 8-bit models and above every post-training quantization below", NOT_YET),
    Row("b1-table-4", "[bitnet] Table 4", "absmax with SubLN beats elastic activations, Pre-LN and BMT", NOT_YET),
    Row("b1-table-5", "[bitnet] Table 5", "sizes of eight models from 125M to 30B", INFERRED, "parameters",
        but="the shapes hold 0.6 to 12 % fewer parameters than the names say"),
    Row("b1-table-6", "[bitnet] Table 6", "hyperparameters of the scaling experiments",
        NEVER + "40,000 updates of 256,000 tokens each are 10 billion tokens"),
    Row("b1-table-7", "[bitnet] Table 7", "hyperparameters of the stability test",
        NEVER + "its updates of 128,000 tokens are for models of the papers' size"),
    Row("b1-table-8", "[bitnet] Table 8", "hyperparameters of the ablations", NEVER + "40,000 updates of 256,000 tokens each are 10 billion tokens"),
    # [bitnet]: experiments and figures
    Row("b1-data", "[bitnet] §3.1", "Pile, CommonCrawl, RealNews, CC-Stories; a SentencePiece vocabulary of 16,000",
        NEVER + "the corpora are far larger than this project: stories of a known grammar and byte-level BPE stand in"),
    Row("b1-fig-1", "[bitnet] Fig. 1", "energy savings of 8.8 to 38.8 times grow with the size", INFERRED, "savings",
        but="two of six differ in the last digit"),
    Row("b1-fig-1-quality", "[bitnet] Fig. 1", "better than post-training quantization, and competitive with FP16", NOT_YET),
    Row("b1-fig-2", "[bitnet] Fig. 2", "the flow of BitLinear, and the stack of blocks", EXACT, "bitlinear_flow",
        but="the block is that of b1.58, and its norms stand in front of the BitLinears that share them"),
    Row("b1-fig-3", "[bitnet] Fig. 3", "loss over parameters, and over energy", NOT_YET),
    Row("b1-fig-4", "[bitnet] Fig. 4", "zero-shot and few-shot accuracy over inference cost", NOT_YET),
    Row("b1-downstream", "[bitnet] §3.3", "Hellaswag, Winogrande, Winograd and Storycloze, 0- and 4-shot",
        NEVER + "models of this size answer them by chance; multiple choice about stories stands in (minibitnet.evaluate --tasks)"),
    Row("b1-fig-5", "[bitnet] Fig. 5", "BitNet trains stably at rates where FP16 diverges, and gains from them", NOT_YET),
    Row("b1-fig-6", "[bitnet] Fig. 6", "against post-training quantization the advantage holds from 1.3B to 6.7B", NOT_YET),
    Row("b1-related", "[bitnet] §1, §6", "PagedAttention, FlashAttention and speculative decoding go with it; RetNet is next",
        NEVER + "the paper runs none of them; a key-value cache is here (inference/cache.py)"),
    # [b158]: definitions
    Row("b158-eq-1", "[b158] eq. 1", "weights become RoundClip(W / (gamma + eps), -1, 1)", EXACT, home="quant.absmean_ternary",
        but="it is max(gamma, eps), as in the released code"),
    Row("b158-eq-2", "[b158] eq. 2", "RoundClip rounds, then clips", EXACT, home="quant.round_clip"),
    Row("b158-eq-3", "[b158] eq. 3", "gamma is the mean magnitude of the weights", EXACT, home="quant.absmean_ternary"),
    Row("b158-activations", "[b158] §2", "activations per token to [-Q_b, Q_b], no zero point", EXACT, home="quant.absmax_int8"),
    Row("b158-llama", "[b158] §2", "RMSNorm, SwiGLU, rotary embedding, no bias", EXACT, home="nn.model.Transformer"),
    Row("b158-bits", "[b158] §1", "a weight of three values has log2(3) = 1.58 bits (five of them in a byte: 1.6)", EXACT, home="packing.pack_base3"),
    Row("b158-zero", "[b158] §1", "weights of 0 filter features, and so ternary models are better than binary ones", NOT_YET),
    Row("b158-data", "[b158] §3", "RedPajama, 100B tokens; perplexity on WikiText2 and C4", NEVER + "100 billion tokens are beyond this project"),
    # [b158]: tables, figures, claims
    Row("b158-table-1", "[b158] Table 1", "memory of 700M to 3.9B: 2.60 to 3.55 times less than LLaMA's", INFERRED, "memory_table",
        but="the weights alone are counted; the rest is what a running program takes"),
    Row("b158-table-1-ppl", "[b158] Table 1", "perplexity reaches LLaMA's from 3B on", NOT_YET),
    Row("b158-table-2", "[b158] Table 2", "zero-shot accuracy reaches LLaMA's from 3B on", NOT_YET),
    Row("b158-table-3", "[b158] Table 3", "11 times the batch of LLaMA 70B fits", INFERRED, "largest_batch",
        but="it comes out as 6.5 to 102 times, by the number of heads and bits in the cache"),
    Row("b158-table-3-rate", "[b158] Table 3", "with the batch, 8.9 times the tokens a second", MEASURED, "throughput",
        but="the tokens grow far less than the batch"),
    Row("b158-table-4", "[b158] Table 4", "after 2T tokens 3B beats StableLM-3B on five tasks", NEVER + "2 trillion tokens are beyond this project"),
    Row("b158-fig-1", "[b158] Fig. 1", "W x takes additions alone", EXACT, home="inference.kernels.by_lookup"),
    Row("b158-fig-1-pareto", "[b158] Fig. 1", "a Pareto improvement: less cost at the same quality", NOT_YET),
    Row("b158-fig-2-latency", "[b158] Table 1, Fig. 2", "decoding is 1.23 to 4.1 times faster, and the more so the larger the model",
        MEASURED, "latency", but="not the more so the larger"),
    Row("b158-fig-2-memory", "[b158] Fig. 2", "memory is 2.93 to 7.16 times less, and the more so the larger the model", INFERRED, "memory_ratios",
        but="it is 4.74 to 7.59 times, for the weights alone are counted"),
    Row("b158-fig-3", "[b158] Fig. 3", "energy: its components, and savings of 18.6 to 41.2 times", INFERRED, "energy_shares",
        but="two of five savings differ in the last digit"),
    Row("b158-71", "[b158] §3", "71.4 times less energy for a matrix product at 7 nm", EXACT, "one_product"),
    Row("b158-equivalences", "[b158] §3", "13B costs less than 3B in 16 bits, 30B less than 7B, 70B less than 13B", INFERRED, "equivalences",
        but="not in latency: with our kernels the larger model is slower"),
    Row("b158-moe", "[b158] §4", "mixtures of experts need fewer devices and less traffic", INFERRED, "experts"),
    Row("b158-long", "[b158] §4", "8-bit activations double the context in the same memory", EXACT, "contexts",
        but="it is 1.96 or 1.97 times, for each head and token has a scale"),
    Row("b158-kv-4", "[b158] §4", "activations, and so the cache, can be compressed to 4 bits or fewer without loss (future work)",
        MEASURED, "kv_cache", but="4 bits lose a little"),
    Row("b158-edge", "[b158] §4", "suited to processors and small devices", NOT_YET),
    Row("b158-hardware", "[b158] §4", "calls for new hardware", NEVER + "there is none; the integer engine is written as its specification"),
    Row("b158-cache-precision", "[repo] issue 41", "cache and embedding keep full precision", EXACT, home="inference.cache.KVCache"),
    # what is said of [repo], as of 16da220
    Row("repo-module", "[repo]", "a BitLinear module, in folders bitnet, models, quantization",
        NEVER + "it is not there: the repository is C++ kernels and scripts"),
    Row("repo-from-pretrained", "[repo]", "BitNet.from_pretrained(name)", NOT_YET),
    Row("repo-quantize-model", "[repo]", "quantize_model(model, bits=1.58)", NOT_YET),
    Row("repo-w158a8", "[repo]", "weights of 1.58 bits, activations of 8, absmean, SubLN, no bias", EXACT, home="nn.layers.BitLinear"),
    Row("repo-licence", "[repo]", "its licence is MIT", NEVER + "there is nothing to run: MIT is what its LICENSE says"),
    Row("repo-90-percent", "[repo]", "more than 90 % less memory than 16 bits", EXACT, "ninety_percent",
        but="only of the ternary weights at their entropy limit: it is 87.5 % at 2 bits, and 76 % of a whole model"),
    Row("repo-engine", "[repo]", "an inference engine and converters to GGUF", NOT_YET),
    # [2b4t]
    Row("2b4t-costs", "[2b4t] Table 1",
        "0.4 GB without embeddings and 0.028 J for 512 tokens, where models of its size take 1.4 to 4.8 GB and 0.186 to 0.649 J",
        INFERRED, "report_costs", but="one of twelve cells differs"),
    Row("2b4t-scores", "[2b4t] Table 1", "29 ms a token on a processor, and an average score of 54.19",
        NEVER + "the time is of bitnet.cpp on another processor, and the tasks need its weights"),
    # ours
    Row("recipes", "[b158] §1", "matches full precision in perplexity from 3B on", MEASURED, "recipes",
        but="models of a million parameters do not: ternary is worse, binary worse again"),
    Row("components", "[b158] §3", "parameters and bytes of the papers' models by component", INFERRED, "components"),
    Row("operations", "[bitnet] §2.3", "products of matrices contribute the most to a model's energy", MEASURED, "operations",
        but="a small model saves less than half of what the formula says"),
    Row("joules", "[bitnet] §2.3", "energy of this machine, by its own counter",
        NEVER + "no counter is shown; where Linux shows the processor's, the command measures", "joules"),
)


def after(row, experiment, result):
    """The row as it stands after a run: what cannot be measured here another machine may measure."""
    return row._replace(state=MEASURED) if hasattr(experiment, "measured") and experiment.measured(result) else row


def find(name):
    """The row of a name, or of an experiment's name; UserError for an unknown one."""
    row = next((r for r in ROWS if name and name in (r.name, r.experiment)), None)
    if row is None:
        near = difflib.get_close_matches(name.lower(), [n for r in ROWS for n in (r.name, r.experiment) if n], 1)
        raise UserError(f"no row is named {name!r}" + (f"; did you mean {near[0]}?" if near else "") + " (python -m minibitnet.reproduce --list)")
    return row
