"""Write the demo dataset: short English assistant requests in 12 intents.

Run ``python examples/generate_demo.py`` to rewrite train.tsv, dev.tsv and test.tsv in sqb_tf/demo, from the
grammar in demo_grammar.py. The output depends on the seed only. Standard library only.
"""

from __future__ import annotations

import argparse
import random
import re
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from demo_grammar import (
    ACTION_PAIRS,
    AFTER,
    BEFORE,
    CLOSERS,
    COMMAND_PAIRS,
    CORES,
    FILLED_PAUSES,
    GROUPS,
    LABELS,
    NOUN_PAIRS,
    NOUNS,
    OPENERS,
    PHRASES,
    PLAIN,
    POLITE,
    QUESTION_WORDS,
    SHORTHAND,
    SLOTS,
    TRICKY,
)

DEMO = Path(__file__).resolve().parents[1] / "sqb_tf" / "demo"

Row = tuple[str, str]
PairSpec = tuple[str, list[str], list[str]]  # frame, its two phrases, their labels

# name: (rows per label, pairs, tricky rows per label); the rest of each label is plain rows
SPLITS = {"train": (500, 750, 75), "dev": (50, 75, 7), "test": (50, 75, 7)}

HELD_OUT_EVERY = 7  # fillers 3, 10, 17, ... of each slot appear in dev and test only
HELD_OUT_SHARE = 0.3  # how often dev and test draw from the held-out fillers

TOKEN = re.compile(r"\[([^\[\]]*)\]|\{([a-z]+)\}")
WORD = re.compile(r"[\w']+(?:[:-]\w+)*")
VOWEL_AFTER_A = re.compile(r"\b([Aa]) (?=(?!one\b|uni)(?:[aeiou]|8 |18 ))", re.IGNORECASE)

# --------------------------------------------------------------------------------------------------
# Filling in frames
# --------------------------------------------------------------------------------------------------


def words(text: str) -> list[str]:
    """The words of a text, in lower case and without punctuation."""
    return WORD.findall(text.lower())


def is_action(command: str) -> bool:
    """Whether the speaker could do it too: "before i call Dan", but not "before i wake me"."""
    return " me " not in command


def commands_without(labels: Iterable[str]) -> list[str]:
    """All short commands except those of `labels`."""
    return [core for label, cores in CORES.items() if label not in labels for core in cores]


def is_held_out(index: int) -> bool:
    """Whether the filler at this index of its slot is held out of the training split."""
    return index % HELD_OUT_EVERY == 3


class Grammar:
    """Fills in frames for one split, with its share of held-out fillers."""

    def __init__(self, rng: random.Random, held_out_share: float) -> None:
        self.rng = rng
        self.held_out_share = held_out_share

    def fill(self, template: str, labels: Iterable[str] = ()) -> str:
        """Replace all slots and alternatives; ``{cmd}`` and ``{act}`` avoid `labels`."""
        used: set[str] = set()
        text = template
        while match := TOKEN.search(text):
            choices, slot = match.groups()
            if slot is None:
                new = self.rng.choice(choices.split("|"))
            else:
                new = self._draw(slot, labels, used)
            text = text[: match.start()] + new + text[match.end() :]
        text = re.sub(r" +", " ", text).replace(" ,", ",")
        return VOWEL_AFTER_A.sub(r"\1n ", text).strip(" ")

    def _draw(self, slot: str, labels: Iterable[str], used: set[str]) -> str:
        pool = [item for item in self._pool(slot, labels) if item not in used]
        new = self.rng.choice(pool)
        if slot != "lamp":
            used.add(new)
        return new

    def _pool(self, slot: str, labels: Iterable[str]) -> list[str]:
        if slot in ("cmd", "act"):
            commands = commands_without(labels)
            return commands if slot == "cmd" else [c for c in commands if is_action(c)]
        if slot in PHRASES:
            return PHRASES[slot]
        held_out = self.rng.random() < self.held_out_share
        return [item for i, item in enumerate(SLOTS[slot]) if is_held_out(i) == held_out]

    def plain(self, label: str) -> str:
        """A straightforward request."""
        return self.fill(self.rng.choice(PLAIN[label]))

    def tricky(self, label: str) -> str:
        """A request that mentions other intents."""
        draw = self.rng.random()
        if draw < 0.7:
            frame = self.rng.choice(TRICKY[label])
        elif draw < 0.85:
            frame = f"{self.rng.choice(BEFORE)}, {self.rng.choice(CORES[label])}"
        else:
            frame = f"+{self.rng.choice(CORES[label])}, {self.rng.choice(AFTER)}"
        return self.fill(frame, [label])

    def pair(self) -> tuple[Row, Row]:
        """Two requests with the same words and different labels."""
        makers = {
            self._group_pair: 44,
            self._command_pair: 23,
            self._action_pair: 12,
            self._noun_pair: 11,
            self._drop_pair: 10,
        }
        make_pair = self.rng.choices(list(makers), weights=list(makers.values()))[0]
        frame, parts, labels = make_pair()
        decides, frame = int(frame[0]) - 1, frame[2:]
        frame, first, second = self.fill("\n".join([frame, *parts]), labels).split("\n")
        in_order = frame.replace("<1>", first).replace("<2>", second)
        swapped = frame.replace("<1>", second).replace("<2>", first)
        return (in_order, labels[decides]), (swapped, labels[1 - decides])

    def _group_pair(self) -> PairSpec:
        group = self.rng.choices(GROUPS, weights=[len(group[4]) for group in GROUPS])[0]
        return self.rng.choice(group[4]), list(group[:2]), list(group[2:4])

    def _command_pair(self) -> PairSpec:
        labels = self.rng.sample(LABELS, 2)
        return self.rng.choice(COMMAND_PAIRS), [self.rng.choice(CORES[x]) for x in labels], labels

    def _action_pair(self) -> PairSpec:
        labels = self.rng.sample(LABELS, 2)
        parts = [self.rng.choice([c for c in CORES[x] if is_action(c)]) for x in labels]
        return self.rng.choice(ACTION_PAIRS), parts, labels

    def _noun_pair(self) -> PairSpec:
        labels = self.rng.sample(list(NOUNS), 2)
        return self.rng.choice(NOUN_PAIRS), [self.rng.choice(NOUNS[x]) for x in labels], labels

    def _drop_pair(self) -> PairSpec:
        # "text Dan, never mind" could be a text saying "never mind", so no messages here
        label = self.rng.choice([x for x in LABELS if x not in ("cancel", "send_message")])
        return "2 <1>, <2>", [self.rng.choice(CORES[label]), "{drop}"], [label, "cancel"]


# --------------------------------------------------------------------------------------------------
# Style
# --------------------------------------------------------------------------------------------------


def misspell(word: str, rng: random.Random) -> str:
    """Swap, drop or double one letter inside a word."""
    i = rng.randrange(1, len(word) - 2)
    swapped = word[:i] + word[i + 1] + word[i] + word[i + 2 :]
    return rng.choice([swapped, word[:i] + word[i + 1 :], word[:i] + word[i] + word[i:]])


def replace_word(text: str, old: str, new: str, count: int = 0) -> str:
    """Replace a whole word."""
    return re.sub(rf"(?<![\w'-]){re.escape(old)}(?![\w'-])", new, text, count=count)


def add_slips(text: str, rng: random.Random) -> str:
    """Add a pause, a repeated word, a typo or chat spelling to some texts.

    What is chosen depends on the words of the text but not on their order.
    """
    vocabulary = sorted(set(words(text)))
    pause, repeat, typo, chat = (rng.random() < share for share in (0.05, 0.015, 0.09, 0.06))
    if chat:
        for old, new in SHORTHAND.items():
            text = replace_word(text, old, new)
    if typo:
        target = rng.choice([w for w in vocabulary if w.isalpha() and len(w) > 4] or [""])
        text = replace_word(text, target, misspell(target, rng)) if target else text
    if repeat:
        target = rng.choice([w for w in vocabulary if w.isalpha()])
        text = replace_word(text, target, f"{target} {target}", count=1)
    if pause:
        parts = text.split(" ")
        parts.insert(rng.randrange(1, len(parts) + 1) - 1, rng.choice(FILLED_PAUSES))
        text = " ".join(parts)
    return text


def add_manners(text: str, rng: random.Random) -> str:
    """Remove the ``+`` and put a greeting, "can you" or "please" around some texts."""
    command, text = text.startswith("+"), text.removeprefix("+")
    if command and rng.random() < 0.35:
        text = f"{rng.choice(POLITE)} {text}"
    if rng.random() < 0.16:
        text = f"{rng.choice(OPENERS)}{rng.choice([', ', ' '])}{text}"
    if rng.random() < 0.14:
        text = f"{text}{rng.choice([', ', ' '])}{rng.choice(CLOSERS)}"
    return text


def is_question(text: str) -> bool:
    """Whether the first or the last clause starts like a question."""
    clauses = [clause.split() for clause in text.lower().split(", ")]
    return any(clause[0] in QUESTION_WORDS for clause in (clauses[0], clauses[-1]) if clause)


def sentence_case(text: str, rng: random.Random) -> str:
    """Capitalize and punctuate a text as in careful writing."""
    end = "?" if is_question(text) else rng.choice("...!")
    text = re.sub(r"\bi\b", "I", text)
    return text[0].upper() + text[1:] + end


def set_commas(text: str, rng: random.Random, keep: bool) -> str:
    """Keep the commas, replace them with dots or, unless `keep`, remove them."""
    draw = rng.random()
    if draw < 0.1:
        return text.replace(", ", "... ")
    return text if keep or draw < 0.6 else text.replace(",", "")


def set_case(text: str, rng: random.Random) -> str:
    """Mostly lower case; sometimes as in the grammar, all capitals, or a capital for every word."""
    draw = rng.random()
    if draw < 0.80:
        return text.lower()
    if draw < 0.92:
        return text
    if draw < 0.95:
        return text.upper()
    return " ".join(word.capitalize() for word in text.split(" "))


def dress(text: str, seed: int, keep_commas: bool = False) -> str:
    """Give a filled-in frame its manners, slips, case and punctuation."""
    rng = random.Random(seed)
    text = add_slips(add_manners(text, rng), rng)
    if rng.random() < 0.25:
        return sentence_case(text, rng)
    text = set_case(set_commas(text, rng, keep_commas), rng)
    if rng.random() < 0.3:
        text = text.replace("'", "")
    return text + rng.choices(["", ".", "?" if is_question(text) else "!!"], [90, 5, 5])[0]


# --------------------------------------------------------------------------------------------------
# Splits
# --------------------------------------------------------------------------------------------------


class Split:
    """The rows of one split; ``seen`` is shared by all splits, so that every request is unique."""

    def __init__(self, rng: random.Random, seen: set[str]) -> None:
        self.rng = rng
        self.seen = seen
        self.rows: list[Row] = []
        self.counts: Counter[str] = Counter()

    def add(self, rows: Iterable[Row], keep_commas: bool = False) -> bool:
        """Add rows in one style unless one of them exists already; returns whether they were added."""
        rows = list(rows)
        seed = self.rng.getrandbits(32)
        dressed = [(dress(text, seed, keep_commas), label) for text, label in rows]
        keys = [" ".join(words(text)) for text, _ in rows + dressed]
        if self.seen.intersection(keys):
            return False
        self.seen.update(keys)
        self.rows += dressed
        self.counts.update(label for _, label in rows)
        return True

    def add_pair(self, pair: tuple[Row, Row]) -> bool:
        """Add a mirrored pair.

        Commas stay where the words that follow could be read as part of a message or of "cancel that".
        """
        (first, first_label), (second, second_label) = pair
        if Counter(words(first)) != Counter(words(second)):
            raise ValueError(f"not the same words: {first!r} and {second!r}")
        unclear = {"send_message", "cancel"}.intersection((first_label, second_label))
        return self.add(pair, keep_commas=bool(unclear))


def build_split(name: str, rng: random.Random, seen: set[str]) -> list[Row]:
    """Build the rows of one split, in random order."""
    per_label, pairs, tricky = SPLITS[name]
    grammar = Grammar(rng, 0.0 if name == "train" else HELD_OUT_SHARE)
    split = Split(rng, seen)
    while pairs:
        pairs -= split.add_pair(grammar.pair())
    for label in LABELS:
        goal = split.counts[label] + tricky
        while split.counts[label] < goal:
            split.add([(grammar.tricky(label), label)])
        while split.counts[label] < per_label:
            split.add([(grammar.plain(label), label)])
    rng.shuffle(split.rows)
    return split.rows


def build(seed: int) -> dict[str, list[Row]]:
    """Build all splits."""
    rng = random.Random(seed)
    seen: set[str] = set()
    return {name: build_split(name, rng, seen) for name in SPLITS}


def write_tsv(path: Path, rows: Iterable[Row]) -> None:
    """Write rows under a ``text<TAB>label`` header."""
    lines = ["text\tlabel", *(f"{text}\t{label}" for text, label in rows)]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8", newline="\n")


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(description="Write train.tsv, dev.tsv and test.tsv.")
    parser.add_argument(
        "--out",
        type=Path,
        default=DEMO,
        help="folder",
    )
    parser.add_argument("--seed", type=int, default=2020)
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    for name, rows in build(args.seed).items():
        write_tsv(args.out / f"{name}.tsv", rows)
        print(f"{name}.tsv: {len(rows)} rows")


if __name__ == "__main__":
    main()
