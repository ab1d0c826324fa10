#!/bin/sh
# Runs every work-group kernel, and one token of the shipped model, on the simulated OpenCL device of Oclgrind, which sees data
# races, values that nobody wrote, accesses outside of buffers and wrong API calls; and shows first that it sees planted ones.
# usage: oclgrind.sh PROGRAM [MODEL]; run from the root of the project. Exit 77 where Oclgrind is not installed.
set -eu
program=$1
model=${2:-falsifiers/models/austen-moe-Q4_K_M.gguf}
icd=$(find /usr/lib /usr/local/lib -name liboclgrind-rt-icd.so 2>/dev/null | head -n 1)
if [ -z "$icd" ] || ! command -v oclgrind-kernel >/dev/null 2>&1; then
    echo "skipped: Oclgrind is not installed (Debian package oclgrind)"
    exit 77
fi
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
mkdir "$tmp/vendors" "$tmp/cache"
echo "$icd" > "$tmp/vendors/oclgrind.icd"
build='-cl-std=CL1.2 -DFAL_CPU=0 -DFAL_GROUP=128 -DFAL_SIDE=64 -DFAL_TILE=8 -DFAL_CPU_ROWS=8'
failed=0 passed=0

# REPORT=file: a line for each run, for the falsifier that judges them.
report() { [ -z "${REPORT:-}" ] || printf '%s\t%s\t%s\n' "$@" >> "$REPORT"; }
[ -z "${REPORT:-}" ] || : > "$REPORT"
report tool "$(dpkg-query -W -f '${Version}' oclgrind 2>/dev/null || echo '?')" ''

verdict() { # RC NAME
    report run "$1" "$2"
    if [ "$1" = 0 ]; then passed=$((passed + 1)); else failed=$((failed + 1)); echo "FAILED: $2" >&2; fi
}

# ---- planted: what must be seen -------------------------------------------------------------------------------------

# One softmax row of 64, as it is, without one barrier of the shared reductions, and without the first value of its sum.
planted() { # FLAG AWK-CONDITION REPORT
    printf '%s\n' "$tmp/planted.cl" fal_cl_softmax '128 1 1' '128 1 1' '<size=4>' 1 '<size=4>' 64 '<size=256 float fill=1>' \
        '<size=256 float fill=0>' > "$tmp/planted.sim"
    cat opencl/quant.cl opencl/softmax.cl > "$tmp/whole.cl"
    cp "$tmp/whole.cl" "$tmp/planted.cl"
    oclgrind-kernel "$1" --build-options "$build -cl-opt-disable" "$tmp/planted.sim" > "$tmp/clean" 2>&1
    awk "$2" "$tmp/whole.cl" > "$tmp/planted.cl"
    ! cmp -s "$tmp/whole.cl" "$tmp/planted.cl" || { verdict 1 "planted: the line to take out is no more there"; return; }
    oclgrind-kernel "$1" --build-options "$build -cl-opt-disable" "$tmp/planted.sim" > "$tmp/found" 2>&1 || true
    rc=0
    ! grep -q "$3" "$tmp/clean" || rc=1
    grep -q "$3" "$tmp/found" || rc=1
    verdict $rc "planted: $3 must be reported where it was planted, and only there"
}
planted --data-races '/part\[i\] = v;/ && !done { print; getline; done = 1; next } { print }' 'data race'
planted --uninitialized '{ sub(/sum = 0.0f;/, "sum;"); print }' 'Uninitialized'

# ---- the program ----------------------------------------------------------------------------------------------------

# Reports of a log that no line of oclgrind.supp explains.
unexplained() {
    awk -F '|' '
        NR == FNR { if ($0 !~ /^#/ && NF == 4) { n++; says[n] = $1; kernel[n] = $2; source[n] = $3 } next }
        function close_block(   i, known) {
            for (i = 1; i <= n; i++)
                if (index(block, says[i]) && index(block, "Kernel: " kernel[i] (kernel[i] ~ /_$/ ? "" : "\n")) && index(block, source[i])) known = 1
            if (block ~ /[^ \t\n]/ && !known && ++shown <= 5) printf "%s\n", block
            block = ""
        }
        /^[^ \t]/ { close_block() }
        { block = block $0 "\n" }
        END { close_block(); if (shown > 5) printf "... and %d more reports\n", shown - 5 }' falsifiers/cli/oclgrind.supp "$1"
}

n=0
observe() { # NAME ARGUMENTS...
    name=$1
    shift
    n=$((n + 1))
    rc=0
    : > "$tmp/log"
    OCL_ICD_VENDORS="$tmp/vendors" XDG_CACHE_HOME="$tmp/cache" OCLGRIND_LOG="$tmp/log" "$program" observe --here --backend opencl \
        "$@" --out "$tmp/$n.safetensors" > "$tmp/out" 2>&1 || rc=$?
    unexplained "$tmp/log" > "$tmp/reports"
    [ $rc = 0 ] || tail -n 3 "$tmp/out" >&2
    [ ! -s "$tmp/reports" ] || { cat "$tmp/reports" >&2; rc=1; }
    grep -q 'Oclgrind' "$tmp/out" || { echo "it did not run on Oclgrind" >&2; rc=1; }
    grep -ao 'fal_cl_[a-z0-9_]*\\*": *[1-9]' "$tmp/$n.safetensors" 2>/dev/null | grep -o 'fal_cl_[a-z0-9_]*' >> "$tmp/ran" || true
    verdict $rc "$name"
}

op() { observe "$1 $2${3:+ with $3}" --op "$1" --shape "$2" ${3:+--with "$3"}; }

# Rows that do not fill a tile, a slice or a four: what is out of bounds shows there.
small_ops() {
    op add n_tokens=3,n_embd=50
    op argmax n_rows=2,n_cols=300
    op softmax n_rows=2,n_cols=200
    op swiglu n_rows=3,n_ff=50
    op rmsnorm n_tokens=2,n_embd=64
    op rmsnorm n_tokens=2,n_embd=63
    op qk_norm n_tokens=2,n_head=3,head_dim=64
    op rope n_tokens=3,n_head=2,head_dim=64,first_pos=5
    op kv_store n_tokens=2,n_head_kv=2,head_dim=64,first_pos=3,n_ctx=9
    op attention n_tokens=1,n_head=4,n_head_kv=2,head_dim=64,first_pos=70
    op attention n_tokens=1,n_head=2,n_head_kv=1,head_dim=64,first_pos=600
    op attention n_tokens=9,n_head=4,n_head_kv=2,head_dim=64,first_pos=3
    op router n_tokens=2,n_expert=12,n_expert_used=3
    op router n_tokens=1,n_expert=12,n_expert_used=3 pinned=1
    op moe_sum n_tokens=2,n_expert_used=3,n_embd=50
    for type in F32 F16 BF16 Q8_0 Q4_K Q5_K Q6_K; do
        op embed n_tokens=2,n_embd=256,n_vocab=5,type=$type
        op matmul n_tokens=2,n_in=256,n_out=5,type=$type
        op matmul n_tokens=33,n_in=256,n_out=5,type=$type
        op moe_matmul n_tokens=2,n_expert=4,n_expert_used=2,n_in=256,n_out=5,type=$type
        op moe_matmul n_tokens=33,n_expert=2,n_expert_used=1,n_in=256,n_out=5,type=$type
    done
}

# It counts the local arrays of all kernels of a program together, so that ours need more than its device has.
export OCLGRIND_LOCAL_MEM_SIZE=262144 OCLGRIND_MAX_ERRORS=1000000 OCLGRIND_CHECK_API=1 OCLGRIND_DATA_RACES=1
small_ops
observe "one token of $(basename "$model")" --model "$model" --tokens 5
unset OCLGRIND_DATA_RACES
# Its tracing of values knows no freeze, which the optimiser of its compiler writes.
export OCLGRIND_UNINITIALIZED=1 OCLGRIND_BUILD_OPTIONS=-cl-opt-disable
small_ops

# Every work-group kernel was among them. bandwidth reads hundreds of megabytes, and only those: minutes here.
for f in opencl/*.cl; do
    case $f in opencl/quant.cl | opencl/bandwidth.cl) continue ;; esac
    cat opencl/quant.cl "$f" | ${CC:-gcc} -E -P -x c -DFAL_CPU=0 -DFAL_GROUP=128 -DFAL_SIDE=64 -DFAL_TILE=8 -DFAL_CPU_ROWS=8 - 2>/dev/null
done | tr '\n' ' ' | grep -o '__kernel[^;{]*(' | grep -o 'fal_cl_[a-z0-9_]*' | sort -u > "$tmp/all"
sort -u "$tmp/ran" > "$tmp/ran.sorted"
never=$(comm -23 "$tmp/all" "$tmp/ran.sorted")
[ -z "$never" ] || printf 'no run executes the kernel %s\n' $never >&2
rc=0
[ "$(wc -l < "$tmp/all")" -ge 28 ] && [ -z "$never" ] || rc=1
verdict $rc "every work-group kernel ran"
echo "$passed passed, $failed failed"
[ "$failed" = 0 ]
