"""NVIDIA's data-centre cards, described for XLA's GPU compiler where the card is not there."""

from typing import NamedTuple


class Card(NamedTuple):
    """One card, by the figures that the compiler tiles and fuses by.

    `name` is JAX's `device_kind`, `capability` the major compute capability. `shared_per_core` and
    `shared_per_block` are bytes of shared memory; `memory` is in bytes, `bandwidth` in bytes a
    second, `clock` in GHz.
    """

    name: str
    capability: int
    cores: int
    fpus_per_core: int
    shared_per_core: int
    shared_per_block: int
    l2_cache: int
    clock: float
    memory: int
    bandwidth: int

    def target_config(self) -> str:
        """Return a `GpuTargetConfigProto` in text form: the card with the libraries of today."""
        return f"""
            gpu_device_info {{
              threads_per_warp: 32 threads_per_block_limit: 1024 threads_per_core_limit: 2048
              registers_per_core_limit: 65536 registers_per_block_limit: 65536
              block_dim_limit_x: 2147483647 block_dim_limit_y: 65535 block_dim_limit_z: 65535
              core_count: {self.cores} fpus_per_core: {self.fpus_per_core}
              shared_memory_per_block: 49152 shared_memory_per_core: {self.shared_per_core}
              shared_memory_per_block_optin: {self.shared_per_block}
              l2_cache_size: {self.l2_cache} clock_rate_ghz: {self.clock}
              device_memory_size: {self.memory} memory_bandwidth: {self.bandwidth}
              cuda_compute_capability {{ major: {self.capability} }}
            }}
            platform_name: "CUDA" device_description_str: "{self.name}"
            dnn_version_info {{ major: 9 minor: 12 }} runtime_version {{ major: 13 }}
        """


_AMPERE = (8, 108, 64, 167936, 166912, 40 * 2**20, 1.41)
_HOPPER = (9, 132, 128, 233472, 232448, 50 * 2**20, 1.98)

# Figures of openxla/xla, xla/backends/gpu/target_config/specs, which were read off real cards.
CARDS = {
    "a100": Card("NVIDIA A100-SXM4-40GB", *_AMPERE, 42_331_013_120, 1_555_200_000_000),
    "a100-80": Card("NVIDIA A100-SXM4-80GB", *_AMPERE, 85_100_068_864, 2_039_040_000_000),
    "h100": Card("NVIDIA H100 80GB HBM3", *_HOPPER, 84_942_979_072, 3_352_320_000_000),
    "h200": Card("NVIDIA H200", *_HOPPER, 151_397_597_184, 4_800_000_000_000),
}
