#!/usr/bin/env python3
"""Writes X.oracle.safetensors beside X.gguf: what Hugging Face's Qwen3-MoE layers compute from the same weights.

The weights are dequantised exactly, one layer at a time, and put into the decoder layer of the installed transformers
library, so a model needs memory for its file and for one layer in the arithmetic of --dtype. Needs numpy, torch,
transformers. At full size: 53 s with --greedy 32 on one H200.

    make_oracle.py model.gguf                          the prompts canonical and words128 of the contracts
    make_oracle.py model.gguf --device cuda --greedy 32
    make_oracle.py model.gguf --prompt canonical --prompt 5,9,1
    make_oracle.py model.gguf --compare other.safetensors  compares with an oracle instead of writing one

Hugging Face's code drops to float32 in RMSNorm and in softmax, also in a float64 model; both are replaced here by the
same formulas in the dtype of their input. Angles of RoPE are computed in float64.
"""
import argparse
import json
import re
import struct
import sys
import time
from pathlib import Path

import numpy as np
import torch

CONTRACT = Path(__file__).resolve().parents[2] / "contracts" / "qwen3-moe-forward-v1.yaml"

# ---- the model file ----------------------------------------------------------------------------------------------

SCALARS = {0: "B", 1: "b", 2: "<H", 3: "<h", 4: "<I", 5: "<i", 6: "<f", 7: "?", 10: "<Q", 11: "<q", 12: "<d"}
# ggml type -> (elements of a block, bytes of a block)
BLOCKS = {0: (1, 4), 1: (1, 2), 8: (32, 34), 12: (256, 144), 14: (256, 210), 30: (1, 2)}


class Gguf:
    """Metadata and tensors of a GGUF file; tensor data stays in the file until it is asked for."""

    def __init__(self, path):
        self.data = np.memmap(path, dtype=np.uint8, mode="r")
        if bytes(self.data[:4]) != b"GGUF":
            raise SystemExit(f"{path}: not a GGUF file")
        self.at = 4
        version, n_tensors, n_kv = self.scalar("<I"), self.scalar("<Q"), self.scalar("<Q")
        if version not in (2, 3):
            raise SystemExit(f"{path}: GGUF version {version}, expected 2 or 3")
        self.kv = {}
        for _ in range(n_kv):
            key = self.string()
            self.kv[key] = self.value(self.scalar("<I"))
        self.tensors = {}
        for _ in range(n_tensors):
            name = self.string()
            shape = [self.scalar("<Q") for _ in range(self.scalar("<I"))]
            self.tensors[name] = (shape[::-1], self.scalar("<I"), self.scalar("<Q"))  # slowest dimension first
        alignment = self.kv.get("general.alignment", 32)
        self.base = (self.at + alignment - 1) // alignment * alignment

    def scalar(self, fmt):
        size = struct.calcsize(fmt)
        (v,) = struct.unpack(fmt, self.data[self.at : self.at + size].tobytes())
        self.at += size
        return v

    def string(self):
        n = self.scalar("<Q")
        s = self.data[self.at : self.at + n].tobytes().decode("utf-8", "replace")
        self.at += n
        return s

    def value(self, kind):
        if kind == 8:
            return self.string()
        if kind == 9:
            inner, n = self.scalar("<I"), self.scalar("<Q")
            return [self.value(inner) for _ in range(n)]
        return self.scalar(SCALARS[kind])

    def raw(self, name):
        shape, kind, offset = self.tensors[name]
        if kind not in BLOCKS:
            raise SystemExit(f"{name}: tensor type {kind} is not known here")
        elements, size = BLOCKS[kind]
        n = int(np.prod(shape)) // elements * size
        return np.asarray(self.data[self.base + offset : self.base + offset + n]), kind, shape


# ---- dequantisation: exact in float64, by the definition of the formats ------------------------------------------


def halves(b, dtype):
    """[..., 2] bytes as float16 values."""
    return b.contiguous().view(torch.float16).to(dtype)


def q4_k(b, dtype):
    """Blocks of 256: d, dmin, eight pairs of 6-bit scale and minimum, 4-bit codes. [n, 144] -> [n, 256]"""
    d, dmin = halves(b[:, 0:2], dtype), halves(b[:, 2:4], dtype)
    s = b[:, 4:16].to(torch.int32)
    scale = torch.cat([s[:, 0:4] & 63, (s[:, 8:12] & 15) | ((s[:, 0:4] >> 6) << 4)], 1)
    least = torch.cat([s[:, 4:8] & 63, (s[:, 8:12] >> 4) | ((s[:, 4:8] >> 6) << 4)], 1)
    q = b[:, 16:144].reshape(-1, 4, 32)
    codes = torch.stack([q & 15, q >> 4], 2).reshape(-1, 8, 32).to(dtype)
    return ((d * scale.to(dtype)).unsqueeze(2) * codes - (dmin * least.to(dtype)).unsqueeze(2)).reshape(-1, 256)


def q6_k(b, dtype):
    """Blocks of 256: low 4 bits, high 2 bits, sixteen 8-bit scales, d. [n, 210] -> [n, 256]"""
    low, high = b[:, 0:128].reshape(-1, 2, 64), b[:, 128:192].reshape(-1, 2, 32)
    scale, d = b[:, 192:208].contiguous().view(torch.int8).to(dtype), halves(b[:, 208:210], dtype)
    first, second = low[:, :, 0:32], low[:, :, 32:64]
    codes = torch.stack(
        [
            (first & 15) | ((high & 3) << 4),
            (second & 15) | (((high >> 2) & 3) << 4),
            (first >> 4) | (((high >> 4) & 3) << 4),
            (second >> 4) | ((high >> 6) << 4),
        ],
        2,
    ).reshape(-1, 16, 16)
    return ((d * scale).unsqueeze(2) * (codes.to(dtype) - 32)).reshape(-1, 256)


def q8_0(b, dtype):
    return halves(b[:, 0:2], dtype) * b[:, 2:34].contiguous().view(torch.int8).to(dtype)


def dequantise(b, kind, shape, dtype):
    """A flat tensor of bytes as weights of that shape."""
    if kind == 0:
        return b.view(torch.float32).to(dtype).reshape(shape)
    if kind == 1:
        return b.view(torch.float16).to(dtype).reshape(shape)
    if kind == 30:
        return b.view(torch.bfloat16).to(dtype).reshape(shape)
    blocks = b.reshape(-1, BLOCKS[kind][1])
    out = torch.empty(blocks.shape[0], BLOCKS[kind][0], dtype=dtype, device=b.device)
    for i in range(0, blocks.shape[0], 1 << 20):  # bounds what the codes take meanwhile
        out[i : i + (1 << 20)] = {8: q8_0, 12: q4_k, 14: q6_k}[kind](blocks[i : i + (1 << 20)], dtype)
    return out.reshape(shape)


# ---- Hugging Face ------------------------------------------------------------------------------------------------


def keep_dtype():
    """Lets RMSNorm and softmax of the library stay in the dtype of their input."""
    from transformers.models.qwen3_moe import modeling_qwen3_moe as hf

    def norm(self, x):
        return self.weight * (x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + self.variance_epsilon))

    softmax = torch.nn.functional.softmax
    hf.Qwen3MoeRMSNorm.forward = norm
    torch.nn.functional.softmax = lambda x, dim=None, dtype=None, **rest: softmax(x, dim=dim, **rest)
    return hf


class Oracle:
    def __init__(self, gguf, device, dtype):
        from transformers import Qwen3MoeConfig

        self.g, self.device, self.dtype = gguf, device, dtype
        self.hf = keep_dtype()
        kv = gguf.kv
        arch = kv["general.architecture"]
        if arch != "qwen3moe":
            raise SystemExit(f"general.architecture is {arch}, expected qwen3moe")
        get = lambda key: kv[f"{arch}.{key}"]
        self.n_layer, n_head = get("block_count"), get("attention.head_count")
        self.head_dim, self.base = get("attention.key_length"), get("rope.freq_base")
        n_vocab, n_embd = gguf.tensors["token_embd.weight"][0]
        self.config = Qwen3MoeConfig(
            vocab_size=n_vocab, hidden_size=n_embd, num_hidden_layers=self.n_layer, num_attention_heads=n_head,
            num_key_value_heads=get("attention.head_count_kv"), head_dim=self.head_dim, num_experts=get("expert_count"),
            num_experts_per_tok=get("expert_used_count"), moe_intermediate_size=get("expert_feed_forward_length"),
            norm_topk_prob=True, rms_norm_eps=get("attention.layer_norm_rms_epsilon"), rope_theta=self.base,
            mlp_only_layers=[], decoder_sparse_step=1, attention_bias=False,
        )
        self.config._attn_implementation = "eager"
        self.config._experts_implementation = "eager"
        self.packed = {}
        with torch.device("meta"):
            self.layer = self.hf.Qwen3MoeDecoderLayer(self.config, 0)
        self.layer = self.layer.to_empty(device=device).to(dtype).eval()
        self.norm = self.hf.Qwen3MoeRMSNorm(n_embd, self.config.rms_norm_eps).to(device=device, dtype=dtype)
        self.norm.weight.data.copy_(self.weight("output_norm.weight"))

    def weight(self, name):
        """Dequantised; the file's bytes stay on the device for the next pass."""
        if name not in self.packed:
            raw, kind, shape = self.g.raw(name)
            self.packed[name] = (torch.from_numpy(raw.copy()).to(self.device), kind, shape)
        return dequantise(*self.packed[name], self.dtype)

    def rows(self, name, ids):
        """Rows of a matrix, without dequantising the others."""
        raw, kind, shape = self.g.raw(name)
        b = torch.from_numpy(raw.reshape(shape[0], -1)[np.asarray(ids)].copy()).to(self.device)
        return dequantise(b.flatten(), kind, [len(ids), shape[1]], self.dtype)

    def load(self, i):
        """Puts the weights of layer i into the module."""
        names = {
            "input_layernorm.weight": "attn_norm", "post_attention_layernorm.weight": "ffn_norm",
            "self_attn.q_proj.weight": "attn_q", "self_attn.k_proj.weight": "attn_k",
            "self_attn.v_proj.weight": "attn_v", "self_attn.o_proj.weight": "attn_output", "self_attn.q_norm.weight": "attn_q_norm",
            "self_attn.k_norm.weight": "attn_k_norm", "mlp.gate.weight": "ffn_gate_inp",
        }
        w = lambda name: self.weight(f"blk.{i}.{name}.weight")
        left = dict(self.layer.named_parameters())
        with torch.no_grad():
            for key, name in names.items():
                left.pop(key).copy_(w(name))
            if "mlp.experts.gate_up_proj" in left:  # transformers 5: one tensor for all experts
                n_ff = self.config.moe_intermediate_size
                both = left.pop("mlp.experts.gate_up_proj")
                if both.shape[1] != 2 * n_ff:
                    raise SystemExit(f"gate_up_proj has shape {tuple(both.shape)}: not known here")
                both[:, :n_ff].copy_(w("ffn_gate_exps"))
                both[:, n_ff:].copy_(w("ffn_up_exps"))
                left.pop("mlp.experts.down_proj").copy_(w("ffn_down_exps"))
            else:  # transformers 4: one module for each expert
                for key, name in (("gate", "ffn_gate_exps"), ("up", "ffn_up_exps"), ("down", "ffn_down_exps")):
                    for e, one in enumerate(w(name)):
                        left.pop(f"mlp.experts.{e}.{key}_proj.weight").copy_(one)
        if left:
            raise SystemExit(f"the library's layer has parameters that are not known here: {sorted(left)}")

    def run(self, tokens, keep=True):
        """One pass over the tokens: a dict of what the oracle file holds, or only the last row of logits."""
        n = len(tokens)
        out, routes = {}, {}
        x = self.rows("token_embd.weight", tokens).unsqueeze(0)
        if keep:
            out["hidden.0"] = x[0].cpu()
        half = torch.arange(0, self.head_dim, 2, dtype=torch.float64, device=self.device) / self.head_dim
        angle = torch.arange(n, dtype=torch.float64, device=self.device)[:, None] / self.base**half[None, :]
        angle = torch.cat([angle, angle], 1).unsqueeze(0)
        rope = (angle.cos().to(self.dtype), angle.sin().to(self.dtype))
        mask = torch.full((n, n), torch.finfo(self.dtype).min, dtype=self.dtype, device=self.device).triu(1)[None, None]
        position = torch.arange(n, device=self.device).unsqueeze(0)

        def see(module, inputs, result):
            flat = inputs[0].reshape(-1, inputs[0].shape[-1])
            routes["logits"] = torch.nn.functional.linear(flat, module.weight)
            routes["result"] = result

        hook = self.layer.mlp.gate.register_forward_hook(see)
        k = self.config.num_experts_per_tok
        for i in range(self.n_layer):
            self.load(i)
            x = self.layer(x, attention_mask=mask, position_ids=position, position_embeddings=rope)
            x = x[0] if isinstance(x, tuple) else x
            if not keep:
                continue
            weights, ids = torch.topk(routes["logits"].softmax(-1), k, dim=-1)
            weights = weights / weights.sum(-1, keepdim=True)
            if isinstance(routes["result"], tuple):  # what the library itself chose
                weights, ids = routes["result"][1], routes["result"][2]
                if weights.shape[-1] != k:
                    weights = weights.gather(-1, ids)
            if i + 1 < self.n_layer:
                out[f"hidden.{i + 1}"] = x[0].cpu()
            out[f"router.{i}.0"], out[f"router.{i}.1"], out[f"router.{i}.2"] = (
                routes["logits"].cpu(), weights.cpu(), ids.cpu().to(torch.int32))
        hook.remove()
        x = self.norm(x)[0]
        head = "output.weight" if "output.weight" in self.g.tensors else "token_embd.weight"
        logits = torch.nn.functional.linear(x if keep else x[-1:], self.weight(head)).cpu()
        if not keep:
            return logits[-1]
        out[f"hidden.{self.n_layer}"], out["logits"] = x.cpu(), logits
        return out


# ---- files -------------------------------------------------------------------------------------------------------


def contract_prompt(name):
    """Token ids of a prompt that a contract spells out."""
    m = re.search(r"\bname: %s\b,?\s*tokens: \[([\d,\s]+)\]" % re.escape(name), CONTRACT.read_text())
    if not m:
        raise SystemExit(f"{CONTRACT}: no prompt '{name}' with tokens")
    return [int(t) for t in m.group(1).split(",") if t.strip()]


def write_safetensors(path, tensors, about):
    header, at = {"__metadata__": {"about": json.dumps(about)}}, 0
    arrays = {}
    for name, t in tensors.items():
        a = t.to(torch.int32 if t.dtype in (torch.int32, torch.int64) else torch.float32).contiguous().numpy()
        arrays[name] = a
        header[name] = {"dtype": "I32" if a.dtype == np.int32 else "F32", "shape": list(a.shape),
                        "data_offsets": [at, at + a.nbytes]}
        at += a.nbytes
    head = json.dumps(header).encode()
    head += b" " * (-len(head) % 8)
    with open(path, "xb") as f:
        f.write(struct.pack("<Q", len(head)) + head)
        for a in arrays.values():
            f.write(a.tobytes())


def read_safetensors(path):
    raw = np.memmap(path, dtype=np.uint8, mode="r")
    n = int(raw[:8].view(np.uint64)[0])
    header = json.loads(raw[8 : 8 + n].tobytes())
    about = json.loads(header.pop("__metadata__")["about"])
    kinds = {"F32": np.float32, "I32": np.int32}
    tensors = {}
    for name, t in header.items():
        start, end = (8 + n + at for at in t["data_offsets"])
        tensors[name] = raw[start:end].view(kinds[t["dtype"]]).reshape(t["shape"])
    return about, tensors


def compare(oracle, path):
    """Largest relative L2 of a row, by kind of tensor, over the prompts of another oracle; ids must be equal."""
    about, other = read_safetensors(path)
    worst = {}
    for j, prompt in enumerate(about["prompts"]):
        positions = other[f"p{j}.positions"]
        mine = oracle.run(prompt["tokens"])
        for name, t in mine.items():
            want, got = other[f"p{j}.{name}"].astype(np.float64), t.numpy()[positions]
            kind = re.sub(r"\d+", "N", name, count=1)
            if got.dtype == np.int32:
                error = float((np.sort(got, -1) != np.sort(want.astype(np.int32), -1)).sum())
            else:
                error = float((np.linalg.norm(got - want, axis=-1) / np.linalg.norm(want, axis=-1)).max())
            worst[kind] = max(worst.get(kind, 0.0), error)
    for kind, error in worst.items():
        print(f"{kind:14} {error:.3g}")
    return max(worst.values())


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("model", type=Path)
    p.add_argument("--prompt", action="append", help="name of a prompt of the contracts, or token ids; repeatable")
    p.add_argument("--greedy", type=int, default=0, help="tokens to continue the first prompt by")
    p.add_argument("--device", default="cpu")
    p.add_argument("--dtype", choices=["float64", "float32"], default="float64")
    p.add_argument("--out", type=Path, help="default: beside the model, where falsify looks")
    p.add_argument("--compare", type=Path, metavar="ORACLE")
    a = p.parse_args()
    import transformers

    dtype = getattr(torch, a.dtype)
    with torch.inference_mode():
        oracle = Oracle(Gguf(a.model), torch.device(a.device), dtype)
        if a.compare:
            return 0 if compare(oracle, a.compare) <= 1e-5 else 1
        tensors, prompts = {}, []
        for j, name in enumerate(a.prompt or ["canonical", "words128"]):
            tokens = [int(t) for t in name.split(",")] if re.fullmatch(r"[\d,]+", name) else contract_prompt(name)
            if max(tokens) >= oracle.config.vocab_size:
                raise SystemExit(f"prompt {name}: token {max(tokens)}, n_vocab {oracle.config.vocab_size}")
            start = time.monotonic()
            seen = oracle.run(tokens)
            tensors[f"p{j}.tokens"] = torch.tensor(tokens, dtype=torch.int32)
            tensors[f"p{j}.positions"] = torch.arange(len(tokens), dtype=torch.int32)
            tensors.update({f"p{j}.{key}": t for key, t in seen.items()})
            greedy = [int(seen["logits"][-1].argmax())] if a.greedy and j == 0 else []
            while greedy and len(greedy) < a.greedy:
                greedy.append(int(oracle.run(tokens + greedy, keep=False).argmax()))
            prompts.append({"text": name, "tokens": tokens, "greedy_32": greedy})
            print(f"{name}: {len(tokens)} tokens, {len(greedy)} more, {time.monotonic() - start:.1f} s", flush=True)
    about = {"model": a.model.name, "prompts": prompts, "dtype": a.dtype,
             "made_by": f"transformers {transformers.__version__}, torch {torch.__version__}, {a.device}"}
    stem = str(a.model).removesuffix(".gguf")
    write_safetensors(a.out or Path(stem + ".oracle.safetensors"), tensors, about)
    return 0


if __name__ == "__main__":
    sys.exit(main())
