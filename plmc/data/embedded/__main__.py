"""Prints generated rows: `python -m plmc.data.embedded TASK [--rows N] [--split SPLIT] [--bag-of-words]`."""

from __future__ import annotations

import argparse

from plmc.data.embedded.makers import KINDS
from plmc.data.embedded.probe import bag_of_words
from plmc.data.embedded.source import Embedded
from plmc.errors import PlmcError


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m plmc.data.embedded", description="Look at the made-up world.")
    parser.add_argument("task", help=f"{', '.join(KINDS)}, or corpus for unlabelled text")
    parser.add_argument("--rows", type=int, default=10, help="rows to print (default: 10)")
    parser.add_argument("--split", default="train", help="split to print from (default: train)")
    parser.add_argument("--seed", type=int, default=0, help="seed of the world (default: 0)")
    parser.add_argument(
        "--bag-of-words", action="store_true", help="also train a unigram classifier and print its accuracy"
    )
    words = parser.parse_args()
    if words.bag_of_words and words.task in ("stsb", "squad", "squad_v2", "corpus"):
        parser.error(f"--bag-of-words is for classification; {words.task} has no classes.")
    try:
        source = Embedded(seed=words.seed)
        if words.task == "corpus":
            print("\n".join(source.corpus(words.rows)))
            return
        splits = source.rows_of(words.task)
    except PlmcError as error:
        parser.error(str(error))
    if words.split not in splits:
        parser.error(f"{words.task} has no split '{words.split}'; it has {', '.join(splits)}.")
    shown = splits[words.split]
    for row in shown.select(range(min(words.rows, len(shown)))):
        print("  ".join(str(row[name]) for name in ("label", "answers", "text_a", "text_b") if name in row))
    if words.bag_of_words:
        for name in [name for name in splits if name.startswith("validation")]:
            print(f"bag of words, {name}: {bag_of_words(splits['train'], splits[name]):.3f}")


if __name__ == "__main__":
    main()
