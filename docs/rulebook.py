"""The numbered rules of docs/rules against the tests that name them.

A rule is defined by a table row whose first cell is its number, or by a paragraph that begins with
its number in bold; one that only introduces lettered rows needs no test of its own. A test covers a
rule by naming the very number: `LIS-40`, not `LIS-40..45`, which is a pointer for readers. `T-LIS-7`
is the number of a test case and covers nothing.
"""
import re
from pathlib import Path

FAMILIES = "PS|LIS|HST|VSB|VS-S|VS-T|VS-H|ALS|VIS|BE|GW|GA"
NUMBER = rf"(?<![\w-])({FAMILIES})-(\d+)([a-z]?)"
CITED = re.compile(rf"{NUMBER}(?:\.\.(\d+)([a-z]?))?(?!\w)")
DEFINED = re.compile(rf"^(?:\| {NUMBER} \||\*\*{NUMBER}\.\*\*)", re.MULTILINE)
EXCEPTED = re.compile(rf"^\| {NUMBER}(?:\.\.(\d+)([a-z]?))? \|[^|]*\w[^|]*\|$", re.MULTILINE)
# Everything after this line of a source file is tests.
TEST_MODULE = re.compile(r"^#\[cfg\(test\)\]\n(?:#\[.*\]\n)*mod \w+ \{", re.MULTILINE)
TEXTS = {".rs", ".txt", ".yaml", ".yml", ".json", ".md", ".schema", ".py", ".sh", ".toml"}


def texts(root, *folders):
    """Pairs of path and text of all files in folders that may cite a rule."""
    for folder in folders:
        base = root / folder
        for path in [base] if base.is_file() else sorted(base.rglob("*")):
            if path.suffix in TEXTS and path.is_file() and "target" not in path.parts:
                yield path, path.read_text(errors="replace")


def tests(root):
    """Pairs of path and the part of its text that is a test or a test's data."""
    for path, text in texts(root, "crates", "examples"):
        parts = path.relative_to(root).parts
        if "tests" in parts or parts[0] == "examples" or re.search(r"(^|_)tests\.rs$", path.name):
            yield path, text
        elif path.suffix == ".rs" and (begin := TEST_MODULE.search(text)):
            yield path, text[begin.start() :]


def key(rule):
    """Sorts by family, then by number as a number, then by letter."""
    family, number, letter = re.fullmatch(NUMBER, rule).groups()
    return FAMILIES.split("|").index(family), int(number), letter


def span(match, among):
    """The rules that `BE-30..38`, or a single number, stands for."""
    family, first, letter, last, last_letter = match.groups()
    low = (FAMILIES.split("|").index(family), int(first), letter)
    # All lettered rows of the last number, unless a letter says where to stop.
    high = (low[0], int(last), last_letter or "~") if last else low
    return [it for it in among if low <= key(it) <= high]


def check(root):
    """Prints what is wrong, and returns how much it is."""
    folder = root / "docs/rules"
    complaints = []
    defined, bold = {}, set()
    for path in sorted(folder.glob("*.md")):
        if path.name in ("README.md", "untested.md"):
            continue
        for match in DEFINED.finditer(path.read_text()):
            rule = "{}-{}{}".format(*[it for it in match.groups() if it is not None])
            if rule in defined:
                complaints.append(f"{rule}: defined in {defined[rule]} and in {path.name}")
            defined[rule] = path.name
            if match[0].startswith("**"):
                bold.add(rule)

    tested = {}
    for path, text in tests(root):
        for match in CITED.finditer(text):
            if match[4] is None:
                tested.setdefault(match[0], path.relative_to(root))
    pages = (path.name for path in root.glob("*.md"))
    for path, text in texts(root, "crates", "examples", "benches", "fuzz", "ops", "docs", *pages):
        for match in CITED.finditer(text):
            family = match[1]
            ends = [f"{family}-{match[2]}{match[3]}"]
            if match[4]:
                ends.append(f"{family}-{match[4]}{match[5]}")
            for rule in ends:
                if rule not in defined:
                    line = text.count("\n", 0, match.start()) + 1
                    complaints.append(f"{rule}: not defined, cited at {path.relative_to(root)}:{line}")

    excepted = set()
    for match in EXCEPTED.finditer((folder / "untested.md").read_text()):
        rules = span(match, defined)
        if not rules:
            written = match[0].split("|")[1].strip()
            complaints.append(f"{written}: excepted in untested.md, but no such rule")
        for rule in rules:
            if rule in excepted:
                complaints.append(f"{rule}: twice in untested.md")
            excepted.add(rule)
            if rule in tested:
                complaints.append(f"{rule}: excepted in untested.md, but named by {tested[rule]}")
    introductions = {rule for rule in defined if f"{rule}a" in defined and rule in bold}
    for rule in sorted(defined.keys() - tested.keys() - excepted - introductions, key=key):
        complaints.append(f"{rule}: no test names it ({defined[rule]})")

    for path in sorted(set(defined.values())):
        own = {rule for rule, where in defined.items() if where == path}
        named, apart = len(own & tested.keys()), len(own & excepted)
        print(f"     {path}: {len(own)} rules, {named} named by tests, {apart} excepted")
    for complaint in complaints:
        print(f"     {complaint}")
    print(f"{'BAD ' if complaints else 'ok  '} {len(defined)} rules")
    return len(complaints)
