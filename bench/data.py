"""Cleaning of training rows: how fast, and how much of what is planted is found.

    python bench/data.py [--data FOLDER] [--peer PYTHON] [--rows 100000] [--rounds 3]

``--data`` (or RUNG_DATA): the folder of public sets; without it, only what needs none. ``--peer``: a Python with datasketch and rensa.
Everything planted is drawn with a seed. Near-duplicates: CPU seconds, medians of alternating rounds, peers' shingles are ours.
"""

from __future__ import annotations

import argparse
import csv
import gzip
import json
import os
import random
import re
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from rung.data.clean.filters import language, noise
from rung.data.clean.filters.minhash import Deduplicator, sets
from rung.data.clean.filters.toxic import rules
from rung.data.split.kinds import kind
from rung.metrics.stats import wilson
from rung.safety import private
from rung.safety.filter import TrainedFilter

PEER = r"""
import json, sys, time
sys.setswitchinterval(1)
name, threshold, path = sys.argv[1], float(sys.argv[2]), sys.argv[3]
texts = [json.loads(line) for line in open(path, encoding="utf-8")]
import re
plain = {code: " " for code in range(128) if not chr(code).isalnum()}
def shingles(text):
    said = text.lower().translate(plain).split()
    return {" ".join(said[at : at + 3]) for at in range(max(len(said) - 2, 1))}
if name == "datasketch":
    from datasketch import MinHash, MinHashLSH
else:
    from rensa import RMinHash, RMinHashLSH
began = time.process_time()
out = []
if name == "datasketch":
    lsh = MinHashLSH(threshold=threshold, num_perm=128)
    for number, text in enumerate(texts):
        one = MinHash(num_perm=128)
        one.update_batch([item.encode() for item in shingles(text)])
        found = lsh.query(one)
        out.append(int(found[0]) if found else -1)
        if not found:
            lsh.insert(str(number), one)
else:
    lsh = RMinHashLSH(threshold=threshold, num_perm=128, num_bands=16)
    for number, text in enumerate(texts):
        one = RMinHash(num_perm=128, seed=42)
        one.update(list(shingles(text)))
        found = [other for other in lsh.query(one)]
        out.append(int(found[0]) if found else -1)
        if not found:
            lsh.insert(number, one)
print(json.dumps({"seconds": time.process_time() - began, "found": out}))
"""


def row(*cells: object) -> None:
    print("| " + " | ".join(str(cell) for cell in cells) + " |", flush=True)


def share(hits: int, of: int) -> str:
    if not of:
        return "–"
    found = wilson(hits, of)
    return f"{hits / of:.3f} [{found.low:.3f}, {found.high:.3f}] of {of:,}"


# ---------------------------------------------------------------- near-duplicates


def corpus(count: int, seed: int = 0) -> tuple[list[str], list[tuple[int, int]]]:
    """Texts of 100 words by Zipf's law, a tenth of them copies of earlier ones with 1 to 6 words changed; (copy, original)."""
    rng, draw = random.Random(seed), np.random.default_rng(seed)
    vocabulary = ["".join(rng.choices("abcdefghijklmnopqrstuvwxyz", k=rng.randint(2, 9))) for _ in range(30_000)]
    fresh = count - count // 11
    ranks = np.minimum(draw.zipf(1.25, size=(fresh, 100)), len(vocabulary)) - 1
    texts = [" ".join([vocabulary[at] for at in line]) for line in ranks.tolist()]
    pairs = []
    for number in range(fresh, count):
        source = rng.randrange(fresh)
        said = texts[source].split()
        for at in rng.sample(range(100), rng.randint(1, 6)):
            said[at] = rng.choice(vocabulary)
        texts.append(" ".join(said))
        pairs.append((number, source))
    return texts, pairs


def near(rows: int, rounds: int, peer: str, threshold: float = 0.8) -> None:
    texts, pairs = corpus(rows)
    similar = []
    for copy, source in pairs:
        one, other = sets([texts[copy], texts[source]])
        similar.append(len(one & other) / len(one | other))
    names = ["rung"] + (["datasketch", "rensa"] if peer else [])
    seconds: dict[str, list[float]] = {name: [] for name in names}
    found: dict[str, Sequence[int]] = {}
    with tempfile.NamedTemporaryFile("w", suffix=".jsonl", encoding="utf-8") as file:
        file.writelines(json.dumps(text) + "\n" for text in texts)
        file.flush()
        for _ in range(rounds):
            for name in names:
                if name == "rung":
                    began = time.process_time()
                    found[name] = Deduplicator(threshold).query_insert(texts).tolist()
                    seconds[name].append(time.process_time() - began)
                    continue
                done = subprocess.run(
                    [peer, "-c", PEER, name, str(threshold), file.name], capture_output=True, text=True, check=True,
                    env={**os.environ, "OMP_NUM_THREADS": "1"},
                )  # fmt: skip
                told = json.loads(done.stdout)
                seconds[name].append(told["seconds"])
                found[name] = told["found"]
    print(
        f"\nNear-duplicates: {rows:,} texts of 100 words, Jaccard {threshold} of 3-word shingles, {rounds} rounds, load {os.getloadavg()[0]:.1f}\n"
    )
    row("what", "CPU s", "rows a CPU s", "to datasketch", f"found at J >= {threshold}", "wrongly dropped (J below)")
    row(*["---"] * 6)
    base = statistics.median(seconds["datasketch"]) if peer else None
    above = [pair for pair, value in zip(pairs, similar, strict=True) if value >= threshold]
    below = [pair for pair, value in zip(pairs, similar, strict=True) if value < threshold]
    copies = {pair[0] for pair in pairs}
    for name in names:
        middle = statistics.median(seconds[name])
        wrong = sum(found[name][copy] >= 0 for copy, _ in below) + sum(
            number >= 0 for at, number in enumerate(found[name]) if at not in copies
        )
        hits = sum(found[name][copy] >= 0 for copy, _ in above)
        row(
            name,
            f"{middle:.2f}",
            f"{rows / middle:,.0f}",
            f"{base / middle:.1f}x" if base else "–",
            share(hits, len(above)),
            f"{wrong:,}",
        )


# ---------------------------------------------------------------- personal data and secrets


def _luhn(rng: random.Random, start: str, length: int) -> str:
    digits = start + "".join(rng.choices("0123456789", k=length - len(start) - 1))
    return next(digits + last for last in "0123456789" if private.luhn(digits + last))


def _iban(rng: random.Random) -> str:
    country, length = rng.choice([("DE", 22), ("AT", 20), ("ES", 24), ("CH", 21), ("BE", 16)])
    account = "".join(rng.choices("0123456789", k=length - 4))
    check = 98 - int("".join(str(int(sign, 36)) for sign in account + country + "00")) % 97
    code = f"{country}{check:02d}{account}"
    return code if rng.random() < 0.5 else " ".join(code[at : at + 4] for at in range(0, length, 4))


def _token(rng: random.Random, signs: str, length: int) -> str:
    return "".join(rng.choices(signs, k=length))


LETTERS = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
PLANTS: dict[str, Callable[[random.Random], str]] = {
    "EMAIL": lambda r: f"{r.choice(['anna', 'j.smith', 'bob_k', 'x+tag'])}{r.randint(1, 99)}@{r.choice(['example.com', 'mail.co.uk', 'uni-x.de'])}",
    "PHONE": lambda r: r.choice([
        f"+44 20 7{r.randint(100, 999)} {r.randint(1000, 9999)}", f"({r.randint(201, 989)}) {r.randint(200, 999)}-{r.randint(1000, 9999)}",
        f"+49 {r.randint(151, 179)} {r.randint(1000000, 9999999)}", f"0{r.randint(7100, 7999)} {r.randint(100, 999)} {r.randint(100, 999)}",
        f"{r.randint(201, 989)}-{r.randint(200, 999)}-{r.randint(1000, 9999)}", f"+1{r.randint(2010000000, 9899999999)}",
        f"{r.randint(201, 989)}{r.randint(200, 999)}{r.randint(1000, 9999)}",
    ]),
    "IBAN": _iban,
    "CARD": lambda r: (lambda d: d if r.random() < 0.5 else " ".join(d[at : at + 4] for at in range(0, 16, 4)))(_luhn(r, r.choice(["4", "51", "2221"]), 16)),
    "SSN": lambda r: f"{r.randint(100, 665)}-{r.randint(10, 99)}-{r.randint(1000, 9999)}",
    "IP": lambda r: r.choice([".".join(str(r.randint(1, 254)) for _ in range(4)), f"2001:db8:{r.randint(1, 9999):x}::{r.randint(1, 9999):x}"]),
    "PRIVATE-KEY": lambda r: f"-----BEGIN RSA PRIVATE KEY-----\n{_token(r, LETTERS, 64)}\n{_token(r, LETTERS, 40)}\n-----END RSA PRIVATE KEY-----",
    "SECRET": lambda r: r.choice([
        "AKIA" + _token(r, "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567", 16), "ghp_" + _token(r, LETTERS, 36), "sk-" + _token(r, LETTERS, 40),
        "password: " + _token(r, LETTERS, 9) + "!", f"api_key = '{_token(r, LETTERS, 24)}'", _token(r, LETTERS, 40),
        "postgres://app:" + _token(r, LETTERS, 12) + "@db.example.com/x", "correct horse pw is " + _token(r, "abcdefghijk", 8),
    ]),
    "NAME": lambda r: r.choice([
        "My name is {}.", "\nDear {},\n", "please ask Dr. {} about it", "\nKind regards,\n{}\n", "{} called yesterday", "I met {} there",
    ]).format(f"{r.choice(['Anna', 'John', 'Peter', 'Maria'])} {r.choice(['Smith', 'Jones', 'Keller', 'Rossi'])}"),
}  # fmt: skip
HARMLESS: tuple[Callable[[random.Random], str], ...] = (
    lambda r: f"version {r.randint(1, 9)}.{r.randint(0, 20)}.{r.randint(0, 9)}.{r.randint(0, 99)}",
    lambda r: f"20{r.randint(10, 26)}-{r.randint(10, 12)}-{r.randint(10, 28)} {r.randint(10, 23)}:{r.randint(10, 59)}:{r.randint(10, 59)}",
    lambda r: f"{r.randint(1, 9)},{r.randint(100, 999)},{r.randint(100, 999)}.{r.randint(10, 99)}",
    lambda r: f"order number {r.randint(10**11, 10**12)}",
    lambda r: f"ISBN 978-{r.randint(0, 9)}-{r.randint(100, 999)}-{r.randint(10000, 99999)}-{r.randint(0, 9)}",
    lambda r: f"commit {_token(r, '0123456789abcdef', 40)}",
    lambda r: f"id {_token(r, '0123456789abcdef', 8)}-{_token(r, '0123456789abcdef', 4)}-4{_token(r, '0123456789abcdef', 3)}-a{_token(r, '0123456789abcdef', 3)}-{_token(r, '0123456789abcdef', 12)}",
    lambda r: f"between {r.randint(1800, 1900)}-{r.randint(1901, 2026)} and pages {r.randint(100, 400)}-{r.randint(401, 900)}",
    lambda r: "my_very_long_function_name_that_is_readable(argument)",
    lambda r: "https://example.com/articles/how-to-choose-the-right-garden-furniture-for-you",
    lambda r: "The password is too short, reset the token and try again",
    lambda r: "@Override public void onCreate() { token = getToken(); }",
    lambda r: "\nDear Sir or Madam,\nthe film was shown at 12:30:45",
    lambda r: f"{r.randint(10, 99)}.{r.randint(100, 999)}.{r.randint(100, 999)} EUR",
)  # fmt: skip


def pii(carriers: Sequence[str], each: int = 300) -> None:
    rng = random.Random(0)
    carriers = [text for text in carriers if not private.find(text)] or ["We talked about it and then went home."]
    hit: dict[str, int] = dict.fromkeys(PLANTS, 0)
    covered: dict[str, int] = dict.fromkeys(PLANTS, 0)
    false: dict[str, int] = dict.fromkeys(PLANTS, 0)
    for name, plant in PLANTS.items():
        for _ in range(each):
            words = rng.choice(carriers).split()[:60]
            at, inside = rng.randint(0, len(words)), plant(rng)
            before = " ".join(words[:at])
            text = f"{before} {inside} {' '.join(words[at:])}"
            start, end = len(before) + 1, len(before) + 1 + len(inside)
            mine = [item for item in private.find(text) if item.start < end and start < item.end]
            hit[name] += any(item.kind == name for item in mine)
            covered[name] += bool(mine)
            for item in private.find(text):
                if item not in mine:
                    false[item.kind] += 1
    traps = [plant(rng) for plant in HARMLESS for _ in range(each)]
    for text in traps:
        for item in private.find(f"Look here: {text} and so on."):
            false[item.kind] += 1
    print(
        f"\nPersonal data: {each} planted of each kind in public sentences; {len(traps):,} traps (versions, dates, hashes, ISBNs, ...)\n"
    )
    row("kind", "found as that kind", "found as any", "precision")
    row(*["---"] * 4)
    for name in PLANTS:
        row(name, share(hit[name], each), share(covered[name], each), share(hit[name], hit[name] + false[name]))


# ---------------------------------------------------------------- on public sets


def lines(path: Path) -> list[str]:
    return path.read_text(encoding="utf-8").splitlines()


def sms(folder: Path) -> list[tuple[str, str]]:
    return [
        (text, label)
        for label, _, text in (line.partition("\t") for line in lines(folder / "sms_spam/sms.tsv"))
        if text
    ]


def banking(folder: Path) -> list[tuple[str, str]]:
    with gzip.open(folder / "banking77/train.csv.gz", "rt", encoding="utf-8") as stream:
        return [(item["text"], item["category"]) for item in csv.DictReader(stream)]


def dolly(folder: Path) -> list[dict[str, str]]:
    with gzip.open(folder / "dolly_hhrlhf_small/dolly_hhrlhf_train_small.jsonl.gz", "rt", encoding="utf-8") as stream:
        return [json.loads(line) for line in stream]


def _asked(item: dict[str, str]) -> str:
    return re.split(r"### Instruction:\s*", item["prompt"])[-1].split("### Response")[0].strip()


def tongues(folder: Path, each: int = 300) -> None:
    print("\nLanguage: Tatoeba sentences, told when there are 20 letters; wanted: en\n")
    row("language", "told as its own", "kept by --language en", "too short to tell")
    row(*["---"] * 4)
    names = {"fra": "fr", "deu": "de", "spa": "es", "ita": "it", "por": "pt", "nld": "nl"}
    texts = {code: lines(folder / f"tatoeba/tatoeba.{name}-eng.{name}")[:each] for name, code in names.items()}
    texts["en"] = lines(folder / "tatoeba/tatoeba.fra-eng.eng")[:each]
    for code, sentences in texts.items():
        own = [language.tell(text) for text in sentences]
        kept = [language.tell(text, frozenset(["en"])) for text in sentences]
        told = [found for found in own if found]
        row(
            code,
            share(sum(found == code for found in told), len(told)),
            share(sum(found in ("", "en") for found in kept), len(kept)),
            len(own) - len(told),
        )


def harm(folder: Path) -> None:
    with (folder / "advbench/harmful_behaviors.csv").open(encoding="utf-8") as stream:
        bad = [item["goal"] for item in csv.DictReader(stream)]
    good = [_asked(item) for item in dolly(folder)]
    chat = [text for text, label in sms(folder) if label == "ham"][:2000]
    rng = random.Random(0)
    rng.shuffle(bad)
    rng.shuffle(good)
    half, middle = len(bad) // 2, len(good) // 2
    checks = {"rules": rules(), "trained on the other half": TrainedFilter.fit(bad[:half], good[:middle])}
    print(
        "\nHarmful text: AdvBench against the instructions of dolly_hhrlhf (second halves) and SMS that are no spam\n"
    )
    row("filter", "harmful caught", "dolly blocked", "SMS blocked")
    row(*["---"] * 4)
    for name, check in checks.items():
        caught, wrong, other = (
            sum(check(text).blocked for text in texts) for texts in (bad[half:], good[middle:], chat)
        )
        row(name, share(caught, len(bad) - half), share(wrong, len(good) - middle), share(other, len(chat)))


def labels(name: str, rows: list[tuple[str, str]], part: float = 0.05) -> None:
    rng = random.Random(0)
    rng.shuffle(rows)
    rows = rows[:4000]
    names = sorted({label for _, label in rows})
    planted = set(rng.sample(range(len(rows)), round(part * len(rows))))
    given = [
        rng.choice([other for other in names if other != label]) if at in planted else label
        for at, (_, label) in enumerate(rows)
    ]
    began = time.process_time()
    found = {flag.place for flag in noise.suspects([text for text, _ in rows], given)}
    seconds = time.process_time() - began
    row(
        name,
        f"{len(rows):,}",
        len(names),
        share(len(found & planted), len(planted)),
        share(len(found & planted), len(found)),
        f"{seconds:.1f}",
    )


def planted_copies(name: str, texts: list[str]) -> None:
    """Exact (case, punctuation) and near copies of public texts, found by the sieve: those of Jaccard 0.8 and more."""
    rng = random.Random(0)
    texts = list(dict.fromkeys(text for text in texts if len(text.split()) >= 10))[:2000]
    before = Deduplicator(0.8).query_insert(texts)
    texts = [text for text, number in zip(texts, before.tolist(), strict=True) if number < 0]
    copies, exact = [], []
    for text in texts:
        said = text.split()
        for at in rng.sample(range(len(said)), max(1, len(said) // 40)):
            said[at] = rng.choice(said)
        copies.append(" ".join(said))
        exact.append(re.sub(r"[.,!?]", " ", text).upper())
    own, other = sets(texts), sets(copies)
    close = [at for at in range(len(texts)) if len(own[at] & other[at]) >= 0.8 * len(own[at] | other[at])]
    sieve = Deduplicator(0.8)
    sieve.insert(texts)
    near_found, exact_found = sieve.query(copies), sieve.query(exact)
    far = [at for at in range(len(texts)) if at not in set(close)]
    row(
        name,
        share(int((exact_found >= 0).sum()), len(texts)),
        share(sum(near_found[at] >= 0 for at in close), len(close)),
        share(sum(near_found[at] >= 0 for at in far), len(far)),
    )


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--data", type=Path, default=os.environ.get("RUNG_DATA"))
    parser.add_argument("--peer", default="", help="a Python with datasketch and rensa")
    parser.add_argument("--rows", type=int, default=100_000, help="0: no near-duplicates")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", default="", help="near or filters")
    given = parser.parse_args()
    folder = Path(given.data) if given.data else None
    if given.only != "near":
        carriers = [text for item in dolly(folder) for text in (_asked(item), item["response"])] if folder else []
        pii(carriers)
        if folder:
            found = [item.kind for text in carriers for item in private.find(text)]
            counts = {name: found.count(name) for name in sorted(set(found))}
            print(f"\nIn {len(carriers):,} texts of dolly itself: {counts}")
            tongues(folder)
            harm(folder)
            print("\nDuplicates planted in public texts: exact but for case and punctuation; some words replaced\n")
            row("set", "exact found", "Jaccard 0.8 or more found", "below 0.8 called one")
            row(*["---"] * 4)
            planted_copies("dolly", [_asked(item) + "\n" + item["response"] for item in dolly(folder)])
            planted_copies("sms_spam", [text for text, _ in sms(folder)])
            print("\nLabel noise: 5% of labels exchanged\n")
            row("set", "rows", "labels", "found", "of those listed, planted", "CPU s")
            row(*["---"] * 6)
            labels("sms_spam", sms(folder))
            labels("banking77", banking(folder))
            seeds = [json.loads(line) for line in lines(folder / "self_instruct/seed_tasks.jsonl")]
            said = [(kind(item["instruction"]) == "classify", bool(item["is_classification"])) for item in seeds]
            hits = sum(one and two for one, two in said)
            print(
                f"\nInstructions that classify (self_instruct's own mark): recall {share(hits, sum(two for _, two in said))}, precision {share(hits, sum(one for one, _ in said))}"
            )
    if given.only != "filters" and given.rows:
        near(given.rows, given.rounds, given.peer)


if __name__ == "__main__":
    main()
