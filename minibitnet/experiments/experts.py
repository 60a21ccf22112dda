"""[b158] §4: a mixture of experts needs fewer devices with ternary weights, and sends half as much between them. Counted, for one shape.

The experts of a layer have the matrices of one feed-forward network as wide as all of them; a router of one row per expert stays in 16 bits.
"""
import math

from ..measure.costs import Shape, weight_bytes
from .lines import Line

EXPERTS, ACTIVE, WIDTH = 8, 2, 14_336            # Mixtral 8x7B's
ATTENTION = Shape(n_layers=32, d=4096, d_attention=4096, d_kv=1024, d_ffn=0, n_heads=32, vocab=32_000)
DEVICES = (24e9, 80e9)


def quick():
    """-> {"shape", "parameters", "active": of them at work for a token, "bytes", "sent": bytes for a token and layer, "devices": how many}"""
    (ternary, all_of_it), (_, active) = (weight_bytes(ATTENTION._replace(d_ffn=n * WIDTH)) for n in (EXPERTS, ACTIVE))
    routers = 2 * ATTENTION.n_layers * ATTENTION.d * EXPERTS                                     # bytes
    size = {"ternary": ternary + routers, "float16": all_of_it + routers}
    sent = {"ternary": ACTIVE * (ATTENTION.d + 2), "float16": ACTIVE * ATTENTION.d * 2}          # int8 codes and a 16-bit scale
    return {"shape": ATTENTION._asdict() | {"d_ffn": WIDTH, "experts": EXPERTS, "active": ACTIVE}, "parameters": size["float16"] // 2,
            "active": (active + routers) // 2, "bytes": size, "sent": sent,
            "devices": {f"{room / 1e9:.0f} GB": {kind: math.ceil(b / room) for kind, b in size.items()} for room in DEVICES}}


def in_words(result):
    """Memory, devices, traffic."""
    b, sent = result["bytes"], result["sent"]
    for room, n in result["devices"].items():
        yield Line("fewer devices", f"{n['ternary']} of {room} in place of {n['float16']}",
                   "weights alone, Mixtral 8x7B's shape", differs=n["ternary"] >= n["float16"])
    here = f"{sent['ternary']:,} in place of {sent['float16']:,} sent to the experts, for a token and layer"
    yield Line("fewer bytes between chips", here, "8-bit codes and a scale", differs=sent["ternary"] >= sent["float16"])
    parameters = f"{result['parameters'] / 1e9:.1f}e9 parameters, {result['active'] / 1e9:.1f}e9 at work for a token"
    yield Line("less memory", f"{b['ternary'] / 1e9:.1f} GB ternary, {b['float16'] / 1e9:.1f} GB in 16 bits", parameters)
