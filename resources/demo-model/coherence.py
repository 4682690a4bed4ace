#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-3.0-or-later
"""Counts the stories of a model that hang together from the incident to the end.

    python3 coherence.py QLLAMA MODEL_FOLDER [count] [--slips]

Generates stories from an empty prompt with the program's default sampler, seeds 100 and up. A story hangs
together if some plot of the grammar tells it word for word, with one and the same hero, friend, elder,
village and thing all the way, and no other name before it. --slips prints where each of the others leaves
its plot. The grammar's own held-out stories are checked too: all of them must pass.
"""

import argparse
import re
import subprocess

import story_grammar as grammar
from data import HELDOUT_SEED, make_stories

NAMES = [name for name in grammar.WIDE_GIRLS + grammar.WIDE_BOYS if name != "Will"]  # a word, mostly
SURNAMES = [name.split()[1] for name in grammar.WOMEN + grammar.MEN] + grammar.WIDE_SURNAMES
ELDERS = [f"{title} {name}" for title in ("Mrs", "Mr") for name in SURNAMES] + \
    [f"{title} {name}" for title in ("Aunt", "Uncle", "Grandmother", "Grandfather", "Old") for name in NAMES]
GRANS = ["grandmother", "grandfather", "aunt", "mother", "father", "little sister"]
FOODS = grammar.FOODS + ["bread and cheese"]
NUMBERS = [str(n) for n in range(3, 30)]
WORDS = {
    "h": NAMES + ["Will"], "f": NAMES + ["Will"], "e": ELDERS, "v": grammar.WIDE_VILLAGES, "v2": grammar.WIDE_VILLAGES,
    "obj": grammar.WIDE_OBJECTS, "keep": grammar.KEEPSAKES, "pet": grammar.PETS + ["old horse"],
    "pet2": grammar.PETS, "petname": grammar.PETNAMES, "wild": grammar.WILD + ["nightingale", "bat"],
    "a_wild2": ["a robin", "an owl", "a swallow", "a blackbird"], "colour": grammar.COLOURS, "food": FOODS,
    "food2": FOODS, "flowers": grammar.FLOWERS, "fruits": grammar.FRUITS, "lostplace": grammar.LOSTPLACES,
    "gran": GRANS, "gran2": GRANS, "num": NUMBERS, "num2": NUMBERS, "tod": ["morning", "afternoon", "night"],
}
PRONOUNS = {"he": ("he", "she"), "him": ("him", "her"), "his": ("his", "her"), "himself": ("himself", "herself")}
SUBJECT = re.compile(r"(?:he|she|little (\w+)|(\w+)(?: the \w+|, an? \w+ \w+(?: from [\w-]+)?,)?) ", re.IGNORECASE)
TITLED = re.compile(r"(?:Aunt|Uncle|Grandmother|Grandfather|Old) \w+")


def parse(text, at=0):
    """A sequence of words, ("slot", name) and ("choice", sequences), and where it ends."""
    sequence, literal = [], ""
    while at < len(text) and text[at] not in "|]":
        if text[at] not in "[{":
            literal, at = literal + text[at], at + 1
            continue
        sequence.append(literal)
        literal = ""
        if text[at] == "{":
            end = text.index("}", at)
            sequence.append(("slot", text[at + 1:end]))
            at = end + 1
            continue
        choices = []
        while text[at] != "]":
            choice, at = parse(text, at + 1)
            choices.append(choice)
        sequence.append(("choice", choices))
        at += 1
    return sequence + [literal], at


def sequence_of(template):
    return parse(re.sub(r"(\w+):\w+", r"\1", template))[0]


class Reader:
    """Reads a story along a template; keeps the furthest place it came to."""

    def __init__(self, story):
        self.story, self.folded, self.furthest = story.replace("\n", " "), story.replace("\n", " ").lower(), 0

    def ends(self, sequence, at, bound):
        """Every (place, slots) at which the template can end when it begins here."""
        if not sequence:
            yield at, bound
            return
        head, rest = sequence[0], sequence[1:]
        for place, slots in self.piece(head, at, bound):
            self.furthest = max(self.furthest, place)
            yield from self.ends(rest, place, slots)

    def piece(self, piece, at, bound):
        if isinstance(piece, str):
            piece = piece.replace("\n", " ").lower()
            if self.folded.startswith(piece, at):
                yield at + len(piece), bound
        elif piece[0] == "choice":
            for choice in piece[1]:
                yield from self.ends(choice, at, bound)
        elif piece[1] == "S":
            yield from self.subject(at, bound)
        else:
            yield from self.slot(piece[1], at, bound)

    def subject(self, at, bound):
        found = SUBJECT.match(self.story, at)
        name = found and (found[1] or found[2])
        if found and (name is None or name in WORDS["h"]):
            word = "he" if found[0].lower().startswith("he ") else "she"
            gender = {"gender ": "girl" if word == "she" else "boy"}
            yield found.end() - 1, {**bound, "h": name, **self.gender_of("h", name)} if name else {**bound, **gender}

    def slot(self, slot, at, bound):
        lower = slot.lower()
        for prefix in ("f", "e", "s", ""):
            if lower.startswith(prefix) and lower[len(prefix):] in PRONOUNS:
                words = dict(zip(("boy", "girl"), PRONOUNS[lower[len(prefix):]]))
                key = "gender " + prefix
                for gender, word in words.items():
                    if bound.get(key, gender) == gender and self.word_at(word, at):
                        yield at + len(word), {**bound, key: gender}
                return
        article = slot == "a_wild"
        key = "wild" if article else slot
        for value in [bound[key]] if key in bound else WORDS[key]:
            word = grammar._a(value) if article else value
            if self.word_at(word, at) and self.may_be(key, value, bound):
                yield at + len(word), {**bound, key: value, **self.gender_of(key, value)}

    def word_at(self, word, at):
        following = self.folded[at + len(word):at + len(word) + 1]
        return self.folded.startswith(word.lower(), at) and not following.isalpha()

    def gender_of(self, key, value):
        if key in ("h", "f"):
            return {"gender " + ("" if key == "h" else "f"): "girl" if value in grammar.WIDE_GIRLS else "boy"}
        return {}

    def may_be(self, key, value, bound):
        others = {"h": "f", "f": "h"}
        gender = self.gender_of(key, value)
        return bound.get(others.get(key)) != value and all(bound.get(k, g) == g for k, g in gender.items())


CLOSINGS = [sequence_of(" " + closing) for closing in grammar.CLOSINGS]
PLOTS = [(sequence_of(incident + " "), sequence_of(follows)) for incident, follows, *_ in grammar.PLOTS.values()]


def slip(story):
    """Where the story leaves the plot that it follows longest; None if it never does."""
    furthest, stranger = 0, 0
    for incident, follows in PLOTS:
        reader = Reader(story)
        begun = [begin for found in re.finditer(r"^|[,.] |: ", reader.story)
                 for begin in Reader(story).ends(incident, found.end(), {})]
        for end, slots in [finish for begin in begun for finish in reader.ends(follows, *begin)]:
            for place, named in [(end, slots)] + [e for c in CLOSINGS for e in reader.ends(c, end, slots)]:
                if place < len(story):
                    continue
                stranger = first_stranger(reader.story, named)
                if stranger is None:
                    return None
        furthest = max(furthest, reader.furthest)
    return stranger or furthest


def first_stranger(story, slots):
    """Where a first name or village is said that is nobody's in the plot."""
    story = TITLED.sub(lambda found: "-" * len(found[0]), story)
    for words, keys in ((NAMES, ("h", "f")), (grammar.WIDE_VILLAGES, ("v", "v2"))):
        known = [slots[key] for key in keys if key in slots]
        for found in re.finditer(r"\w[\w-]*", story):
            if found[0] in words and found[0] not in known:
                if len(known) == len(keys) or keys[0] in slots:
                    return found.start()
                known.append(found[0])
    return None


def generate(program, model, seed):
    done = subprocess.run([program, "--headless", "--model", model, "--prompt", "", "--seed", str(seed),
                           "--max-tokens", "-1", "--quiet"], capture_output=True, text=True, check=True)
    return done.stdout.strip("\n")


def main():
    ap = argparse.ArgumentParser()
    ap.add_argument("program")
    ap.add_argument("model")
    ap.add_argument("count", type=int, nargs="?", default=120)
    ap.add_argument("--slips", action="store_true")
    args = ap.parse_args()
    for who, stories in (("grammar", make_stories(HELDOUT_SEED, args.count)),
                         ("model", (generate(args.program, args.model, 100 + i) for i in range(args.count)))):
        whole = 0
        for story in stories:
            place = slip(story)
            whole += place is None
            if args.slips and place is not None:
                print(f"{who}: ...{story[max(0, place - 80):place]} >>> {story[place:place + 60]}".replace("\n", " "))
        print(f"{who}: {whole} of {args.count} stories hang together")


if __name__ == "__main__":
    main()
