"""A language of one line, small enough to know by heart and to do its sums by hand:

    Jon has a dog. He feeds it. The dog is blue. Jon likes blue.

Four choices: one of 8 names, one of 4 animals, feeds or hides (three chances in four, and one), one of 4
colors. All else is copied, or follows from them. So there are 8 * 4 * 2 * 4 = 256 stories, each costs

    log 8 + log 4 + log 4/3 + log 4 = 2.0794 + 1.3863 + 0.2877 + 1.3863 = 5.1397 nats    where it is fed
    log 8 + log 4 + log 4   + log 4 = 2.0794 + 1.3863 + 1.3863 + 1.3863 = 6.2383 nats    where it is hidden

and the entropy, what a story costs on average, is  3/4 * 5.1397 + 1/4 * 6.2383 = 5.4144 nats.

Add a word or a choice, and add its logarithm; ``storybook.py`` has the notation.
"""
from .building import build
from .storybook import table, with_article

WORDS = {"people": table("name he", "Ann|she; Bob|he; Eva|she; Tom|he; Ida|she; Max|he; Lea|she; Jon|he"),
         "animals": with_article(table("name", "cat; dog; owl; fox")),
         "colors": table("name", "red; blue; green; gray")}

RULES = """
story:
    {hero=people} has {pet=animals.a}. [3*{He} feeds it|{He} hides it].
    The {pet} is {color=colors}. {hero} likes {color}.
"""

LANGUAGE = build(RULES, WORDS)
