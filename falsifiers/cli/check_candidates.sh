#!/bin/sh
# Kernels of others on trial: the examples pass, every cheat is caught by the falsifier that names it, whatever crashes, hangs or
# declines is told from that, and bad input is refused. usage: [NVCC=...] check_candidates.sh PROGRAM [FOLDER-OF-FAKE-libcuda.so.1]
set -u
[ $# -ge 1 ] && [ $# -le 2 ] && [ -x "$1" ] || { echo "usage: $0 PROGRAM [FAKE]" >&2; exit 2; }
fake=${2:+$(cd "$2" && pwd)}
program=$(cd "$(dirname "$1")" && pwd)/$(basename "$1")
root=$(cd "$(dirname "$0")/../.." && pwd)
work=$(mktemp -d "${TMPDIR:-/tmp}/falsify-candidates-XXXXXX") || exit 2
trap 'rm -rf "$work"' EXIT INT TERM
cd "$root" || exit 2
passed=0 failed=0
examples=falsifiers/candidates

ok() { passed=$((passed + 1)); }
bad() { failed=$((failed + 1)); echo "FAILED: $*" >&2; }
says() { if grep -qF -e "$2" "$work/$1"; then ok; else bad "no '$2' in: $(tail -n 2 "$work/$1")"; fi; }
build() { # build FILE.c: $work/FILE.so
    so=$work/$(basename "$1" .c).so
    ${CC:-cc} -O2 -fopenmp -shared -fPIC -I. -Wall -Werror -o "$so" "$1" -lm -lpthread || bad "$1 does not compile"
}
# try STATUS OP FILE [ARGS...]: one run on trial
try() {
    want=$1 op=$2 file=$3
    shift 3
    "$program" run --op "$op" --candidate "$file" --evidence "$work/evidence" "$@" >"$work/out" 2>"$work/err" </dev/null
    status=$?
    [ $status = "$want" ] && ok || bad "$(basename "$file") as $op: exit $status, expected $want: $(tail -n 1 "$work/err")"
}
verdict() { sed -n "s/^  $1  *candidate .* \([a-z_]*\)\$/\1/p" "$work/out"; }
# caught CHEAT OP IDS: each of these trials must be falsified
caught() {
    case $1 in *.c) build "$1"; file=$so ;; *) file=$1 ;; esac
    try 1 "$2" "$file" -k 'FALSIFY-TRIAL-*'
    for id in $3; do
        [ "$(verdict "FALSIFY-TRIAL-$id")" = falsified ] && ok || bad "$1 is not caught by FALSIFY-TRIAL-$id: $(verdict "FALSIFY-TRIAL-$id")"
    done
}
# only IDS: no other trial than these was falsified
only() {
    others=$(grep -o '^  FALSIFY-TRIAL-[0-9]*  *candidate .* falsified$' "$work/out" | sed 's/^  FALSIFY-TRIAL-\([0-9]*\).*/\1/' | tr '\n' ' ')
    [ "$others" = "$1 " ] && ok || bad "$(basename "$file"): falsified are $others, expected $1"
}

# ---- the examples ----
build $examples/moe_matmul.c
try 0 moe_down "$so"
# what takes long is skipped, and nothing else
grep -qE '^([2-9][0-9]|[1-9][0-9]{2,}) passed, 0 failed, 1 skipped$' "$work/out" && ok || bad "not all of its contracts were tried: $(tail -n 1 "$work/out")"
says out "takes long"
says out "times its speed"
says out "memory read bandwidth of all processors"
[ "$(verdict FALSIFY-MOE-DISPATCH-008)" = survived ] && ok || bad "the contract of moe_matmul was not tried"
evidence=$(ls "$work"/evidence/FALSIFY-TRIAL-001/candidate-moe-matmul-*-nomodel.json 2>/dev/null)
[ -n "$evidence" ] && grep -q '"complete": true' "$evidence" && grep -q '"file": ".*moe_matmul.so"' "$evidence" && grep -q '"seconds_per_call"' "$evidence" && ok || bad "evidence of a candidate"
digest=$(sha256sum "$so" | cut -c 1-64)
grep -qs "$digest" "$evidence" && ok || bad "the evidence does not name the file by digest"
seed=$(sed -n "s/^seeds .*, and \([0-9]*\)\$/\1/p" "$work/out")
try 0 moe_down "$so" -k FALSIFY-MOE-DISPATCH-006
[ "$(sed -n "s/^seeds .*, and \([0-9]*\)\$/\1/p" "$work/out")" != "$seed" ] && ok || bad "two runs have the seed $seed"
# the other types of the op are none of the site's, but are the op's: declined, which is not passed
try 5 moe_matmul "$so" -k 'FALSIFY-MOE-DISPATCH-008/op_error/*'
says out "the candidate declines it"

# gate, up and SiLU in one: on exact inputs too, where gate and up may not change places
build $examples/moe_swiglu.c
try 0 moe_swiglu "$so" -k 'FALSIFY-EX-005/*Q4_K*' -k 'FALSIFY-EX-005/*Q6_K*' -k 'FALSIFY-DA-002/*' -k 'FALSIFY-TRIAL-*'
[ "$(verdict FALSIFY-EX-005)" = survived ] && ok || bad "the exact fill of moe_swiglu was not tried: $(verdict FALSIFY-EX-005)"
sed 's/g \/ (1 + expf(-g)) \* u/u \/ (1 + expf(-u)) * g/' $examples/moe_swiglu.c >"$work/swapped.c"
build "$work/swapped.c"
try 1 moe_swiglu "$so" -k 'FALSIFY-EX-005/tiles/*Q4_K*'
says out "replay $work/evidence/capsules/FALSIFY-EX-005"

# ---- cheats in C ----
cheats=$examples/cheats
for f in calls_reference looks_into_judge; do
    caught $cheats/$f.c rmsnorm "001"
    says out "made a system call that a candidate may not make"
done
caught $cheats/reads_files.c rmsnorm "001"
caught $cheats/caches_by_pointer.c rmsnorm "005"
says out "it gave the answer to the content before"
caught $cheats/returns_previous.c rmsnorm "001 005"
caught $cheats/writes_samples.c rmsnorm "002"
says out "never written, 0 written as NaN"
caught $cheats/writes_nan.c rmsnorm "001 002"
says out " 0 never written"
caught $cheats/edits_input.c rmsnorm "003"
only "003"
says out "changed input array x"
caught $cheats/strays.c rmsnorm "004"
only "004"
says out "wrote behind array y"
caught $cheats/finishes_later.c rmsnorm "002 006"
caught $cheats/rests_when_timed.c rmsnorm "001 007"
caught $cheats/first_calls_only.c rmsnorm "001 007"
says out "(a timed call)"
caught $cheats/does_nothing.c logits "001"
# where others want the processors, even nothing may take longer than reading 27 MB: a few attempts
for attempt in 1 2 3 4 5; do
    [ "$(verdict FALSIFY-TRIAL-008)" = falsified ] && break
    try 1 logits "$so" -k 'FALSIFY-TRIAL-00[18]'
done
[ "$(verdict FALSIFY-TRIAL-008)" = falsified ] && ok || bad "a kernel that does nothing is not too fast: $(verdict FALSIFY-TRIAL-008)"
# the contract's own cases notice too what is done beside an answer
build $cheats/strays.c
try 1 rmsnorm "$so" -k FALSIFY-RN-006
says out "beside its answer: wrote behind array y"

# ---- what does not answer, and what is no lie ----
broken=$examples/broken
build $broken/crashes.c
try 5 rmsnorm "$so" -k 'FALSIFY-RN-006/*n_tokens=17,n_embd=256/*'
says out "the candidate died of SIGSEGV (11) in rmsnorm n_tokens=17 n_embd=256"
line=$(grep -m 1 '^    reproduce ' "$work/out" | sed 's/^ *reproduce *//')
case $line in *" --op rmsnorm --candidate $so --seed "*) ok ;; *) bad "reproduction line: $line" ;; esac
sh -c "$line --evidence $work/evidence" >"$work/out" 2>"$work/err"
[ $? = 5 ] && grep -q '^0 passed, 1 failed, 0 skipped$' "$work/out" && ok || bad "the reproduction line: $(tail -n 1 "$work/err")"
build $broken/hangs.c
try 5 rmsnorm "$so" --timeout 1 -k 'FALSIFY-TRIAL-001'
[ "$(verdict FALSIFY-TRIAL-001)" = timed_out ] && ok || bad "a hanging candidate is $(verdict FALSIFY-TRIAL-001)"
build $broken/declines.c
try 5 rmsnorm "$so" -k 'FALSIFY-RN-006' -k 'FALSIFY-TRIAL-001'
[ "$(verdict FALSIFY-TRIAL-001)" = survived ] && ok || bad "the shape that it computes is $(verdict FALSIFY-TRIAL-001)"
build $broken/slow.c
try 0 rmsnorm "$so" -k 'FALSIFY-TRIAL-*'
says out "times its speed"
for f in other_abi:'its fal_candidate_abi is 7, expected 1' dies_loading:'died of SIGABRT'; do
    build $broken/${f%%:*}.c
    try 3 rmsnorm "$so"
    says err "${f#*:}"
done
build $cheats/does_nothing.c
try 3 rmsnorm "$so"
says err "it has no function: fal_candidate_rmsnorm"

# ---- capsules: a failing call is kept, and replays on this kernel, another one and a backend ----
# replays STATUS CAPSULE ARGS...
replays() {
    want=$1
    shift
    "$program" replay "$@" >"$work/out" 2>"$work/err" </dev/null
    status=$?
    [ $status = "$want" ] && ok || bad "replay $*: exit $status, expected $want: $(tail -n 1 "$work/err")"
}
capsule_of() { find "$work/caps" -name "$1*.capsule" 2>/dev/null | head -n 1; } # ID-CHECK
build $cheats/first_calls_only.c
try 1 rmsnorm "$so" -k 'FALSIFY-TRIAL-00[17]' --capsules "$work/caps"
says out "no capsule no call of this case fails when it is made by itself"
says out "no capsule it takes several calls to see this"
[ -z "$(capsule_of FALSIFY)" ] && ok || bad "a call that does not fail by itself was kept"
build $broken/counts_twice.c
try 1 moe_down "$so" -k FALSIFY-TRIAL-001 -k 'FALSIFY-MOE-DISPATCH-008' --capsules "$work/caps"
line=$(grep -m 1 '^    replay ' "$work/out" | sed 's/^ *replay *//')
capsule=$(capsule_of FALSIFY-TRIAL-001-answers)
case $line in *" replay $capsule --candidate $so") ok ;; *) bad "replay line: $line" ;; esac
grep -q "\"file\": \"$(basename "$capsule")\"" "$work"/evidence/FALSIFY-TRIAL-001/candidate-counts-twice-*.json && ok || bad "the evidence does not name the capsule"
sh -c "$line" >"$work/out" 2>"$work/err" </dev/null
[ $? = 1 ] && ok || bad "the replay line: $(tail -n 1 "$work/err")"
says out "still fails"
says out "the file that failed"
says out "sha256   $(sha256sum "$so" | cut -c 1-64)"
says out " n_tokens=1 n_in=512 n_out=1 n_expert=1 n_expert_used=1 " # two blocks are the fewest that fail
[ -n "$(capsule_of FALSIFY-MOE-DISPATCH-008-op_error)" ] && ok || bad "the contract's own case left no capsule"
replays 2 "$capsule"
says err "give it with --candidate: counts_twice.so"
replays 0 "$capsule" --backend reference
build $examples/moe_matmul.c
replays 0 "$capsule" --candidate "$so"
says out "not the file that failed, which was counts_twice.so, sha256 "
replays 0 "$capsule" --candidate "$so" --backend reference --json
grep -q '"is_the_one_that_failed": false' "$work/out" && ok || bad "replay --json of a candidate"
replays 2 "$capsule" --candidate "$so" --candidate "$so"
replays 2 "$capsule" --backend candidate
replays 2 "$capsule" --candidate "$work/k.txt"
replays 3 "$capsule" --candidate "$work/none.so"
# smaller calls end the process or never end: that is no failure of the same kind, and holds up nobody
build $broken/crashes_when_small.c
start=$(date +%s)
try 1 moe_down "$so" -k 'FALSIFY-MOE-DISPATCH-008/op_error/*n_tokens=2,*' --timeout 20 --capsules "$work/caps/small"
[ $(($(date +%s) - start)) -lt 120 ] && ok || bad "shrinking a candidate that hangs took $(($(date +%s) - start)) s"
replays 5 "$capsule" --candidate "$so" --timeout 5
says out "the candidate died of SIGSEGV (11)"
replays 1 "$(capsule_of FALSIFY-MOE-DISPATCH-008-op_error-candidate-crashes)" --candidate "$so"
says out " n_tokens=2 "
says out " n_expert=1 n_expert_used=1 "
# what is done beside an answer, or in its place
for f in strays:FALSIFY-TRIAL-004:'beside its answer: wrote behind array y' edits_input:FALSIFY-TRIAL-003:'changed input array x' \
    writes_samples:FALSIFY-TRIAL-002:'never written' calls_reference:FALSIFY-TRIAL-001:'a system call that a candidate may not make'; do
    rest=${f#*:}
    build $cheats/${f%%:*}.c
    try 1 rmsnorm "$so" -k "${rest%%:*}" --capsules "$work/caps/${f%%:*}"
    replays 1 "$work/caps/${f%%:*}"/*.capsule --candidate "$so"
    says out "still fails: "
    says out "${rest#*:}"
    says out " n_tokens=1 "
    replays 0 "$work/caps/${f%%:*}"/*.capsule --backend reference
done
try 1 rmsnorm "$so" -k FALSIFY-TRIAL-001 --no-bisect --capsules "$work/caps/none"
[ ! -e "$work/caps/none" ] && ok || bad "--no-bisect left a capsule"

# ---- declared arithmetic ----
build $examples/moe_matmul_q8.c
try 0 moe_down "$so"
says out "arithmetic declared: activations q8_k, sums i32"
says out " cases rounding as declared"
grep -qE '^([2-9][0-9]|[1-9][0-9]{2,}) passed, 0 failed, 1 skipped$' "$work/out" && ok || bad "not all of its contracts were tried: $(tail -n 1 "$work/out")"
grep -q '"activation": "q8_k"' "$work"/evidence/FALSIFY-TRIAL-001/candidate-moe-matmul-q8-*.json && ok || bad "the evidence does not tell the declaration"
# sums that cancel: no seed of these tells an alarm
try 0 moe_down "$so" -k FALSIFY-DA-001 -k FALSIFY-008 --seed 1586904685
try 0 moe_down "$so" -k FALSIFY-DA-001 --soak 1-20
# without its line it is what it was before: far from float32
sed '/^const char falsify_arithmetic/d' $examples/moe_matmul_q8.c >"$work/undeclared.c"
build "$work/undeclared.c"
try 1 moe_down "$so" -k FALSIFY-DA-001 -k FALSIFY-TRIAL-001 --no-bisect
says out "arithmetic not declared, so taken as activations f32, sums f32"
says out "arithmetic not as declared: another one fits"
[ "$(verdict FALSIFY-DA-001)$(verdict FALSIFY-TRIAL-001)" = falsifiedfalsified ] && ok || bad "codes of 8 bits pass as float32"
build $cheats/declares_q8_rounds_to_q4.c
try 1 moe_down "$so" -k FALSIFY-DA-001 -k FALSIFY-TRIAL-001 -k 'FALSIFY-EX-00[24]' --capsules "$work/caps/q4"
for id in DA-001 TRIAL-001 EX-002 EX-004; do
    [ "$(verdict FALSIFY-$id)" = falsified ] && ok || bad "4 bits pass as 8: FALSIFY-$id is $(verdict FALSIFY-$id)"
done
says out "a bug: no known arithmetic explains it, and it is not activations q8_k, sums i32"
says out " cases a bug: no arithmetic explains it"
sed 's/ \* 7)/ * 63)/; s| most / 7 | most / 63 |' $cheats/declares_q8_rounds_to_q4.c >"$work/rounds_to_q7.c"
[ "$(grep -c 63 "$work/rounds_to_q7.c")" = 1 ] && ok || bad "no kernel of 7 bits was made"
kept_so=$so
build "$work/rounds_to_q7.c"
try 1 moe_down "$so" -k FALSIFY-DA-001 -k FALSIFY-TRIAL-001 --no-bisect
[ "$(verdict FALSIFY-DA-001)$(verdict FALSIFY-TRIAL-001)" = falsifiedfalsified ] && ok || bad "7 bits pass as 8: $(verdict FALSIFY-TRIAL-001)"
so=$kept_so
# its capsule is judged by what whoever replays it declares
capsule=$(find "$work/caps/q4" -name 'FALSIFY-TRIAL-001-*')
replays 1 "$capsule" --candidate "$so"
says out "declares   activations q8_k, sums i32"
says out " n_tokens=1 n_in=256 n_out=1 n_expert=1 "
build $examples/moe_matmul_q8.c
replays 0 "$capsule" --candidate "$so" --backend reference
says out "rounding as declared: activations q8_k, sums i32"
says out "rounding as declared: activations f32, sums f64"
build $cheats/declares_q8_computes_f32.c
try 0 moe_down "$so" -k FALSIFY-DA-001 -k FALSIFY-TRIAL-001 -k FALSIFY-EX-002
says out "far better than declared (activations q8_k, sums i32)"
says out " cases far better than declared"
"$program" plan --no-probe --op moe_down --candidate "$so" >"$work/out" 2>"$work/err" && grep -q 'arithmetic declared: activations q8_k, sums i32' "$work/out" && ok || bad "plan of a declaration: $(tail -n 1 "$work/err")"
says out "n_in=256,n_out=65,type=Q6_K,x_per_slot=1/exact_q8"
build $examples/attention_kv16.c
try 0 attn "$so"
says out "arithmetic declared: activations f32, sums f32, cache f16"
says out " cases rounding as declared"
sed '/^const char falsify_arithmetic/d' $examples/attention_kv16.c >"$work/undeclared_kv16.c"
build "$work/undeclared_kv16.c"
try 1 attn "$so" -k FALSIFY-DA-002 -k FALSIFY-TRIAL-001 --no-bisect
says out "fits activations f32, sums f32, cache f16"
[ "$(verdict FALSIFY-TRIAL-001)" = falsified ] && ok || bad "a cache of f16 passes as float32"
# what is no declaration, or none of this op
declares() { # STATUS OP WORDS MESSAGE
    sed "s/activation=q8_k,sum=i32/$3/" $examples/moe_matmul_q8.c >"$work/declares.c"
    build "$work/declares.c"
    try "$1" "$2" "$so" -k FALSIFY-TRIAL-002
    says "${5:-err}" "$4"
}
declares 3 moe_down activation=q4_0 "activation is 'q4_0', which is none"
declares 3 moe_down bits=8 "'bits=8' is no name=value"
declares 3 moe_down activation=q8_k,kv=f16 "it declares kv=f16, which has no effect on moe_matmul"
declares 3 moe_down sum=i32 "needs codes"
declares 3 argmax sum=f16 "argmax computes nothing that could round"
declares 3 router_logits activation=q8_k "no effect on weights in F32"
declares 0 moe_down activation=f16,sum=f32 "arithmetic declared: activations f16, sums f32" out

# ---- usage ----
build $broken/slow.c
try 2 rmsnorn "$so"
says err "did you mean 'rmsnorm'"
try 2 rmsnorm "$work/k.txt"
try 3 rmsnorm "$work/none.so"
try 4 rmsnorm "$so" -k 'FALSIFY-SM-*'
try 2 rmsnorm "$so" --backend opencl
"$program" run --op rmsnorm >/dev/null 2>"$work/err"
[ $? = 2 ] && ok || bad "--op without --candidate"
"$program" run --candidate "$so" >/dev/null 2>"$work/err"
[ $? = 2 ] && ok || bad "--candidate without --op"
echo text >"$work/text.so"
try 3 rmsnorm "$work/text.so"
"$program" plan --no-probe --op rmsnorm --candidate "$so" >"$work/out" 2>"$work/err" && grep -q 'FALSIFY-TRIAL-001' "$work/out" && ok || bad "plan of a candidate: $(tail -n 1 "$work/err")"

# ---- OpenCL ----
if "$program" devices --json | grep -q '"is_cpu": true.*' && "$program" plan -k FALSIFY-RN-006 --backend opencl | grep -q 'will run'; then
    try 0 q $examples/matmul.cl
    says out "read bandwidth of the device"
    says out "opencl:cpu"
    try 5 matmul $examples/matmul.cl -k 'FALSIFY-QS-009'
    says out "the candidate declines it"
    caught $cheats/strays.cl add "004"
    only "004"
    says out "wrote before array y"
    caught $cheats/edits_input.cl add "003"
    only "003"
    caught $cheats/leaves_tail.cl add "002"
    try 1 add $cheats/leaves_tail.cl -k FALSIFY-TRIAL-002 --capsules "$work/caps/tail"
    replays 1 "$work/caps/tail"/*.capsule --candidate $cheats/leaves_tail.cl
    says out "never written"
    replays 0 "$work/caps/tail"/*.capsule --backend opencl
    # activations of f16: declared in a comment, and refused to a kernel that does not say so
    { echo 'float f16_of(float v) { ushort h; vstore_half(v, 0, (half *)&h); return vload_half(0, (half *)&h); }'
        sed 's/ x\[(long)t \* n_in + c\]/ f16_of(x[(long)t * n_in + c])/' $examples/matmul.cl; } >"$work/f16.cl"
    grep -q 'f16_of(x' "$work/f16.cl" && ok || bad "no kernel of f16 was made"
    try 1 q "$work/f16.cl" -k FALSIFY-DA-001 -k FALSIFY-TRIAL-001 --no-bisect
    says out "fits activations f16, sums f32"
    sed 's/falsify-launch/falsify-arithmetic: activation=f16\n   falsify-launch/' "$work/f16.cl" >"$work/f16_declared.cl"
    try 0 q "$work/f16_declared.cl" -k FALSIFY-DA-001 -k FALSIFY-TRIAL-001
    says out "rounding as declared"
    sed 's/activation=f16/activation=bf16/' "$work/f16_declared.cl" >"$work/bf16_declared.cl"
    try 0 q "$work/bf16_declared.cl" -k 'FALSIFY-DA-001/matmul/*' -k FALSIFY-TRIAL-001 # f16 has not the range of bf16
    says out "far better than declared"
    try 3 add $broken/no_launch.cl
    says err "no line 'falsify-launch:"
    try 1 add $broken/no_field.cl -k 'FALSIFY-TRIAL-001'
    says out "no integer field of the op is named so, at character 14"
    try 3 add $broken/no_c.cl
    says err "does not build"
    try 2 add $cheats/strays.cl --device no-such-device
else
    echo "no OpenCL CPU device here: candidates in OpenCL are left out"
fi

# ---- CUDA: built here, run where a GPU is ----
if [ -n "${NVCC:-}" ]; then
    "$NVCC" -arch=sm_90 -cubin -o "$work/matmul.cubin" $examples/matmul.cu && "$NVCC" -arch=compute_80 -ptx -o "$work/matmul.ptx" $examples/matmul.cu && ok || bad "matmul.cu does not compile"
    # the declaration is a variable of the device code, in a cubin as bytes and in PTX as their numbers
    sed 's/^extern "C" __device__ char falsify_launch/extern "C" __device__ char falsify_arithmetic[] = "falsify-arithmetic: sum=f16";\n&/' $examples/matmul.cu >"$work/declares.cu"
    "$NVCC" -arch=sm_90 -cubin -o "$work/declares.cubin" "$work/declares.cu" && "$NVCC" -arch=compute_80 -ptx -o "$work/declares.ptx" "$work/declares.cu" && ok || bad "a declaration does not compile"
    for f in cubin ptx; do
        "$program" plan --no-probe --op v --candidate "$work/declares.$f" >"$work/out" 2>"$work/err"
        says out "arithmetic declared: activations f32, sums f16"
        "$program" plan --no-probe --op v --candidate "$work/matmul.$f" >"$work/out" 2>"$work/err"
        says out "arithmetic not declared"
    done
    if "$program" devices --json | grep -q '"vendor": "NVIDIA"'; then
        for f in cubin ptx; do
            try 0 v "$work/matmul.$f"
            says out "times its speed"
        done
        "$NVCC" -arch=compute_80 -ptx -o "$work/strays.ptx" $cheats/strays.cu || bad "strays.cu does not compile"
        caught "$work/strays.ptx" add "003 004"
        only "003 004"
    else
        try 5 v "$work/matmul.ptx"
        says out "blocked"
        says err "exit 5: incomplete"
        # a driver that runs nothing and reads zeros back: everything on the host's side happens, and nothing passes for an answer
        if [ -n "$fake" ]; then
            saved=${LD_LIBRARY_PATH:-}
            export LD_LIBRARY_PATH="$fake"
            try 1 v "$work/matmul.cubin" -k 'FALSIFY-TRIAL-00[1-7]'
            for id in 001 003 004; do
                [ "$(verdict FALSIFY-TRIAL-$id)" = falsified ] && ok || bad "nothing ran, and FALSIFY-TRIAL-$id is $(verdict FALSIFY-TRIAL-$id)"
            done
            export FAL_FAKE_CUDA=lost_after=3
            try 5 v "$work/matmul.ptx" -k 'FALSIFY-TRIAL-001'
            [ "$(verdict FALSIFY-TRIAL-001)" = crashed ] && ok || bad "a lost device is $(verdict FALSIFY-TRIAL-001)"
            says out "CUDA_ERROR"
            export FAL_FAKE_CUDA=no_binary=1
            try 3 v "$work/matmul.cubin"
            says err "the driver does not load it on"
            unset FAL_FAKE_CUDA
            LD_LIBRARY_PATH=$saved
            [ -n "$saved" ] || unset LD_LIBRARY_PATH
        fi
    fi
fi

for f in $examples/*.c $examples/*.cl $examples/*.cu; do
    [ "$(wc -l <"$f")" -le 100 ] && ok || bad "$f has more than 100 lines"
done
echo "$passed passed, $failed failed"
[ $failed -eq 0 ] && [ $passed -gt 0 ]
