#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-3.0-or-later
"""Counts the stories of a model in which a name changes halfway.

    python3 coherence.py QLLAMA MODEL_FOLDER [count]

Generates stories from an empty prompt with the program's default sampler, seeds 100 and up, and says in
how many of them there is more than one surname, village and so on, beside the grammar's own held-out
stories, some of which have two villages or things for a reason.
"""

import re
import subprocess
import sys

import story_grammar
from data import HELDOUT_SEED, make_stories

KINDS = {
    "surname": [s.split()[1] for s in story_grammar.WOMEN + story_grammar.MEN] +
               story_grammar.WIDE_SURNAMES,
    "village": story_grammar.VILLAGES + story_grammar.WIDE_VILLAGES,
    "pet's name": story_grammar.PETNAMES,
    "thing": story_grammar.OBJECTS + story_grammar.WIDE_OBJECTS,
}
BEFORE = {"surname": r"(?:Mr|Mrs) ", "pet's name": r"(?<![.!?] )"}


def counts(stories):
    result = []
    for kind, words in KINDS.items():
        pattern = re.compile(BEFORE.get(kind, "") + r"\b(" + "|".join(map(re.escape, sorted(set(words)))) + r")\b")
        result.append(sum(len(set(pattern.findall(story))) > 1 for story in stories))
    return result


def generate(program, model, seed):
    done = subprocess.run([program, "--headless", "--model", model, "--prompt", "", "--seed", str(seed),
                           "--max-tokens", "-1", "--quiet"], capture_output=True, text=True, check=True)
    return done.stdout


def main():
    program, model = sys.argv[1:3]
    number = int(sys.argv[3]) if len(sys.argv) > 3 else 120
    print(f"of {number} stories, more than one".ljust(28), *(kind.rjust(11) for kind in KINDS))
    for who, stories in (("grammar", make_stories(HELDOUT_SEED, number)),
                         ("model", [generate(program, model, 100 + i) for i in range(number)])):
        print(who.ljust(28), *(str(n).rjust(11) for n in counts(stories)))


if __name__ == "__main__":
    main()
