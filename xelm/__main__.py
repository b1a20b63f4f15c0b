"""`python -m xelm`."""

from xelm.cli import main

main()
