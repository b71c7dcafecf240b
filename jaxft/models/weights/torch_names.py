"""PyTorch's names for each model's arrays, both ways and strict: nothing is passed over."""

import re
from collections.abc import Callable, Iterator, Mapping, Set
from functools import cache
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxft.errors import UserError
from jaxft.models.bodies import efficientnet_lite
from jaxft.models.bodies.resnet import network
from jaxft.models.body import Body
from jaxft.models.weights.fastai_names import named_as_torchvision
from jaxft.models.weights.timm_names import efficientnet_name
from jaxft.models.weights.torch_layout import from_torch_layout, to_torch_layout, torch_shape
from jaxft.models.weights.wrappers import behind_prefix, unwrapped

ORIGINALS: dict[str, Callable[[str, str], Body]] = {**efficientnet_lite.BODIES, **network.BODIES}
IMAGENET_CLASSES = 1000

Params = dict[str, Any]
Stats = dict[str, Any]


class Entry(NamedTuple):
    """One array: its place in jaxft's trees and its name and shape in PyTorch's state dict."""

    collection: str
    path: tuple[str, ...]
    name: str
    shape: tuple[int, ...]


LEAVES = {
    "kernel": "weight",
    "scale": "weight",
    "bias": "bias",
    "mean": "running_mean",
    "var": "running_var",
}
EFFICIENTNET_MODULES = {
    "stem_conv": "_conv_stem",
    "stem_bn": "_bn0",
    "head_conv": "_conv_head",
    "head_bn": "_bn1",
    "expand_conv": "_expand_conv",
    "expand_bn": "_bn0",
    "depthwise_conv": "_depthwise_conv",
    "depthwise_bn": "_bn1",
    "project_conv": "_project_conv",
    "project_bn": "_bn2",
    "linear0": "_fc",
}


def _efficientnet_module(module: str) -> str:
    """`block03` -> `_blocks.3`, `project_bn` -> `_bn2`."""
    if block := re.fullmatch(r"block(\d+)", module):
        return f"_blocks.{int(block[1])}"
    return EFFICIENTNET_MODULES[module]


def _resnet_module(module: str) -> str:
    """`layer1_0` -> `layer1.0`, `downsample_0` -> `downsample.0`."""
    return "fc" if module == "linear0" else module.replace("_", ".")


MODULE_NAMES = {
    **dict.fromkeys(efficientnet_lite.BODIES, _efficientnet_module),
    **dict.fromkeys(network.BODIES, _resnet_module),
}


@cache
def entries(name: str) -> tuple[Entry, ...]:
    """List every array of the body `name`, and of a linear head for ImageNet's classes."""
    body = ORIGINALS[name]("float32", "auto")
    image = jax.ShapeDtypeStruct((1, 64, 64, 3), jnp.float32)
    key = jax.eval_shape(lambda: jax.random.key(0))
    trees: dict[str, dict[str, Any]] = {"params": {}, "batch_stats": {}}
    x = image
    for group, module in (("early", body.early), ("late", body.late)):
        x, variables = jax.eval_shape(
            lambda key, x, module=module: module.init_with_output(key, x, train=False), key, x
        )
        for collection, tree in trees.items():
            tree[group] = variables[collection]
    linear = {"kernel": (body.channels, IMAGENET_CLASSES), "bias": (IMAGENET_CLASSES,)}
    trees["params"]["head"] = {
        "linear0": {leaf: jax.ShapeDtypeStruct(shape, "float32") for leaf, shape in linear.items()}
    }
    return tuple(
        _entry(name, collection, path, leaf.shape)
        for collection, tree in trees.items()
        for path, leaf in _leaves(tree)
    )


def _entry(name: str, collection: str, path: tuple[str, ...], shape: tuple[int, ...]) -> Entry:
    _, *modules, leaf = path
    torch_name = ".".join([*map(MODULE_NAMES[name], modules), LEAVES[leaf]])
    return Entry(collection, path, torch_name, torch_shape(shape))


def _leaves(
    tree: Mapping[str, Any], path: tuple[str, ...] = ()
) -> Iterator[tuple[tuple[str, ...], Any]]:
    for key, value in tree.items():
        if isinstance(value, Mapping):
            yield from _leaves(value, (*path, key))
        else:
            yield (*path, key), value


def timm_name(name: str, original: str) -> str:
    """Return timm's name of an array of the body `name`, which its original calls so."""
    if name not in efficientnet_lite.BODIES:
        return original
    return efficientnet_name(original, [stage.repeats for stage in efficientnet_lite.STAGES])


def body_from_torch(
    name: str, arrays: Mapping[str, np.ndarray], with_head: bool = False
) -> tuple[Params, Stats]:
    """Convert PyTorch's arrays to parameters and BatchNorm statistics, keyed by layer group.

    Args:
      name: one of ORIGINALS.
      arrays: as `read_weights` returns them, under the names of torchvision, timm or fastai, with
        or without a prefix that all have. The classifier is passed over unless it is asked for, as
        are BatchNorm's `num_batches_tracked`.
      with_head: also the classifier, of any number of classes, as the plain linear head
        (`hidden=()`).

    Returns:
      Dicts with the keys early and late, and head if asked for; in float32.

    Raises:
      UserError: lists every missing, unexpected and misshapen name; where all are other ones, says
        so in a line.
    """
    wanted = {entry.name: entry for entry in entries(name)}
    originals = {timm_name(name, original): original for original in wanted}
    own = {key.partition(".")[0] for key in (*wanted, *originals)}
    arrays = {key: a for key, a in unwrapped(arrays, own).items() if not _is_counter(key)}
    if name in network.BODIES:
        arrays = dict(named_as_torchvision(arrays))
    arrays = {originals.get(key, key): value for key, value in arrays.items()}
    classifier = {key for key, entry in wanted.items() if entry.path[0] == "head"}
    if not with_head:
        wanted = {key: entry for key, entry in wanted.items() if key not in classifier}
        arrays = {key: array for key, array in arrays.items() if key not in classifier}
    _check_names(name, wanted, arrays)
    values = {entry: from_torch_layout(arrays[entry.name]) for entry in wanted.values()}
    return _tree("params", values), _tree("batch_stats", values)


def _is_counter(key: str) -> bool:
    return key.rpartition(".")[2] == "num_batches_tracked"


def _check_names(name: str, wanted: Mapping[str, Entry], arrays: Mapping[str, np.ndarray]) -> None:
    shapes = {key: _expected_shape(entry, arrays) for key, entry in wanted.items()}
    offenders = [f"missing: {key} {shapes[key]}" for key in wanted if key not in arrays]
    offenders += [
        f"unexpected: {key} {array.shape}" for key, array in arrays.items() if key not in wanted
    ]
    offenders += [
        f"wrong shape: {key} is {arrays[key].shape}, {name} has {shape}"
        for key, shape in shapes.items()
        if key in arrays and arrays[key].shape != shape
    ]
    offenders += [
        f"not floating-point: {key} is {arrays[key].dtype}"
        for key in wanted
        if key in arrays and not _is_real(arrays[key].dtype)
    ]
    if offenders:
        told = _in_a_line(name, wanted.keys(), arrays.keys())
        raise UserError(f"These are not the weights of {name}", [told] if told else offenders)


def _in_a_line(name: str, wanted: Set[str], given: Set[str]) -> str:
    """Say what is wrong with all names at once, "" where more than a tenth are the model's."""
    fit = len(wanted & given)
    if 10 * fit > len(wanted):
        return ""
    if prefix := behind_prefix(given, wanted):
        others = sorted(key for key in given if not key.startswith(prefix))
        return (
            f"its names stand behind {prefix!r}, beside {len(others)} others, such as "
            f"{others[0]}: only a prefix that all names have is dropped"
        )
    theirs, ours = sorted(given - wanted)[:2], sorted(wanted - given)[:2]
    return (
        f"{fit or 'none'} of its {len(given)} names {'are' if fit > 1 else 'is'} among {name}'s "
        f"{len(wanted)}: it has {', '.join(theirs)}, ..., where {name} has {', '.join(ours)}, ..."
    )


def _is_real(dtype: np.dtype) -> bool:
    return bool(jnp.issubdtype(dtype, jnp.floating))


def _expected_shape(entry: Entry, arrays: Mapping[str, np.ndarray]) -> tuple[int, ...]:
    """Return the entry's shape; a classifier's first axis is as long as its bias in the file."""
    if entry.path[0] != "head":
        return entry.shape
    bias = arrays.get(entry.name.replace("weight", "bias"), np.zeros(IMAGENET_CLASSES))
    return (bias.size, *entry.shape[1:])


def _tree(collection: str, values: Mapping[Entry, np.ndarray]) -> dict[str, Any]:
    """Nest a collection's values in dicts; a group without arrays in it has {}."""
    tree: dict[str, Any] = {entry.path[0]: {} for entry in values}
    for entry, value in values.items():
        if entry.collection == collection:
            node = tree
            for key in entry.path[:-1]:
                node = node.setdefault(key, {})
            node[entry.path[-1]] = value
    return tree


def to_torch(
    name: str, params: Mapping[str, Any], batch_stats: Mapping[str, Any]
) -> dict[str, np.ndarray]:
    """Convert parameters to a state dict of PyTorch's; the inverse of `body_from_torch`.

    Args:
      name: one of ORIGINALS.
      params, batch_stats: the groups early and late; a head in `params` must be the plain linear
        one (`hidden=()`), since torchvision and timm have no name for another.

    Raises:
      UserError: lists every array that is missing or has no name on the other side.
    """
    trees = {"params": params, "batch_stats": batch_stats}
    arrays = {
        (collection, path): np.asarray(value)
        for collection, tree in trees.items()
        for path, value in _leaves(tree)
    }
    names = {(entry.collection, entry.path): entry.name for entry in entries(name)}
    wanted = {place for place in names if place[1][0] != "head" or "head" in params}
    offenders = [f"missing: {'/'.join(path)}" for _, path in sorted(wanted - arrays.keys())]
    offenders += [f"unexpected: {'/'.join(path)}" for _, path in sorted(arrays.keys() - wanted)]
    if offenders:
        raise UserError(f"These parameters have no counterpart in PyTorch's {name}", offenders)
    return {names[place]: to_torch_layout(array) for place, array in arrays.items()}
