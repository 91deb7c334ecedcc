"""`python -m sonata` is the command `sonata`."""

from sonata.cli.entry import main

main()
