#!/usr/bin/env python3
"""Makes the dequantisation vectors: weight blocks of every type that a kernel reads, and the f32 values that gguf-py gives them.

Two files per type, without any header, little-endian:
    <type>.blocks   64 blocks of the type, one after another, byte for byte as they stand in a GGUF file
                    (type: q8_0 34 bytes per block of 32 elements; q4_k 144, q5_k 176, q6_k 210 per block of 256;
                    f16 and bf16: 64 runs of 32 elements of 2 bytes)
    <type>.f32      the same elements, dequantised: 64 x 32 or 64 x 256 float32
The values come from gguf.quants.dequantize of the gguf package, which shares no code with this project. They are exact
or rounded once to float32; a scalar implementation with one rounding per block value gives the same bits.

Blocks 0 to 7 are chosen: scales +0, -0, the smallest and the largest subnormal f16 (negative), the largest finite f16 and
its negative, all code and sub-scale bits zero, all of them one. The others are random: scales of both signs, log-uniform
over the normal and part of the subnormal f16 range; every code bit uniform. All scales are finite.

Run in this folder:  python3 make_blocks.py          (writes the files)
                     python3 make_blocks.py --check  (recomputes them and fails when a file differs)
Made with gguf 0.19.0 and numpy 2.4.6.
"""

import pathlib
import sys

import numpy as np
from gguf import GGMLQuantizationType as Type
from gguf import quants

SEED = 20261121
N_BLOCKS = 64
SPECIAL = [0x0000, 0x8000, 0x0001, 0x83FF, 0x7BFF, 0xFBFF, 0x2E66, 0xAE66]  # f16 bits of the chosen scales

# type -> (elements per block, bytes per block, offsets of the f16 scales within a block)
LAYOUT = {
    Type.Q8_0: (32, 34, (0,)),
    Type.Q4_K: (256, 144, (0, 2)),
    Type.Q5_K: (256, 176, (0, 2)),
    Type.Q6_K: (256, 210, (208,)),
}


def scales(rng, n):
    """n f16 bit patterns: log-uniform magnitudes from 2^-20 (subnormal) to 2^4, random signs."""
    magnitude = np.exp2(rng.uniform(-20.0, 4.0, n)).astype(np.float16)
    return magnitude.view(np.uint16) | (rng.integers(0, 2, n, dtype=np.uint16) << 15)


def quantised(rng, layout):
    _, n_bytes, places = layout
    blocks = rng.integers(0, 256, (N_BLOCKS, n_bytes), dtype=np.uint8)
    blocks[6] = 0x00
    blocks[7] = 0xFF
    for k, at in enumerate(places):
        d = scales(rng, N_BLOCKS)
        d[:8] = SPECIAL[k:] + SPECIAL[:k]  # the minimum's scale takes another of the chosen ones than the scale
        blocks[:, at:at + 2] = d.astype("<u2").view(np.uint8).reshape(N_BLOCKS, 2)
    return blocks


def halves(rng, infinity):
    """64 x 32 finite 16-bit floats: the chosen ones of the format first, then uniform bit patterns."""
    bits = rng.integers(0, infinity, N_BLOCKS * 32, dtype=np.uint16)
    bits |= rng.integers(0, 2, bits.size, dtype=np.uint16) << 15
    top = infinity - 1
    bits[:8] = [0, 0x8000, 1, 0x8001, top, top | 0x8000, 0x03FF, 0x0400]
    return bits.astype("<u2").view(np.uint8).reshape(N_BLOCKS, 64)


def make():
    rng = np.random.Generator(np.random.PCG64(SEED))
    files = {}
    for kind in (Type.F16, Type.BF16, Type.Q8_0, Type.Q4_K, Type.Q5_K, Type.Q6_K):
        if kind == Type.F16:
            blocks = halves(rng, 0x7C00)
            values = blocks.view("<f2").astype("<f4")
        else:
            blocks = halves(rng, 0x7F80) if kind == Type.BF16 else quantised(rng, LAYOUT[kind])
            values = quants.dequantize(blocks, kind).astype("<f4")
        assert np.isfinite(values).all(), kind
        name = kind.name.lower()
        files[name + ".blocks"] = blocks.tobytes()
        files[name + ".f32"] = values.tobytes()
    return files


def main():
    folder = pathlib.Path(__file__).resolve().parent
    differing = 0
    for name, content in make().items():
        path = folder / name
        if sys.argv[1:] == ["--check"]:
            same = path.is_file() and path.read_bytes() == content
            differing += not same
            print(f"{name}: {'same' if same else 'differs'}")
        else:
            path.write_bytes(content)
            print(f"{name}: {len(content)} bytes")
    return 1 if differing else 0


if __name__ == "__main__":
    sys.exit(main())
