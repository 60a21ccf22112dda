"""Every experiment, by the name that data/paper/claims.toml and data/results/NAME.json give it."""
from . import (after_training, bitlinear, capacity, comparisons, distillation, edge, energy, few_bits,
               groups, joules, kv_cache, latency, miniature_costs, miniature_parts, miniatures, operations,
               recipes, throughput, weights)

SUBJECTS = (energy, weights, capacity, comparisons, bitlinear, groups, operations, joules, latency,
            throughput, kv_cache, recipes, miniatures, miniature_costs, miniature_parts, edge,
            after_training, few_bits, distillation)
EXPERIMENTS = {name: experiment for subject in SUBJECTS for name, experiment in subject.EXPERIMENTS.items()}
