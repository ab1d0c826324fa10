#!/bin/sh
# Runs the CUDA backend over the shipped model under the four tools of compute-sanitizer: prefill and decode, every variant, and
# the ops; one line a tool. Exit 77 with the reason where the sanitizer, a GPU or device code is missing.
# initcheck takes the 0xFF that every buffer is filled with for written: there, values that nobody wrote show as NaN in the results.
# usage: sanitize_cuda.sh PROGRAM [MODEL]; SANITIZER=path of compute-sanitizer; TOOLS="memcheck racecheck" for some
set -eu
program=$1
model=${2:-falsifiers/models/austen-moe-Q4_K_M.gguf}
sanitizer=${SANITIZER:-$(command -v compute-sanitizer || echo "${CUDA_HOME:-/usr/local/cuda}/bin/compute-sanitizer")}
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
skip() { echo "skipped: $1"; exit 77; }

[ -x "$sanitizer" ] || skip "compute-sanitizer is not installed (it comes with the CUDA toolkit)"
"$program" devices > "$tmp/devices" 2>&1 || true
grep -q '^cuda  *[0-9]' "$tmp/devices" || skip "$(grep '^cuda' "$tmp/devices" || echo 'no CUDA device')"

# REPORT=file: a line for each run, for the falsifier that judges them.
report() { [ -z "${REPORT:-}" ] || printf '%s\t%s\t%s\n' "$@" >> "$REPORT"; }
[ -z "${REPORT:-}" ] || : > "$REPORT"
report tool "$("$sanitizer" --version 2>/dev/null | tail -n 1)" ''

# A variant that the program lacks is refused as wrong usage before anything is opened.
variants=
for v in default fast fast_kv16; do
    rc=0
    # shellcheck disable=SC2046
    "$program" observe --here --backend cuda $([ $v = default ] || echo "--variant $v") --model "$model" --tokens 5 \
        --out "$tmp/probe.safetensors" > "$tmp/log" 2>&1 || rc=$?
    [ $rc != 2 ] || continue
    [ $rc = 0 ] || { cat "$tmp/log" >&2; echo "FAILED: variant $v does not run without the sanitizer" >&2; exit 1; }
    variants="$variants $v"
done

# One run under one tool: its own count of errors, from its last line, and the program's status.
n_errors=0 n_runs=0
observe() {
    rc=0
    n_runs=$((n_runs + 1))
    # racecheck and synccheck look at shared memory and barriers, the other two at what memory holds
    "$sanitizer" --tool "$tool" --error-exitcode 99 --print-limit 3 "$program" observe --here --backend cuda "$@" \
        --out "$tmp/run.safetensors" > "$tmp/log" 2>&1 || rc=$?
    if grep -q 'Device not supported\|Unable to find\|not supported on' "$tmp/log"; then
        skip "$tool: $(grep -m 1 'Device not supported\|Unable to find\|not supported on' "$tmp/log")"
    fi
    if grep -q 'SUMMARY: 0 errors\|SUMMARY: 0 hazards' "$tmp/log" && [ $rc = 0 ]; then
        report run 0 "$tool: observe $*"
        return
    fi
    [ $rc != 0 ] || rc=98 # it ended well, but without a summary that says so
    report run $rc "$tool: observe $*"
    n_errors=$((n_errors + 1))
    echo "$tool: observe $*: status $rc" >&2
    grep -v '^ *$' "$tmp/log" | head -n "${LINES_SHOWN:-25}" >&2
}

# A fault of its kind must be reported; without nvcc nobody has seen that it would be.
nvcc=${NVCC:-$(command -v nvcc || echo "${CUDA_HOME:-/usr/local/cuda}/bin/nvcc")}
planted=
if [ -x "$nvcc" ]; then
    "$nvcc" -Wno-deprecated-gpu-targets -o "$tmp/planted" falsifiers/mutants/planted.cu > "$tmp/log" 2>&1 && planted=$tmp/planted ||
        { echo "planted.cu does not compile:" >&2; cat "$tmp/log" >&2; }
fi
see_planted() {
    [ -n "$planted" ] || { echo "$tool: not shown to report a planted fault (no nvcc)"; return; }
    n_runs=$((n_runs + 1))
    rc=0
    timeout 120 "$sanitizer" --tool "$tool" --error-exitcode 99 "$planted" "$tool" > "$tmp/log" 2>&1 || rc=$?
    if [ $rc = 99 ] || grep -q 'SUMMARY: [1-9]' "$tmp/log"; then
        report run 0 "$tool: reports a planted fault"
        return
    fi
    n_errors=$((n_errors + 1))
    report run 1 "$tool: reports a planted fault"
    echo "$tool: a planted fault was not reported: status $rc" >&2
    cat "$tmp/log" >&2
}

failed=0
for tool in ${TOOLS:-memcheck racecheck initcheck synccheck}; do
    n_errors=0 n_runs=0
    see_planted
    for v in $variants; do
        variant=$([ $v = default ] || echo "--variant $v")
        # 33 tokens at once take the tiled kernels, and 4 more, one at a time, those of single tokens
        # shellcheck disable=SC2086
        observe $variant --model "$model" --tokens "$(seq -s , 1 33)" --greedy 4 --taps logits
        # shellcheck disable=SC2086
        observe $variant --model "$model" --tokens 5,6,7 --decode --taps none
    done
    observe --op moe_matmul --shape n_tokens=33,n_expert=2,n_expert_used=1,n_in=512,n_out=70,type=Q6_K
    observe --op matmul --shape n_tokens=33,n_in=512,n_out=70,type=Q5_K
    observe --op attention --shape n_tokens=1,n_head=4,n_head_kv=2,head_dim=64,first_pos=700
    observe --op attention --shape n_tokens=9,n_head=4,n_head_kv=2,head_dim=64,first_pos=70
    observe --op argmax --shape n_rows=2,n_cols=1000
    observe --op router --shape n_tokens=3,n_expert=130,n_expert_used=8
    if [ $n_errors = 0 ]; then
        echo "$tool: $n_runs runs, variants$variants: nothing found"
    else
        failed=1
        echo "$tool: FAILED in $n_errors of $n_runs runs, variants$variants"
    fi
done
exit $failed
