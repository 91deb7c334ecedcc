"""`python -m sonata` is the command `sonata`."""

from sonata.cli.main import main

main()
