"""``python -m providers.worker``: serves one model until a signal; ``roofline`` prints what hardware could do.

It imports without garbage collection, and leaves what was imported out of it for good: torch and transformers live as
long as the process, and collections during their imports cost a third of them (1.1 s of 3.4 s).
"""

import gc
import sys
from importlib import import_module

if __name__ == "__main__":
    gc.disable()
    process = import_module("providers.worker.process")
    gc.freeze()
    gc.enable()
    sys.exit(process.main())
