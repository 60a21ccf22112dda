"""data/results/ranks.md: training on several ranks."""
import math

from ..measure import plotting
from ..measure.cluster import NETWORKS, bytes_sent, efficiency
from ..measure.timing import spread
from ..measure.train_bench import OURS, SIZES
from ..nn.config import ModelConfig
from ..nn.training import SHARD_TOKENS, number_of_shards
from .markdown import made_by, page, record, rows, table

RECORDS = MEASURED, SAME = "ranks", "with_ranks"
MACHINES = 2, 4, 8, 16, 32, 64
SHARDS = 64, 512                                 # of a batch: of 32,768 and 262,144 tokens
ADAMW = "AdamW, clipping"                        # an op of the profile
DRAWN = "M"


def ranks():
    """Training on several ranks."""
    text = ("`mpiexec -n 8 python -m minibitnet.train` trains one model on eight processes, on one machine "
            "or on several ([how](../../minibitnet/cluster.md)). The model's bytes are those of one process: "
            "the gradients of the batch's shards are added up in one tree over the shards, whoever computes "
            "them ([ranks.py](../../minibitnet/nn/ranks.py)).")
    return page("# Several ranks", text, same_bytes(), made_by(SAME), measured(), made_by(MEASURED),
                on_paper(), ["", "![efficiency by machines](ranks.png)"], made_by("train", "profile"),
                instead())


def same_bytes():
    """What was done to ranks, and what became of the bytes."""
    found = record(SAME)["result"]
    config, kills = found["config"], found["killed"]
    arms = [arm for arm in ("ternary", "binary", "float") if arm in found]
    runs = [row for arm in arms for row in found[arm]["runs"]]
    yield "## The same bytes"
    yield ""
    yield (f"Runs of {config['steps']} steps, parameters and optimizer compared with the run of one process "
           "without MPI:")
    yield ""

    def share(of):
        return f"{sum(map(bool, of))} of {len(of)}"
    network = found["network"]
    of_network = ([] if network is None else [(
        f"{network['ranks']} ranks with a network address each, in namespaces of one machine",
        share([value for key, value in network.items() if key.startswith("same")]))])
    yield from table(("", "the same bytes"), [
        (f"{', '.join(arms)}; {', '.join(map(str, config['ranks']))} ranks of "
         f"{' and '.join(map(str, config['threads']))} threads; the optimizer's state on every rank, or "
         "spread",
         share([row[-1] for row in runs])),
        ("interrupted on 3 ranks, gone on with on 2", share([found["interrupted"]["same"]])),
        *of_network,
        ("one of 3 ranks killed (`kill -9`) at a random moment, gone on with on 2",
         share([one["same"] for one in kills if one["resumed"]]))])
    yield ""
    yield (f"After a kill the others were gone within {max(one['ended'] for one in kills):.2f} s at most. "
           "Of it the launcher gives a report, of "
           f"{max(one['launcher'] for one in kills)} lines at most; it ends the other ranks, which say "
           f"{max(one['said'] for one in kills) or 'nothing'} more.")


def measured():
    """Ranks of one machine beside the threads of one process."""
    found = rows(MEASURED)
    yield "## On one machine"
    yield ""
    yield ("A step of the sizes that [speed](speed.md) names, by one process and by ranks that share out its "
           "threads, each alone on the machine, in turn. *Sent*: by a rank in a step, 10^6 bytes; *waiting*: "
           "share of the time in which a rank sends or waits for another.")
    yield ""
    names = list(dict.fromkeys(key for r in found for key, value in r.items() if isinstance(value, dict)))
    yield from table(("", "", "threads each", "tokens/s", "sent, MB", "waiting", "beside one process"), [
        (f"{r['size']} {r['linear']}", name, of["threads"], f"{of['tokens_per_s']:,.0f}",
         f"{of['sent_mb']:,.1f}", f"{of['in_communication']:.1%}", spread(of["to_one_process"]))
        for r in found for name in names if (of := r.get(name))])
    yield ""


def costs(size):
    """-> ({name: numbers}, A, t): seconds of AdamW in a step and of a shard, ternary, of a machine as the one
    that was measured."""
    sizes, batch = SIZES[size]
    [trained] = (r for r in rows("train") if (r["size"], r["linear"]) == (size, "ternary"))
    [profile] = (r["by_op"] for r in rows("profile") if r["size"] == size)
    step = batch * sizes["context"] / trained[OURS]["tokens_per_s"]
    shards, fixed = number_of_shards(batch, sizes["context"]), profile[ADAMW] / 1e3       # it has no threads
    numbers = {name: math.prod(shape) for name, shape in ModelConfig(**sizes).tensor_shapes().items()}
    return numbers, fixed, (step - fixed) / shards


def on_paper():
    """What a cluster would make of it."""
    yield "## On a cluster, on paper"
    yield ""
    yield ("Efficiency: the speed of n machines over n times the speed of one, for machines as fast as the "
           f"one of [speed](speed.md) ({rows('train')[0]['threads']} threads), by the formula in "
           "[cluster.py](../../minibitnet/measure/cluster.py) and networks as they are sold. A batch has "
           f"{SHARDS[0]} or {SHARDS[1]} shards of {SHARD_TOKENS} tokens; no more machines than shards "
           "have work.")
    yield ""
    lines = []
    for size in SIZES:
        parameters, fixed, each = costs(size)
        for shards in SHARDS:
            for network in NETWORKS:
                shares = (efficiency(parameters, shards, n, network, fixed=fixed, each=each)
                          for n in MACHINES)
                model = f"{size}, {sum(parameters.values()) / 1e6:.1f}M"
                lines.append((model, f"{shards * SHARD_TOKENS:,}", network.name,
                              *map("{:.0%}".format, shares)))
    yield from table(("model", "tokens a step", "network", *map(str, MACHINES)), lines)


def instead():
    """What could be sent instead."""
    parameters, shards = costs("L")[0], SHARDS[0]
    yield "## What is sent, and what could be"
    yield ""
    yield ("What is sent are gradients and their sums in float32, of ternary models too: the weights have "
           "1.58 bits where they are used, the latent weights that training moves have 32. A machine of "
           f"{MACHINES[-1]} sends {bytes_sent(parameters, shards, MACHINES[-1]) / 1e6:,.0f} MB in a step of "
           "L, whatever the variant.")
    yield ""
    yield ("Of a matrix, a shard's gradient is whole numbers below 2^24 in magnitude, times a unit for each "
           "row and each column ([exact.py](../../minibitnet/exact.py)). So 25 bits would carry the same "
           f"numbers, {1 - 25 / 32:.0%} less. With units in common, for which a maximum of every row and "
           "column has to go round first, the sum itself would be one of whole numbers, which has no order: "
           "MPI's own all-reduce would give the same bytes on any number of ranks, without our tree. And on "
           "a coarser grid of b bits the sum of S shards takes b + log2 S: for 8 bits and 64 shards 14 bits, "
           f"{bytes_sent(parameters, shards, MACHINES[-1], 14) / 1e6:,.0f} MB in place of "
           f"{bytes_sent(parameters, shards, MACHINES[-1]) / 1e6:,.0f}. That would be another training, "
           "still the same on any number of ranks; what it does to the loss was not tried.")


def draw(path):
    """Efficiency by machines, of one size, a panel for each batch."""
    parameters, fixed, each = costs(DRAWN)
    panels = [(f"machines, {shards * SHARD_TOKENS:,} tokens a step", f"efficiency of {DRAWN} (%)", {
        network.name: {n: 100 * efficiency(parameters, shards, n, network, fixed=fixed, each=each)
                       for n in MACHINES} for network in NETWORKS}) for shards in SHARDS]
    return plotting.panels(panels, path)
