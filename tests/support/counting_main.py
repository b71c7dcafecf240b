"""`jaxft` with the tiny body; counts of the compilation cache as JSON on stderr at the end."""

import json
import sys
from collections import Counter

import jax
import tiny_body

from jaxft.cli import main

EVENTS = {
    "requests": "/jax/compilation_cache/compile_requests_use_cache",
    "hits": "/jax/compilation_cache/cache_hits",
    "misses": "/jax/compilation_cache/cache_misses",
}

if __name__ == "__main__":
    counts: Counter[str] = Counter()
    jax.monitoring.register_event_listener(lambda event, **_: counts.update([event]))
    tiny_body.register()
    code = main.main(sys.argv[1:])
    print(json.dumps({name: counts[event] for name, event in EVENTS.items()}), file=sys.stderr)
    sys.exit(code)
