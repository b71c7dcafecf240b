"""Recipe cards: one config per file, shipped in the wheel as `jaxft.configs`."""
