"""Runs the walk of README.md against a demo server and compares what it gives with what the page shows.

usage: readme.py FILE ADDRESS DIRECTORY

In FILE, blocks of kind `console` hold commands after `$ ` and the output to expect; all of them run in
one shell, in their order. ADDRESS and DIRECTORY take the place of those of `usher demo`. Ids, times and
tokens may differ; a line `…` stands for any lines. A command without output shown must only succeed.
"""

import re
import subprocess
import sys

ADDRESS, DIRECTORY = "127.0.0.1:50051", "/tmp/usher-demo"
END = "--- the command ended with"

# What differs from run to run, and what stands for it.
VARYING = (
    (r'("consistencyToken": *")[^"]+', r"\1TOKEN"),
    (r'("(?:hash|previousHash|nextPageToken)": *")[^"]+', r"\1TOKEN"),
    (r"\b([a-z]{3,4})_[0-9a-f]{32}\b", r"\1_ID"),
    (r"\b\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d+)?Z", "TIME"),
    (r'": +', '": '),
)


def steps(page):
    """Pairs of a command and the lines that it is to give."""
    for block in re.findall(r"^```console\n(.*?)^```$", page, re.MULTILINE | re.DOTALL):
        lines = block.splitlines()
        while lines:
            line = lines.pop(0)
            if not line.startswith("$ "):
                sys.exit(f"`{line}` is the output of no command")
            command = line[2:]
            while not is_complete(command):
                command += "\n" + lines.pop(0)
            shown = []
            while lines and not lines[0].startswith("$ "):
                shown.append(lines.pop(0))
            yield command, shown


def is_complete(command):
    parsed = subprocess.run(["bash", "-n"], input=command, text=True, stderr=subprocess.DEVNULL, check=False)
    return parsed.returncode == 0 and not command.endswith("\\")


def normal(line):
    for pattern, name in VARYING:
        line = re.sub(pattern, name, line)
    return line.rstrip()


def agree(shown, given):
    """Whether the lines agree, `…` standing for any."""
    pattern = "".join(r"(?:.*\n)*?" if line.strip() == "…" else re.escape(line) + "\n" for line in shown)
    return re.fullmatch(pattern, "".join(line + "\n" for line in given)) is not None


def main(path, address, directory):
    with open(path, encoding="utf-8") as file:
        walk = list(steps(file.read()))
    if not walk:
        sys.exit(f"{path} shows no commands")
    # A mail leaves after the change that causes it; no reader is quicker than a second.
    script = "".join(f"{command}\nprintf '\\n%s %s\\n' '{END}' $?\nsleep 1\n" for command, _ in walk)
    script = script.replace(ADDRESS, address).replace(DIRECTORY, directory)
    script = script.replace("cargo run -q --", "usher")
    ran = subprocess.run(
        ["bash"], input=script, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=120, check=False
    )
    outputs = re.findall(rf"(.*?)\n?^{END} (\d+)\n", ran.stdout, re.MULTILINE | re.DOTALL)
    wrong = 0
    if len(outputs) != len(walk):
        print(f"{len(walk)} commands gave {len(outputs)} outputs:\n{ran.stdout}")
        wrong += 1
    for (command, shown), (output, status) in zip(walk, outputs):
        expected = [normal(line) for line in shown]
        given = [normal(line) for line in output.splitlines()]
        # What is refused ends with a code; the page shows it on purpose.
        if (status != "0" and not shown) or (shown and not agree(expected, given)):
            wrong += 1
            print(f"$ {command}\n-- {path} shows:", *shown, f"-- it gives (code {status}):", *output.splitlines(), sep="\n")
    print(f"{len(walk)} commands of {path}, {wrong} of them differ")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
