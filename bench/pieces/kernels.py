"""Kinds of kernels: what a step's time is divided into, by HLO operation or by a kernel's name."""

import re

OTHER = "other"

# Of cuDNN's custom calls in XLA, and of cuDNN's kernels.
DIRECTIONS = {
    "convBackwardInput": "dgrad",
    "convBackwardFilter": "wgrad",
    "convForward": "forward",
    "convBiasActivationForward": "forward",
    "dgrad": "dgrad",
    "wgrad": "wgrad",
    "fprop": "forward",
}

# The first that a name has counts.
NAMES = (
    (r"convolution|conv2d|implicit_gemm|implicit_convolve|winograd", "convolution"),
    (r"gemm|cublas|cutlass|nvjet|_dot", "matrix products"),
    (r"scatter|reduce[-_]window|select[-_]and[-_]scatter|pool", "pooling"),
    (r"batch_norm|bn_fw|bn_bw|reduce|reduction", "reductions"),
    (r"memcpy|memset|transpose|copy|nchwToNhwc|nhwcToNchw", "transposes and copies"),
    (r"loop|elementwise|vectorized|fusion|triton|multi_tensor", "loops"),
)


def by_name(name: str) -> str:
    """The kind of a kernel of which only the name is known."""
    for word, direction in DIRECTIONS.items():
        if word in name:
            return f"convolution {direction}"
    return next((kind for pattern, kind in NAMES if re.search(pattern, name, re.I)), OTHER)


def by_operation(name: str, opcode: str, line: str) -> str:
    """The kind of an HLO operation, by the line that it has in the compiled program."""
    target = re.search(r'custom_call_target="__cudnn\$(\w+)"', line)
    if target or opcode == "convolution":
        direction = DIRECTIONS.get(target[1] if target else "", "forward")
        if direction == "forward" and "transpose(jvp" in line:  # of its place in JAX
            direction = "dgrad" if target else "backward"
        return f"convolution {direction} {_shape(line)}"
    if opcode == "dot":
        return "matrix products"
    if opcode == "custom-call":
        return by_name(line.split("custom_call_target=")[-1][:60])
    return by_name(f"{name} fusion" if opcode == "fusion" else f"{opcode} {name}")


def _shape(line: str) -> str:
    groups = re.search(r"(?:feature|batch)_group_count=(\d+)", line)
    if groups and int(groups[1]) > 1:
        return "grouped"
    size = re.search(r"window=\{size=(\d+)x", line)
    return "1x1" if size is None or size[1] == "1" else f"{size[1]}x{size[1]}"
