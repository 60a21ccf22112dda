"""What a model costs, counted from its sizes."""
from ..formats.packed import is_bitlinear, tensor_shapes


def memory(c, bytes_of_rest=4):
    """Bytes of a ternary or binary model by component -> {component: (numbers, bytes packed, bytes in 16 bits, bytes in 32 bits)}.

    Packed: two bits for every weight of a BitLinear (rows in fours), four bytes for its scale, ``bytes_of_rest`` for every other
    number. One token in the key-value cache costs the last line in addition: float32 as the engines keep it by default.
    """
    rows = {name: [0, 0] for name in ("BitLinear weights", "BitLinear scales", "norms", "embedding", "head")}
    for name, shape in tensor_shapes(c).items():
        n, m = shape if len(shape) == 2 else (shape[0], 1)
        if is_bitlinear(name):
            _add(rows["BitLinear weights"], n * m, -(-n // 4) * m)
            _add(rows["BitLinear scales"], 1, 4)
        else:
            part = {"embed_tokens.weight": "embedding", "lm_head.weight": "head"}.get(name, "norms")
            _add(rows[part], n * m, n * m * bytes_of_rest)
    table = {name: (numbers, packed, 2 * numbers, 4 * numbers) for name, (numbers, packed) in rows.items()}
    table["BitLinear scales"] = (*table["BitLinear scales"][:2], 0, 0)                # a float model has none
    total = [sum(row[i] for row in table.values()) for i in range(4)]
    kv = 2 * c.n_layers * c.n_kv_heads * c.head_dim
    return table | {"total": tuple(total), "KV cache, a token": (kv, 4 * kv, 2 * kv, 4 * kv)}


def _add(row, numbers, bytes):
    row[0] += numbers
    row[1] += bytes
