"""minibitnet: BitNet (1-bit language models) in pure NumPy, written to be read.

Names load on first use (PEP 562), so that ``import minibitnet`` costs nothing and a command can set thread
counts before NumPy starts. README.md says in which order to read the source.
"""
import importlib

__version__ = "0.1.0"

_HOMES = {
    "ModelConfig": "nn.config",
    "Quantized": "quant",
    "TrainConfig": "nn.training",
    "Transformer": "nn.model",
    "UserError": "errors",
    "absmax_int8": "quant",
    "absmean_ternary": "quant",
    "dequantize": "quant",
    "load": "api",
    "sign_binary": "quant",
}
__all__ = sorted(_HOMES)


def __getattr__(name):
    if name not in _HOMES:
        raise AttributeError(f"module 'minibitnet' has no attribute {name!r}")
    return getattr(importlib.import_module(f".{_HOMES[name]}", __name__), name)


def __dir__():
    return __all__
