"""`python -m plmc`: the command line for environments where the script is not on the path."""

from plmc.cli.app import main

main()
