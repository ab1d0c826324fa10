#!/usr/bin/env python3
"""Makes the vectors of the mirror tier: what ggml's own CPU kernels make of activations and of products with them.

Files without any header, little-endian:
    mirror.x.f32            4 rows of 1024 activations: normal, with outliers, with blocks of zeros and of tiny values, and
                            halves of 127ths, where codes are ties
    mirror.<act>.codes      their codes, int8 [4, 1024], by quantize_row_<act>_ref  (act: q8_k, q8_0)
    mirror.<act>.d          and scales: f32 [4, 4] for q8_k; f16, widened to f32, [4, 32] for q8_0
    mirror.<type>.blocks    8 rows of 1024 weights in blocks of the type (q4_k, q5_k, q6_k, q8_0)
    mirror.<type>.y         f32 [4, 8]: the product of row i of x with row j, by the library's generic ggml_vec_dot
                            (with q8_k activations; q8_0 weights with q8_0 activations)
    mirror.<type>.fast      the same by the vector instructions of the machine that ran this
    mirror.<type>.sums      i32 [4, 8, 4, 2], not for q8_0: of each block the integer sums (sum sc q a, sum m a), read out of
                            ggml_vec_dot by setting (d, dmin) and the activations' d to (1, 0) 1, and (0, 1) 1
and ggml.<type>.observation.safetensors (q4_k, q6_k): an engine on trial, 3 tokens through a matrix of 2048 x 33, whose
products were computed by ggml_vec_dot_<type>_q8_K.

The library comes with the wheel pywhispercpp (libggml 0.13.1); it shares no code with this project.
Run in this folder:  python3 make_mirror.py          (writes the files)
                     python3 make_mirror.py --check  (recomputes all but .fast and fails when a file differs)
Made with numpy 2.4.6 and pywhispercpp 1.5.1.
"""

import ctypes
import glob
import json
import pathlib
import struct
import sys

import numpy as np

SEED = 20261125
N, X_ROWS, W_ROWS = 1024, 4, 8
TYPES = {"q4_k": 144, "q5_k": 176, "q6_k": 210}  # bytes of a block of 256


def library(part):
    found = [p for d in sys.path for p in glob.glob(f"{d}/lib{part}.so")]
    if not found:
        sys.exit(f"lib{part}.so not found: pip install pywhispercpp")
    return ctypes.CDLL(found[0], mode=ctypes.RTLD_GLOBAL)


BASE, CPU = library("ggml-base"), library("ggml-cpu")
CPU.ggml_cpu_init()  # fills the tables of f16


def pointer(a):
    return a.ctypes.data_as(ctypes.c_void_p)


def quantise(x, act):
    """Rows of x as ggml's blocks, uint8."""
    n_bytes = x.shape[1] // 256 * 292 if act == "q8_k" else x.shape[1] // 32 * 34
    out = np.zeros((x.shape[0], n_bytes), np.uint8)
    run = BASE.quantize_row_q8_K_ref if act == "q8_k" else BASE.quantize_row_q8_0_ref
    for i, row in enumerate(np.ascontiguousarray(x)):
        run(pointer(row), pointer(out[i]), ctypes.c_int64(x.shape[1]))
    return out


def dot(kind, n, w, a, generic=True):
    act = "q8_0" if kind == "q8_0" else "q8_K"
    name = f"ggml_vec_dot_{kind.replace('_k', '_K')}_{act}" + ("_generic" if generic else "")
    y = np.zeros(1, np.float32)
    getattr(CPU, name)(ctypes.c_int(n), pointer(y), ctypes.c_size_t(0), pointer(w), ctypes.c_size_t(0), pointer(a),
                       ctypes.c_size_t(0), ctypes.c_int(1))
    return y[0]


def activations(rng):
    x = rng.standard_normal((X_ROWS, N)).astype(np.float32)
    x[1, rng.integers(0, N, 8)] *= 30
    x[2, :256] = 0
    x[2, 256:512] *= 1e-30
    x[3] = rng.integers(-254, 255, N).astype(np.float32) / 2  # ties
    x[3, ::32] = 127
    return x


def blocks(rng, kind, rows, n, scale):
    if kind == "q8_0":
        w = rng.integers(0, 256, (rows, n // 32, 34), dtype=np.uint8)
        places = (0,)
    else:
        w = rng.integers(0, 256, (rows, n // 256, TYPES[kind]), dtype=np.uint8)
        places = (208,) if kind == "q6_k" else (0, 2)
    for at in places:
        d = (scale * rng.uniform(0.5, 1.5, w.shape[:2])).astype("<f2")
        w[:, :, at:at + 2] = d.view(np.uint8).reshape(*w.shape[:2], 2)
    return w


def set_scales(kind, block, d, dmin):
    b = block.copy()
    if kind == "q6_k":
        b[208:210] = np.array([d], "<f2").view(np.uint8)
    else:
        b[0:4] = np.array([d, dmin], "<f2").view(np.uint8)
    return b


def integer_sums(kind, w, a):
    """(sum sc q a, sum m a) of each block, from results that are those integers."""
    out = np.zeros((X_ROWS, W_ROWS, N // 256, 2), "<i4")
    for i in range(X_ROWS):
        for j in range(W_ROWS):
            for b in range(N // 256):
                act = a[i, 292 * b:292 * (b + 1)].copy()
                act[:4] = np.array([1], "<f4").view(np.uint8)
                for k, (d, dmin) in enumerate(((1, 0), (0, 1))):
                    if kind == "q6_k" and k == 1:
                        continue
                    y = dot(kind, 256, set_scales(kind, w[j, b], d, dmin), act)
                    assert abs(y) < 2**24 and y == int(y), (kind, y)
                    out[i, j, b, k] = int(y) if k == 0 else -int(y)
    return out


def observation(rng, kind):
    tokens, n_in, n_out = 3, 2048, 33
    x = rng.standard_normal((tokens, n_in)).astype("<f4")
    w = blocks(rng, kind, n_out, n_in, 1 / (45 * (255 if kind == "q4_k" else 1366))).reshape(n_out, -1)
    a = quantise(x, "q8_k")
    y = np.array([[dot(kind, n_in, w[r], a[t]) for r in range(n_out)] for t in range(tokens)], "<f4")
    name = kind.upper()
    params = {"n_tokens": tokens, "n_in": n_in, "n_out": n_out, "type": name}
    about = {"asked": {"kind": "op", "op": "matmul"},
             "ran": {"backend": "ggml", "variant": "", "device": {"name": "ggml_vec_dot, generic C"},
                     "arithmetic": {"matmul": {"activation": "q8_k", "sum": "i32"}}},
             "requests": [{"op": "matmul", "params": params}]}
    header, data = {"__metadata__": {"about": json.dumps(about)}}, b""
    for key, dtype, tensor in (("in.w", "U8", w), ("in.x", "F32", x), ("out.y", "F32", y)):
        header[key] = {"dtype": dtype, "shape": list(tensor.shape), "data_offsets": [len(data), len(data) + tensor.nbytes]}
        data += tensor.tobytes()
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    return struct.pack("<Q", len(text)) + text + data


def make():
    rng = np.random.Generator(np.random.PCG64(SEED))
    x = activations(rng)
    files = {"mirror.x.f32": x.astype("<f4").tobytes()}
    a = {act: quantise(x, act) for act in ("q8_k", "q8_0")}
    k = a["q8_k"].reshape(X_ROWS, N // 256, 292)
    files["mirror.q8_k.codes"] = k[:, :, 4:260].tobytes()
    files["mirror.q8_k.d"] = k[:, :, :4].tobytes()
    z = a["q8_0"].reshape(X_ROWS, N // 32, 34)
    files["mirror.q8_0.codes"] = z[:, :, 2:].tobytes()
    files["mirror.q8_0.d"] = np.ascontiguousarray(z[:, :, :2]).view("<f2").astype("<f4").tobytes()
    for kind in (*TYPES, "q8_0"):
        w = blocks(rng, kind, W_ROWS, N, 0.01)
        act = a["q8_0" if kind == "q8_0" else "q8_k"]
        files[f"mirror.{kind}.blocks"] = w.tobytes()
        for suffix, generic in (("y", True), ("fast", False)):
            y = [[dot(kind, N, w[j].reshape(-1), act[i], generic) for j in range(W_ROWS)] for i in range(X_ROWS)]
            files[f"mirror.{kind}.{suffix}"] = np.array(y, "<f4").tobytes()
        if kind != "q8_0":
            files[f"mirror.{kind}.sums"] = integer_sums(kind, w, act).tobytes()
    for kind in ("q4_k", "q6_k"):
        files[f"ggml.{kind}.observation.safetensors"] = observation(rng, kind)
    return files


def main():
    folder = pathlib.Path(__file__).resolve().parent
    differing = 0
    for name, content in make().items():
        path = folder / name
        if sys.argv[1:] == ["--check"]:
            same = path.is_file() and (path.read_bytes() == content or name.endswith(".fast"))
            differing += not same
            print(f"{name}: {'same' if same else 'differs'}")
        else:
            path.write_bytes(content)
            print(f"{name}: {len(content)} bytes")
    return 1 if differing else 0


if __name__ == "__main__":
    sys.exit(main())
