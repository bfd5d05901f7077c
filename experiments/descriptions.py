"""Writes the pool of image descriptions that TextSpan picks from, and which of its lines belong to which category.

    python experiments/descriptions.py

Every category has its own words and its own ways of putting them, in description_words.txt: "# category", then lines of
"how many ways each word gets | way | way ..", each followed by its words. A word meets some of the ways, in turn, so
that the pool holds many things rather than one thing many times. The same words always give the same file.
"""

import json
from itertools import cycle
from pathlib import Path

HERE = Path(__file__).resolve().parent
OUT = HERE.parent / "jaxclip" / "data"


def read(text: str) -> dict[str, list[tuple[int, list[str], list[str]]]]:
    """Category -> [(ways for each word, ways, words)]."""
    found: dict[str, list[tuple[int, list[str], list[str]]]] = {}
    for section in text.split("# ")[1:]:
        category, *lines = section.strip().split("\n")
        parts = found[category] = []
        for line in lines:
            if line.startswith(" "):
                parts[-1][2].extend(word.strip() for word in line.split(",") if word.strip())
            else:
                each, *ways = (part.strip() for part in line.split("|"))
                parts.append((int(each), ways, []))
    return found


def phrases(ways: list[str], words: list[str], each: int) -> list[str]:
    """Every word in `each` of the ways; neighbours in the list begin at different ways."""
    turn = cycle(range(len(ways)))
    starts = [next(turn) for _ in words]
    each = min(each, len(ways))
    # First every word once, then every word again: a pool cut short still has all words.
    return [
        article(ways[(start + i * max(1, len(ways) // each)) % len(ways)], word)
        for i in range(each)
        for start, word in zip(starts, words, strict=True)
    ]


def article(way: str, word: str) -> str:
    """The phrase with the word in place of {}, and "a" or "an" in place of {a}."""
    an = word[0].lower() in "aeiou" and not word.startswith(("uni", "use", "Euro", "one", "uk"))
    text = way.replace("{a}", "an" if an else "a").replace("{}", word)
    return text[0].upper() + text[1:]


def pool() -> dict[str, list[str]]:
    """Category -> its descriptions; none occurs twice, in whatever case."""
    seen: set[str] = set()
    found = {}
    for category, parts in read((HERE / "description_words.txt").read_text()).items():
        lines = [line for each, ways, words in parts for line in phrases(ways, words, each)]
        found[category] = [line for line in lines if not (line.lower() in seen or seen.add(line.lower()))]
    return found


def main() -> None:
    """Lines in the order of categories; the table holds each category's first line and the one after its last."""
    found, table, start = pool(), {}, 0
    for category, lines in found.items():
        table[category] = [start, start + len(lines)]
        start += len(lines)
    (OUT / "descriptions.txt").write_text("".join(f"{line}\n" for lines in found.values() for line in lines))
    (OUT / "descriptions.json").write_text(json.dumps(table, indent=1) + "\n")


if __name__ == "__main__":
    main()
