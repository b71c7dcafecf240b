"""`jaxft models`."""

from argparse import ArgumentParser, Namespace

from jaxft.runtime.lines import folded

HELP = "list the bodies: parameters, features, image size, pretrained weights"
COLUMNS = {"model": "<20", "parameters": ">12", "features": ">9", "image size": ">11"}


def add(parser: ArgumentParser) -> None:
    """Add the verb's flags: none."""


def run(options: Namespace) -> int:
    """Print the table; return the exit code."""
    import os

    os.environ.setdefault("JAX_PLATFORMS", "cpu")  # nothing is computed
    from jaxft.models.registry import BODIES
    from jaxft.models.weights.sources import sources
    from jaxft.runtime.table import table_lines

    rows = [cells(name) for name in BODIES]
    head, rule, *lines = table_lines(COLUMNS, rows)
    print(f"{head}\n{rule}")
    for name, line in zip(BODIES, lines, strict=True):
        print(line)
        print(folded(f"    weights: {', '.join(sources(name))}, file:PATH", 0))
    return 0


def cells(name: str) -> tuple[str, ...]:
    """A body's name, its parameters, its features, and the usual size of its images."""
    import jax

    from jaxft.models.registry import create

    model = create(name, 2, hidden=(), pooling="avg")
    params, _ = jax.eval_shape(model.init, jax.random.key(0))
    body = [leaf for group in ("early", "late") for leaf in jax.tree.leaves(params[group])]
    parameters = sum(leaf.size for leaf in body)
    size = model.body.preprocessing.image_size
    return name, f"{parameters / 1e6:.1f} M", str(model.feature_size), f"{size} px"
