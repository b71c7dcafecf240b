"""Training steps of EfficientNet-Lite0 with RandAugment and TrivialAugment, beside those without.

    python bench/policies.py [--batch-size=32] [--image-size=64] [--rounds=7]

The steps are those of `jaxft train`, canvas to view included, with the preset side_on: `head`
trains the head alone, `full` the whole network. All are compiled first, then timed in turn, so
that a machine shared with others slows all alike. Prints one JSON line: images per second, by the
median, and over those without a policy, by the median of the rounds' ratios.
"""

import argparse
import json
import statistics
import time

import jaxft_side

POLICIES = "none", "randaugment", "trivialaugment"
GROUPS = {"head": {"head": 1.0}, "full": {"early": 1.0, "late": 1.0, "head": 1.0}}
MODEL = {"name": "efficientnet_lite0", "classes": 10}


def main() -> None:
    """Time the steps and print the figures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for flag, default in (("batch-size", 32), ("image-size", 64), ("rounds", 7)):
        parser.add_argument(f"--{flag}", type=int, default=default)
    options = parser.parse_args()
    shape = options.batch_size, options.image_size
    calls = {
        (step, policy): call
        for policy in POLICIES
        for step, call in jaxft_side.programs(MODEL, *shape, GROUPS, "", "side_on", policy)
        if step in GROUPS
    }
    for call in calls.values():
        call().block_until_ready()
    seconds: dict[tuple[str, str], list[float]] = {key: [] for key in calls}
    for _ in range(options.rounds):
        for key, call in calls.items():
            start = time.perf_counter()
            call().block_until_ready()
            seconds[key].append(time.perf_counter() - start)
    found: dict[str, dict[str, dict[str, float]]] = {step: {} for step in GROUPS}
    for (step, policy), taken in seconds.items():
        pairs = zip(seconds[step, "none"], taken, strict=True)
        found[step][policy] = {
            "images/s": round(options.batch_size / statistics.median(taken), 1),
            "ratio": round(statistics.median(without / own for without, own in pairs), 3),
        }
    print(json.dumps({"batch_size": options.batch_size, "image_size": options.image_size, **found}))


if __name__ == "__main__":
    main()
