"""The command line. Each command imports what it needs when it runs.

parser       the tree of commands; all of argparse is here and in arguments
arguments    types of arguments, and their error messages
resources    commands made from the admin API's table of endpoints
fields       from the type of a body to options, and from options to a body
meanings     the docstrings of fields, for help
gateway      where a command goes: a running gateway, or the database itself
offline      the admin API in this process, where no gateway runs
keys         API keys
usage        past requests and their costs
usage_sums   usage summed up, and the check of the sums
budgets      budgets
prices       what targets cost
secrets      secrets sealed in the database
serve        serve, check and init
declarative  apply and export
status       the state of a running gateway
top          live traffic in the terminal
completion   scripts that complete commands in a shell
main         from a command line to an exit code
output       tables, JSON, messages, exit codes
reference    docs/cli.md, made from the parser
"""

from gandalf.cli.main import main

__all__ = ["main"]
