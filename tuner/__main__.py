"""`python -m tuner`: the same as the command `tune`."""

from tuner.cli.main import main

main()
