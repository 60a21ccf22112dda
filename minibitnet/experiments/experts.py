"""[b158] §4: a mixture of experts needs fewer devices with ternary weights, and sends half as much between them. Counted, for one shape."""
import math

SHAPE = {"layers": 32, "d": 4096, "d_kv": 1024, "d_ffn": 14_336, "experts": 8, "active": 2, "vocab": 32_000}      # Mixtral 8x7B's
DEVICES = (24e9, 80e9)


def quick():
    """The row's figures, JSON-able, made on the spot."""
    s = SHAPE
    attention, expert = 2 * s["d"]**2 + 2 * s["d"] * s["d_kv"], 3 * s["d"] * s["d_ffn"]
    rest = 2 * s["vocab"] * s["d"] + s["layers"] * s["d"] * s["experts"]                         # embedding, head, routers
    ternary = s["layers"] * (attention + s["experts"] * expert)
    active = s["layers"] * (attention + s["active"] * expert)
    size = {"ternary": ternary / 4 + 2 * rest, "float16": 2 * (ternary + rest)}
    sent = {"ternary": s["active"] * (s["d"] + 2), "float16": s["active"] * s["d"] * 2}          # int8 codes and a 16-bit scale
    return {"shape": s, "parameters": ternary + rest, "active": active + rest, "bytes": size, "sent": sent,
            "devices": {f"{room / 1e9:.0f} GB": {kind: math.ceil(b / room) for kind, b in size.items()} for room in DEVICES}}


def in_words(result):
    """Lines "paper | here | scale" that tell a result, and what it does not say."""
    b, sent = result["bytes"], result["sent"]
    yield (f"memory | {b['ternary'] / 1e9:.1f} GB ternary, {b['float16'] / 1e9:.1f} GB in 16 bits | {result['parameters'] / 1e9:.1f}e9 parameters, "
           f"{result['active'] / 1e9:.1f}e9 at work for a token (Mixtral 8x7B's shape)")
    for room, n in result["devices"].items():
        yield f"fewer devices | {n['ternary']} of {room} in place of {n['float16']} | weights alone"
    yield (f"fewer bytes between chips | {sent['ternary']:,} in place of {sent['float16']:,} sent to the experts, for a token and layer | "
           "8-bit codes and a scale")
