"""Who computes which shard of a batch, and in which order the shards' gradients are added up.

The order is one tree over the shards, whoever computed them:

    node(a, b) = what shard a gives                        b - a = 1
               = node(a, m) + node(m, b)                   else,  m = a + ceil((b - a) / 2)

    8 shards:  ((0 + 1) + (2 + 3)) + ((4 + 5) + (6 + 7))

It depends on the number of shards alone. A *rank*, a process of several that train one model together, has
shards that follow each other, so whole nodes of the tree are its own: it sends these, ``pieces``, and no
single shards. Every sum is the same whoever adds it up, so a model's bytes do not depend on the number of
ranks.

``Alone`` is the one rank of a process by itself; ``mpi.py`` has those of several. What training asks of them:

    mine(n)              the shards that this rank computes, of n
    total(n, parts)      what its shards give, (loss, {name: gradient}) each, in order -> the sum over all
                         shards; of the gradients all, or those of a part that this rank *holds*
    gathered(values)     {name: float} of what it holds -> of all, on every rank
    numbers(values)      [float] of each rank -> those of every rank, a list each
    spread(arrays)       {name: array}: what each rank holds is put into every rank's arrays
    kept(arrays)         {name: array} of all -> of what it holds
    whole(arrays)        {name: array} of what it holds -> on rank 0 of all, for a checkpoint
    any(flag)            the largest of their flags

And what sets them up: own({name: shape}), of all parameters; told(text), a text of each -> (the first rank
that has one, or -1; it); same({name: array}), rank 0's put into every rank's; processors(n), its share of
those of its machine.
"""


def halves(a, b):
    """The two parts of the shards from a to b - 1."""
    m = a + -(-(b - a) // 2)
    return (a, m), (m, b)


def tree(a, b, leaf, add):
    """node(a, b), of leaf(a) .. leaf(b - 1), which are asked for in order; add(left, right) -> their sum."""
    if b - a == 1:
        return leaf(a)
    left, right = halves(a, b)
    left = tree(*left, leaf, add)                # before the right one is begun: few sums are there at a time
    return add(left, tree(*right, leaf, add))


def pieces(n, first, last, a=0, b=None):
    """The largest nodes (a, b) of the tree over n shards that lie within first .. last - 1, in order."""
    b = n if b is None else b
    if first >= last or b <= first or last <= a:
        return []
    if first <= a and b <= last:
        return [(a, b)]
    return [piece for half in halves(a, b) for piece in pieces(n, first, last, *half)]


def dealt(sizes, n):
    """{name: numbers} -> (names, numbers) of each of n ranks: the largest to whom has the least."""
    names, counts = [[] for _ in range(n)], [0] * n
    for name in sorted(sizes, key=sizes.get, reverse=True):
        least = counts.index(min(counts))
        names[least].append(name)
        counts[least] += sizes[name]
    return names, counts


def added(left, right):
    """Two (loss, gradients) -> their sum, in the memory of the left one."""
    for name, g in right[1].items():
        left[1][name] += g
    return left[0] + right[0], left[1]


class Alone:
    """The one rank of a process by itself."""
    rank, size, sent = 0, 1, 0                   # sent: bytes of gradients and parameters

    def mine(self, n):
        return range(n)

    def total(self, n, parts):
        parts = iter(parts)
        return tree(0, n, lambda a: next(parts), added)

    def gathered(self, values):
        return values

    def numbers(self, values):
        return [values]

    def spread(self, arrays):
        pass

    def kept(self, arrays):
        return arrays

    def whole(self, arrays):
        return arrays

    def any(self, flag):
        return flag

    def told(self, text):
        return (0 if text else -1), text

    def same(self, arrays):
        pass

    def own(self, shapes):
        pass

    def processors(self, available):
        return available

    def share_optimizer(self):
        """Spread the optimizer's state over the ranks, of which there is one."""


ALONE = Alone()
