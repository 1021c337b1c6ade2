"""``python -m bench.clients.lean_serve serve``: the product with the lean response cycle, for a comparison."""

from bench.clients import lean_cycle
from gigarouter.commands import main

lean_cycle.install()
main()
