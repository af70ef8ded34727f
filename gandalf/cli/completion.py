"""Scripts that complete commands and options in a shell, made from the parser."""

from __future__ import annotations

import argparse
from collections.abc import Iterator

from gandalf.cli.output import OK

_BASH = """\
# Completion of gandalf for bash. Use: source <(gandalf completion bash)
_gandalf() {{
    local path="" word words
    for word in "${{COMP_WORDS[@]:1:COMP_CWORD-1}}"; do
        case "$path $word" in
{paths}
        esac
    done
    case "$path" in
{words}
    esac
    COMPREPLY=($(compgen -W "$words" -- "${{COMP_WORDS[COMP_CWORD]}}"))
    if [[ ${{#COMPREPLY[@]}} -eq 0 ]]; then compopt -o default; fi
}}
complete -F _gandalf gandalf
"""

_ZSH = """\
#compdef gandalf
# Completion of gandalf for zsh. Use: source <(gandalf completion zsh)
_gandalf() {{
    local at="" word
    local -a candidates
    for word in "${{words[@]:1:CURRENT-2}}"; do
        case "$at $word" in
{paths}
        esac
    done
    case "$at" in
{words}
    esac
    compadd -- $candidates || _files
}}
compdef _gandalf gandalf
"""


def run(args: argparse.Namespace) -> int:
    """Print the script for one shell."""
    from gandalf.cli.parser import build

    tree = dict(_tree(build()))
    make = {"bash": _bash, "zsh": _zsh, "fish": _fish}[args.shell]
    print(make(tree), end="")
    return OK


def _tree(
    parser: argparse.ArgumentParser,
) -> Iterator[tuple[tuple[str, ...], list[str]]]:
    """Yield the words that may follow each command."""
    from gandalf.cli.parser import walk

    for path, each in ((), parser), *walk(parser):
        words: list[str] = []
        for action in each._actions:
            words += [flag for flag in action.option_strings if flag.startswith("--")]
            if action.choices is not None and not action.option_strings:
                words += [str(choice) for choice in action.choices]
        yield path, sorted(words)


def _bash(tree: dict[tuple[str, ...], list[str]]) -> str:
    paths = [f'        "{_key(p)}") path="{_key(p)}" ;;' for p in tree if p]
    words = [f'    "{_key(p)}") words="{" ".join(w)}" ;;' for p, w in tree.items()]
    return _BASH.format(paths="\n".join(paths), words="\n".join(words))


def _zsh(tree: dict[tuple[str, ...], list[str]]) -> str:
    paths = [f'        "{_key(p)}") at="{_key(p)}" ;;' for p in tree if p]
    words = [f'    "{_key(p)}") candidates=({" ".join(w)}) ;;' for p, w in tree.items()]
    return _ZSH.format(paths="\n".join(paths), words="\n".join(words))


def _key(path: tuple[str, ...]) -> str:
    return "".join(f" {word}" for word in path)


_FISH = """\
# Completion of gandalf for fish. Use: gandalf completion fish | source
function __gandalf_at
    set -l at
    for word in (commandline -opc)[2..]
        if not string match -q -- '-*' $word
            set -a at $word
        end
    end
    test "$at" = "$argv"
end
"""


def _fish(tree: dict[tuple[str, ...], list[str]]) -> str:
    lines = [
        f"complete -c gandalf -f -n '__gandalf_at {' '.join(path)}'"
        f" -a '{' '.join(words)}'"
        for path, words in tree.items()
    ]
    return _FISH + "\n".join(lines) + "\n"
