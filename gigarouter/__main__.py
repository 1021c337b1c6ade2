"""``python -m gigarouter`` is the ``gigarouter`` command."""

from gigarouter.commands import main

main()
