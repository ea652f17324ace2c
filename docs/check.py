#!/usr/bin/env python3
"""Runs what the documents print.

    docs/check.py FILE.md ...   every ```console block: `$ command`, then the output it must give
    docs/check.py --demo        every command that `pointsman demo` prints
    docs/check.py --tables      lists in the documents hold what the code has, and no more
    docs/check.py --rules       every rule of docs/rules has a test that names it, or a reason in untested.md

Commands run in order, in a folder of their own where `pointsman demo` is running, with the debug
build of `pointsman` on the PATH. `…` in an expected output stands for anything. A command whose
block shows exit code N ends in `; echo $?`, as a person would ask for it.
"""
import os
import re
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

import rulebook

ROOT = Path(__file__).resolve().parent.parent
DEADLINE = 30

# Limits that no test hits, with the reason.
UNTESTED = {
    "limits.backlog": "what the kernel does with it is the kernel's",
    "mailbox.sniffer": "full only while a shard does nothing at all, which no client can bring about",
}


class Demo:
    """The demo in a temporary folder; what it printed is in `banner`."""

    def __enter__(self):
        self.folder = tempfile.TemporaryDirectory()
        # Names beginning with POINTSMAN_ are settings; CI's or a person's must not leak in.
        self.env = {k: v for k, v in os.environ.items() if not k.startswith("POINTSMAN_")}
        self.env["PATH"] = f"{ROOT}/target/debug:{self.env['PATH']}"
        self.env["no_proxy"] = "*"
        self.env["NO_COLOR"] = "1"
        self.log = Path(self.folder.name, "demo.log")
        self.process = subprocess.Popen(
            ["pointsman", "demo"],
            cwd=self.folder.name,
            env=self.env,
            stdin=subprocess.DEVNULL,
            stdout=self.log.open("wb"),
            stderr=subprocess.STDOUT,
        )
        end = time.monotonic() + DEADLINE
        while "Ctrl-C stops everything" not in self.banner:
            if self.process.poll() is not None or time.monotonic() > end:
                sys.exit(f"the demo does not run:\n{self.banner}")
            time.sleep(0.05)
        return self

    @property
    def banner(self):
        return self.log.read_text()

    def run(self, command):
        return subprocess.run(
            ["bash", "-c", command],
            cwd=self.folder.name,
            env=self.env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            timeout=DEADLINE,
            check=False,
        )

    def __exit__(self, *_):
        self.process.terminate()
        try:
            code = self.process.wait(DEADLINE)
        except subprocess.TimeoutExpired:
            self.process.kill()
            sys.exit("the demo does not end when told to")
        if code != 0:
            sys.exit(f"the demo ended with {code}:\n{self.banner}")
        self.folder.cleanup()


def examples(text):
    """Pairs of command and expected output, in order, with the line they begin at."""
    block = None
    found = []
    for number, line in enumerate(text.splitlines(), 1):
        if line == "```console":
            block = True
        elif line == "```":
            block = None
        elif block and line.startswith("$ "):
            found.append([number, line[2:], []])
        elif block and found and found[-1][1].endswith("\\"):
            found[-1][1] += "\n" + line
        elif block and found:
            found[-1][2].append(line)
    return found


def check_document(path, demo):
    bad = 0
    for number, command, expected in examples(path.read_text()):
        output = demo.run(command).stdout.decode(errors="replace")
        pattern = ".*".join(re.escape(part) for part in "\n".join(expected).split("…"))
        good = re.fullmatch(pattern.rstrip(), output.rstrip(), re.DOTALL) is not None
        print(f"{'ok  ' if good else 'BAD '} {path.name}:{number}  {command}")
        if not good:
            bad += 1
            print(f"--- expected\n{chr(10).join(expected)}\n--- got\n{output}")
    return bad


def check_banner(demo):
    lines = demo.banner.split("Try, in another terminal:", 1)[1].splitlines()
    commands = [it.strip() for it in lines if it.startswith("  ") and not it.startswith("  # ")]
    bad = 0
    for command in commands:
        endless = "curl -N " in command
        answer = demo.run(f"timeout 2 {command}" if endless else command)
        # An endless command is right to be ended by `timeout`, which says 124.
        good = answer.returncode == (124 if endless else 0) and answer.stdout.strip()
        print(f"{'ok  ' if good else 'BAD '} {command}")
        if not good:
            bad += 1
            print(f"--- exit {answer.returncode}\n{answer.stdout}\n{answer.stderr}")
    if not commands or "reviews-v3" not in answer.stdout.decode():
        bad += 1
        print(f"BAD  the last command does not show the changed route\n{answer.stdout}")
    ready = urllib.request.urlopen("http://127.0.0.1:15000/ready", timeout=5)
    assert ready.status == 200
    return bad


def check_tables():
    """Lists that people copy out of the code by hand, and forget to."""
    def found(pattern, *paths):
        texts = (path.read_text() for pattern in paths for path in ROOT.glob(pattern))
        return {it for text in texts for it in re.findall(pattern, text, re.MULTILINE)}

    # First cell of a row; several names may share it.
    def rows(path, pattern):
        cells = found(r"^\| ([^|]*) \|", path)
        return {it for cell in cells for it in re.findall(pattern, cell)}

    # The settings of a section.
    def settings(section, prefix):
        text = (ROOT / "crates/dataplane/src/settings.rs").read_text()
        body = re.search(rf"pub struct {section} {{(.*?)^}}", text, re.MULTILINE | re.DOTALL)[1]
        return {prefix + it for it in re.findall(r"^    pub (\w+):", body, re.MULTILINE)}

    tests = "crates/*/tests/**/*.rs", "crates/dataplane/src/**/tests.rs"
    words = r"(?:limits|timeouts|http2|mirrors)\.\w+|mailbox\.sniffer|descriptors|http2KeepAlive|client_hello_bytes"
    limits = rows("docs/refusals.md", rf"`({words})`")
    codes = found(r"const \w+: Code = Code\((\d+)\)", "crates/*/src/**/*.rs")
    lists = [
        (
            "metrics",
            found(r'"((?:istio|pointsman)_\w+)"', "crates/telemetry/src/names.rs"),
            rows("docs/operating.md", r"`((?:istio|pointsman)_\w+)`"),
        ),
        (
            "refusals",
            found(r'^    \w+ "(\w+)" \d{3} "', "crates/wire/src/http1/refusal.rs")
            | found(r'refuse\("(\w+)"', "crates/dataplane/src/**/*.rs")
            | found(r'(?:Malformed|return Err)\("(\w+)"', "crates/dataplane/src/http/**/*.rs")
            | found(r'=> "(http2_\w+)"', "crates/dataplane/src/http/http2/serve.rs"),
            rows("docs/refusals.md", r"^`([a-z0-9_]+)`$"),
        ),
        (
            "limits",
            settings("Limits", "limits.") | settings("Timeouts", "timeouts.") | settings("Http2", "http2.")
            | found(r'limit\("([\w.]+)"', "crates/dataplane/src/**/*.rs"),
            limits,
        ),
        (
            "findings",
            {f"PM{int(code):04}" for code in codes},
            rows("docs/findings.md", r"PM\d{4}"),
        ),
    ]
    bad = 0
    for name, code, document in lists:
        print(f"{'ok  ' if code == document else 'BAD '} {len(code)} {name}")
        bad += code != document
        for word, only in (("not in the document", code - document), ("gone", document - code)):
            for it in sorted(only):
                print(f"     {it}: {word}")
    hit = found(rf"\b({words})\b", *tests) & limits
    bare, idle = limits - hit - UNTESTED.keys(), UNTESTED.keys() & hit
    print(f"{'BAD ' if bare or idle else 'ok  '} {len(hit)} limits that a test sets or names")
    bad += bool(bare or idle)
    for it in sorted(bare):
        print(f"     {it}: no test")
    for it in sorted(idle):
        print(f"     {it}: has a test")
    return bad


def main():
    arguments = sys.argv[1:]
    if not arguments:
        sys.exit(__doc__)
    if arguments == ["--tables"]:
        sys.exit(bool(check_tables()))
    if arguments == ["--rules"]:
        sys.exit(bool(rulebook.check(ROOT)))
    if arguments == ["--demo"]:
        with Demo() as demo:
            bad = check_banner(demo)
    else:
        bad = 0
        for document in arguments:
            # Each with a demo of its own: what one changes in its files is not the next one's.
            with Demo() as demo:
                bad += check_document(Path(document), demo)
    if bad:
        sys.exit(f"{bad} do not do what they say")


if __name__ == "__main__":
    main()
