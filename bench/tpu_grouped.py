"""What packing grouped convolutions is worth on TPU, by XLA's cost model; no TPU is needed.

    python bench/tpu_grouped.py --topology=v5e:2x4 --conv=auto >> lines
    python bench/tpu_grouped.py --topology=v5e:2x4 --conv=native >> lines
    python bench/tpu_grouped.py --table=lines

Compiles the full train step of ResNeXt-101 64x4d (every layer trains, 224 pixels, bfloat16, 64
images a chip, BatchNorm over the global batch, augmentation included) ahead of time for a slice
and prints one JSON line; `--conv` is the one thing that changes. `--table` puts lines together.
`--layer=56,256,1` (pixels, channels, stride) compiles that 3x3 convolution of 64 groups alone, with
both gradients: the figures behind the tables of jaxft/models/conv/lowerings.py. `--overlap` lets
the gradients' all-reduces run beside the rest (`config.overlap_gradients`).

Seconds are the sum of the compiler's own estimates (`estimated_cycles` of the scheduled program at
the chip's clock) over all operations; those without an estimate are charged the bytes that they
touch over the memory's bandwidth, and are listed by kind with what they were charged: see
jaxft/costs/model_time.py. A compilation takes five to seven minutes of CPU time.
"""

import argparse
import json
import subprocess
import time
from dataclasses import replace
from pathlib import Path

import jax
import jax.numpy as jnp
from jax import Array, lax
from jax.sharding import NamedSharding
from jax.sharding import PartitionSpec as P

from jaxft.cli.config_file import load_config
from jaxft.config import load
from jaxft.costs import costs
from jaxft.costs.assumptions import sizes_of
from jaxft.costs.compilation import compile_job, step_job
from jaxft.costs.costs import Costs
from jaxft.devices import platform, sharding, topology
from jaxft.materials.model import create_model
from jaxft.models.conv import convolution
from jaxft.models.variables import Weights
from jaxft.training.spec import spec_of

IMAGES_A_CHIP = 64
GIB = 2**30


def measure(slice_name: str, conv: str, images: int, overlap: bool) -> dict[str, object]:
    """The step of the furniture card's last phase, compiled for so many images a chip."""
    target = topology.slice_of(slice_name)
    card = load.read(load_config("furniture_resnext101"))
    settings = replace(
        card,
        overlap_gradients=overlap,
        phases=card.phases[-1:],
        model=replace(card.model, conv=conv),
        data=replace(card.data, batch_size=images * target.chips),
    )
    sizes = sizes_of(settings, card.plan.examples, card.plan.classes)
    with platform.targeting(*target.platform):
        model = create_model(settings, sizes.classes)
        weights = Weights(*jax.eval_shape(model.init, jax.random.key(0)))
        spec = spec_of(settings, model, 0, sizes.train)
        job = step_job(spec, settings, weights, target)
        started, computed = time.perf_counter(), time.process_time()
        program = compile_job(job, job.lower(), settings, target)
    line = {
        "topology": slice_name,
        "conv": conv,
        "images_a_device": program.images,
        "compile_seconds": round(time.perf_counter() - started, 1),
        "compile_cpu_seconds": round(time.process_time() - computed, 1),
        "jax": jax.__version__,
        "libtpu": version("libtpu"),
        "revision": revision(),
    }
    found = program.costs
    if not isinstance(found, Costs):
        return line | {"needs_gib": found.needed / GIB, "has_gib": found.allowed / GIB}
    assert found.model is not None and target.device is not None
    reduced = found.collectives["all-reduce"]
    return line | {
        "ms": round(1e3 * found.model.seconds, 2),
        "charged_ms": {kind: round(1e3 * c.seconds, 3) for kind, c in found.model.charges.items()},
        "charged": {kind: charge.number for kind, charge in found.model.charges.items()},
        "roofline_ms": round(1e3 * (found.roofline_seconds or 0.0), 2),
        "all_reduces": reduced.number,
        "asynchronous": reduced.asynchronous,
        "tflop": round(found.flops / 1e12, 3),
        "gb_moved": round(found.bytes / 1e9, 2),
        "needs_gib": round(found.memory.total / GIB, 2),
        "has_gib": round(target.device.hbm_bytes / GIB, 2),
    }


def measure_layer(slice_name: str, conv: str, layer: str) -> dict[str, object]:
    """One 3x3 convolution of 64 groups and its gradients, on each device's share."""
    target = topology.slice_of(slice_name)
    size, channels, stride = map(int, layer.split(","))
    out = -(-size // stride)
    whole, divided = (NamedSharding(target.mesh, spec) for spec in (P(), P(sharding.AXIS)))
    images = IMAGES_A_CHIP * target.chips

    def forward_and_gradients(x: Array, kernel: Array, dy: Array) -> tuple[Array, ...]:
        def forward(x: Array, kernel: Array) -> Array:
            pads = ((1, 1), (1, 1))
            return convolution.conv(x, kernel.astype(x.dtype), stride, pads, 64, conv)

        y, transpose = jax.vjp(forward, x, lax.pcast(kernel, sharding.AXIS, to="varying"))
        dx, dk = transpose(dy)
        return y, dx, lax.psum(dk, sharding.AXIS)

    specs = (P(sharding.AXIS), P(), P(sharding.AXIS))
    outputs = (P(sharding.AXIS), P(sharding.AXIS), P())
    mapped = sharding.shard_map(forward_and_gradients, target.mesh, specs, outputs)
    bf16 = jnp.bfloat16
    arguments = (
        jax.ShapeDtypeStruct((images, size, size, channels), bf16, sharding=divided),
        jax.ShapeDtypeStruct((3, 3, channels // 64, channels), jnp.float32, sharding=whole),
        jax.ShapeDtypeStruct((images, out, out, channels), bf16, sharding=divided),
    )
    with platform.targeting(*target.platform):
        compiled = jax.jit(mapped).lower(*arguments).compile()
    found = costs.of_compiled(compiled, target.device).model
    assert found is not None
    line = {"topology": slice_name, "conv": conv, "layer": layer}
    return line | {"ms": round(1e3 * found.seconds, 3), "charged_ms": round(1e3 * found.charged, 3)}


def version(package: str) -> str:
    """Of an installed package."""
    from importlib import metadata

    return metadata.version(package)


def revision() -> str:
    """Of the working tree that this file is in."""
    command = ["git", "-C", str(Path(__file__).parent), "describe", "--always", "--dirty"]
    return subprocess.run(command, capture_output=True, text=True).stdout.strip()


def table(lines: list[dict]) -> str:
    """For each slice both sides and their ratio, in Markdown."""
    rows = [
        "| slice | native, ms (of them charged) | auto, ms (of them charged) | native / auto "
        "| GiB a device: native, auto, there |",
        "|---|---|---|---|---|",
    ]
    sides = {(line["topology"], line["conv"]): line for line in lines}
    for name in dict.fromkeys(line["topology"] for line in lines):
        native, auto = sides.get((name, "native")), sides.get((name, "auto"))
        if native is None or auto is None or not ("ms" in native and "ms" in auto):
            continue
        milliseconds = [
            f"{s['ms']:.1f} ({sum(s['charged_ms'].values()):.1f})" for s in (native, auto)
        ]
        memory = f"{native['needs_gib']}, {auto['needs_gib']}, {auto['has_gib']}"
        ratio = native["ms"] / auto["ms"]
        rows.append(f"| {name} | {milliseconds[0]} | {milliseconds[1]} | {ratio:.2f}x | {memory} |")
    return "\n".join(rows)


def main_() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--topology", default="v5e:2x4")
    parser.add_argument("--conv", default="auto", help="as config.model.conv")
    parser.add_argument("--images", type=int, default=IMAGES_A_CHIP, help="a chip")
    parser.add_argument("--layer", default="", metavar="PIXELS,CHANNELS,STRIDE")
    parser.add_argument("--table", default="", metavar="FILE", help="of JSON lines")
    parser.add_argument("--overlap", action="store_true", help="config.overlap_gradients")
    flags = parser.parse_args()
    if flags.table:
        print(table([json.loads(line) for line in Path(flags.table).read_text().splitlines()]))
    elif flags.layer:
        print(json.dumps(measure_layer(flags.topology, flags.conv, flags.layer)))
    else:
        print(json.dumps(measure(flags.topology, flags.conv, flags.images, flags.overlap)))


if __name__ == "__main__":
    main_()
