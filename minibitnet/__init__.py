"""minibitnet: BitNet (1-bit language models) in pure NumPy, written to be read.

Names load on first use (PEP 562), so that ``import minibitnet`` costs nothing and a command can set thread
counts before NumPy starts. README.md says in which order to read the source.
"""
import difflib
import importlib
from pathlib import Path

__version__ = "0.1.0"

_HOMES = {
    "Fit": "fitting",
    "History": "fitting",
    "LanguageModel": "language_model",
    "Layer": "looking",
    "ModelConfig": "nn.config",
    "Quantized": "quant",
    "TrainConfig": "nn.training",
    "Transformer": "nn.model",
    "UserError": "errors",
    "absmax_int8": "quant",
    "absmean_ternary": "quant",
    "dequantize": "quant",
    "draw_attention": "drawing",
    "draw_bytes": "drawing",
    "draw_histogram": "drawing",
    "draw_loss": "drawing",
    "draw_weights": "drawing",
    "fit": "fitting",
    "load": "api",
    "register_variant": "variants",
    "sign_binary": "quant",
    "straight_through": "nn.ste",
    "vjp_error": "nn.gradcheck",
}
_FOLDERS = ("experiments", "formats", "inference", "measure", "nn", "stories", "text")
__all__ = sorted([*_HOMES, "__version__"])


def __getattr__(name):
    if name in _HOMES:
        value = getattr(importlib.import_module(f".{_HOMES[name]}", __name__), name)
    elif name in __dir__():
        value = importlib.import_module(f".{name}", __name__)
    else:
        near = difflib.get_close_matches(name, __dir__(), 1)
        raise AttributeError(f"module 'minibitnet' has no attribute {name!r}" +
                             (f"; did you mean {near[0]!r}?" if near else ""))
    globals()[name] = value                      # found once
    return value


def __dir__():
    modules = (path.stem for path in Path(__file__).parent.glob("[a-z]*.py"))
    return sorted({*__all__, *_FOLDERS, *modules})
