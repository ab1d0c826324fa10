#!/bin/sh
# Tests of the built program as its user sees it: exit status, last lines, filters, outputs. usage: check_cli.sh build/falsify
set -u
[ $# -eq 1 ] && [ -x "$1" ] || { echo "usage: $0 PROGRAM" >&2; exit 2; }
program=$(cd "$(dirname "$1")" && pwd)/$(basename "$1")
root=$(cd "$(dirname "$0")/../.." && pwd)
work=$(mktemp -d "${TMPDIR:-/tmp}/falsify-cli-XXXXXX") || exit 2
trap 'chmod -R u+w "$work"; rm -rf "$work"' EXIT INT TERM
passed=0 failed=0
# A small selection that needs no model, and so is quick.
few=FALSIFY-RN-006

ok() { passed=$((passed + 1)); }
bad() { failed=$((failed + 1)); echo "FAILED: $*"; }

# run ARGS...: leaves $status, $work/out, $work/err
run() {
    "$program" "$@" >"$work/out" 2>"$work/err" </dev/null
    status=$?
}
# expect STATUS ARGS...: the status, and "exit N: reason" as the last line on stderr exactly when it is not 0
expect() {
    want=$1
    shift
    run "$@"
    last=$(tail -n 1 "$work/err")
    if [ "$status" != "$want" ]; then
        bad "falsify $*: exit $status, expected $want: $last"
    elif [ "$want" != 0 ]; then
        case $last in "exit $want: "?*) ok ;; *) bad "falsify $*: last line on stderr is '$last'" ;; esac
    else
        case $last in "exit "*) bad "falsify $*: exit 0, but stderr ends in '$last'" ;; *) ok ;; esac
    fi
}
says() { # says FILE TEXT
    if grep -qF -e "$2" "$work/$1"; then ok; else bad "no '$2' in: $(tail -n 3 "$work/$1")"; fi
}
counts() { # the closing line, which must be the last of stdout
    tail -n 1 "$work/out" | grep -Eq '^[0-9]+ passed, [0-9]+ failed, [0-9]+ skipped$' && ok || bad "last line of stdout: $(tail -n 1 "$work/out")"
}
json() {
    if command -v python3 >/dev/null 2>&1; then python3 -m json.tool
    elif command -v jq >/dev/null 2>&1; then jq .
    else cat; fi >/dev/null 2>&1
}

cd "$root" || exit 2

# ---- help, version, usage ----
expect 2
says err "usage: falsify"
expect 2 rnu
says err "did you mean 'run'"
for c in help version --version --help; do expect 0 "$c"; done
for c in run prove plan validate explain schema init devices inspect observe judge bench; do
    expect 0 help $c
    expect 0 $c --help
    says out "falsify $c"
done
expect 2 run --no-such-option
expect 2 run --jsn
says err "did you mean '--json'"
expect 2 run --seed
expect 2 run --seed 1x
expect 2 run --timeout 0
expect 2 run --color sometimes
expect 2 run surplus

run --version
says out "CUDA device code:"
expect 2 run --repeat 0
expect 2 bench
expect 2 bench --backend nope
expect 2 bench --backend reference --tokens 0
expect 2 bench --backend reference --variants fast
expect 3 bench --backend reference --model "$work/no-such.gguf"
expect 0 bench --backend reference --context 4 --tokens 2 --runs 2
says out "as step by step"
expect 0 bench --backend reference --context 4 --tokens 2 --runs 1 --json
json <"$work/out" && ok || bad "bench --json is not JSON"

expect 2 replay
expect 2 replay one two
expect 2 replay --backend nope x
expect 3 replay "$work/no-such.capsule"
expect 2 bisect --tokens 1,x --backend opencl
expect 2 bisect --no-such-option
expect 4 bisect --contract rmsnorm-kernel-v1
# ---- prove ----
expect 2 prove --jobs 0
expect 2 prove surplus
expect 4 prove --mutant eps_outside_rot
says err "did you mean 'eps_outside_root'"
expect 4 prove --mutant uploads_twice --contract rope-kernel-v1
expect 0 prove --list
says out "[equivalent]"
[ "$(grep -c . "$work/out")" -gt 40 ] && ok || bad "fewer than 40 mutants are listed"
norm="--backend reference --require reference --contract rmsnorm-kernel-v1 --mutant scaled_by_1_02 --evidence $work/proof"
expect 0 prove $norm
says out "killed"
counts
ls "$work"/proof/prove/reference-*.partial.json >/dev/null 2>&1 && ok || bad "no matrix was stored"
expect 0 prove $norm --json
json <"$work/out" && ok || bad "prove --json is not JSON"
# limits that nothing breaks: the same mutant survives, and the proof fails
mkdir -p "$work/blind" && cp -r contracts "$work/blind/"
sed 's/max: [0-9.e-]*/max: 1.0e+9/' contracts/rmsnorm-kernel-v1.yaml >"$work/blind/contracts/rmsnorm-kernel-v1.yaml"
expect 1 prove $norm --root "$work/blind" --model falsifiers/models/austen-moe-Q4_K_M.gguf
says err "1 mutant survived"
# the sources of CUDA mutants
expect 0 prove --write-sources "$work/mutants"
[ -f "$work/mutants/row_off_by_one/matmul.cu" ] && grep -q 'min(r + 1, n_out - 1)' "$work/mutants/row_off_by_one/matmul.cu" && ok || bad "no source of a CUDA mutant"
# a run takes no comfort from a falsifier that a stored proof has shown to be blind
expect 0 run --only FALSIFY-RN-004 --backend reference --require reference --evidence "$work/trust"
slug=$(basename "$(ls "$work"/trust/FALSIFY-RN-004/reference-*.json)" | sed 's/^reference-//; s/-nomodel.*//')
sha=$(grep -B 2 '"id": "FALSIFY-RN-004"' "$work/proof/prove/reference-$slug.partial.json" | sed -n 's/.*"claim_sha256": "\([0-9a-f]*\)".*/\1/p')
mkdir -p "$work/trust/prove"
echo "{\"falsifiers\": [{\"id\": \"FALSIFY-RN-004\", \"claim_sha256\": \"$sha\", \"trust\": \"mistrusted\"}]}" >"$work/trust/prove/reference-$slug.json"
expect 5 run --only FALSIFY-RN-004 --backend reference --require reference --evidence "$work/trust"
says out "mistrusted 1"
expect 2 run --soak 5-1
expect 0 run --soak 7-9 --only FALSIFY-RN-006 --backend reference --backend opencl --evidence "$work/soak"

# ---- filters that match nothing ----
expect 4 run --only "$few*"
expect 4 plan --no-probe --only FALSIFY-RN-0O6
says err "did you mean '$few'"
expect 0 plan --no-probe --only "$few"
expect 4 run -k FALSIFY-RN-0O6
says err "did you mean '$few'"
expect 4 plan --no-probe -k 'nothing*'
expect 4 run -k "$few/op_errror"
expect 4 run --contract rmsnorm-kernel-v2
expect 4 plan --no-probe --stage M-NO-SUCH
expect 4 run --backend nope
says err "reference, opencl, cuda"
expect 4 plan --no-probe --require nope
expect 2 plan --no-probe --backend opencl --require cuda
expect 4 run --root "$work"
expect 3 run --model "$work/no-such.gguf" -k $few

# ---- contracts ----
expect 0 validate --deny-warnings
says out "valid (profile strict)"
expect 4 validate "$work/nothing-here"
expect 2 validate --formt json
says err "did you mean '--format'"
for format in json sarif; do
    expect 0 validate --format $format
    json <"$work/out" && ok || bad "validate --format $format is not JSON"
done
expect 0 validate --format github
expect 0 schema
json <"$work/out" && ok || bad "schema is not JSON"
expect 0 explain CON-015 form-015
says out "agrees by construction"
expect 4 explain CON-999
expect 2 explain
mkdir -p "$work/new/contracts"
expect 0 init "$work/new/contracts/my-op_v1.yaml"
expect 2 init "$work/new/contracts/my-op_v1.yaml"
expect 2 init "$work/new/contracts/my op.yml"
expect 8 init "$work/no/such/folder/x-v1.yaml"
expect 0 validate --deny-warnings "$work/new/contracts"
expect 0 plan --no-probe --root "$work/new"
says out "FALSIFY-MY-OP-V1-001"

# ---- plan ----
expect 0 plan --no-probe
says out "planned"
says out "unbound"
expect 0 plan --no-probe --json
json <"$work/out" && ok || bad "plan --json is not JSON"
expect 0 devices
expect 0 devices --json
json <"$work/out" && ok || bad "devices --json is not JSON"

# ---- nothing there is not green ----
export OCL_ICD_VENDORS=/nonexistent
expect 5 run -k $few --backend opencl --evidence "$work/ev0"
counts
says err "blocked"
[ ! -e "$work/ev0" ] && ok || bad "evidence was written although nothing ran"
expect 77 run -k $few --require reference
expect 0 plan -k $few --backend opencl
says out "because no OpenCL"
unset OCL_ICD_VENDORS

# ---- a run ----
if "$program" devices --json | grep -q '"is_cpu": true.*' && "$program" plan -k $few --backend opencl | grep -q 'will run'; then
    expect 0 run -k $few --backend opencl --evidence "$work/ev1"
    counts
    run plan -k $few --backend opencl --json
    planned=$(grep -c '"state": "will run"' "$work/out")
    run run -k $few --backend opencl --evidence "$work/ev1" --json
    ran=$(grep -c '"verdict": "' "$work/out")
    [ "$planned" -gt 0 ] && [ "$planned" = "$ran" ] && ok || bad "plan has $planned cases, run $ran"
    json <"$work/out" && ok || bad "run --json is not JSON"
    [ -n "$(ls "$work"/ev1/$few/opencl-*-nomodel.json 2>/dev/null)" ] && ok || bad "no evidence file"
    for f in "$work"/ev1/*/*.json; do json <"$f" && ok || bad "$f is not JSON"; done

    # values that still pass: the same ones are steady, one that moved far beyond rounding is told, and so is a lost verdict
    expect 0 drift "$work/ev1" "$work/ev1"
    says out "drifted 0"
    cp -r "$work/ev1" "$work/moved"
    sed -i 's/^\(      "value": \).*e-[0-9]*,$/\19.0e-7,/' "$work"/moved/$few/*.json
    expect 1 drift "$work/ev1" "$work/moved"
    says out "worse by"
    expect 1 drift --json "$work/ev1" "$work/moved"
    json <"$work/out" && ok || bad "drift --json is not JSON"
    expect 0 drift "$work/moved" "$work/ev1"
    expect 0 drift --sigma 1e9 "$work/ev1" "$work/moved"
    sed -i 's/"verdict": "survived"/"verdict": "mistrusted"/' "$work"/moved/$few/*.json
    expect 1 drift "$work/ev1" "$work/moved"
    says out "is now mistrusted"
    echo '{' >"$work/moved/$few/bad.json"
    expect 3 drift "$work/ev1" "$work/moved"
    mkdir "$work/none"
    expect 4 drift "$work/ev1" "$work/none"
    expect 2 drift "$work/ev1"

    # output that does not arrive
    if [ -w /dev/full ]; then
        "$program" run -k $few --backend opencl --evidence "$work/ev1" >/dev/full 2>"$work/err"
        [ $? = 8 ] && ok || bad "run > /dev/full is not exit 8"
        case $(tail -n 1 "$work/err") in "exit 8: "*) ok ;; *) bad "run > /dev/full: $(tail -n 1 "$work/err")" ;; esac
        "$program" plan --no-probe >/dev/full 2>/dev/null
        [ $? = 8 ] && ok || bad "plan > /dev/full is not exit 8"
    fi
    # for profilers: what was observed without taps is not judged, and the run is not complete
    expect 5 run --only FALSIFY-QW3-MOE-FORWARD-004/logits/reference/p0 --backend reference --require reference --no-taps --repeat 2 --evidence "$work/ev2"
    says out "not_run"
    expect 8 run -k $few --backend opencl --evidence /dev/null/evidence
    expect 8 run -k $few --backend opencl --evidence "$work/ev1" --keep-observations /dev/null/keep

    # a limit that nothing can keep: falsified, and the line that is printed finds it again
    mkdir -p "$work/tight/contracts"
    cp contracts/*.yaml "$work/tight/contracts/"
    sed 's/limit: {max: [^}]*}/limit: {max: 1.0e-30}/' contracts/rmsnorm-kernel-v1.yaml >"$work/tight/contracts/rmsnorm-kernel-v1.yaml"
    expect 1 run --root "$work/tight" -k $few --backend opencl --seed 5
    counts
    line=$(grep -m 1 '^    reproduce ' "$work/out" | sed 's/^ *reproduce *//')
    cp "$work/out" "$work/out0"
    case $line in *" run -k '$few/"*"--backend opencl --device "*"--seed 5"*) ok ;; *) bad "reproduction line: $line" ;; esac
    (cd / && sh -c "$line" >"$work/out" 2>"$work/err")
    [ $? = 1 ] && ok || bad "the reproduction line does not reproduce: $(tail -n 1 "$work/err")"
    tail -n 1 "$work/out" | grep -q '^0 passed, 1 failed, 0 skipped$' && ok || bad "the reproduction line ran: $(tail -n 1 "$work/out")"
    # the failing call was kept, shrunk to one token, and fails again without contracts and model; the reference never fails
    line=$(grep -m 1 '^    replay ' "$work/out0" | sed 's/^ *replay *//')
    capsule=${line##* }
    (cd / && sh -c "$line" >"$work/out" 2>"$work/err")
    [ $? = 1 ] && ok || bad "'$line' is not exit 1: $(tail -n 1 "$work/err")"
    says out "still fails"
    says out "n_tokens=1 "
    expect 0 replay --backend reference "$capsule"
    says out "no longer fails"
    expect 1 replay --backend opencl --backend reference --json "$capsule"
    json <"$work/out" && ok || bad "replay --json is not JSON"
    expect 77 replay --backend cuda "$capsule"
    head -c 3000 "$capsule" >"$work/half.capsule"
    expect 3 replay "$work/half.capsule"
    head -c 3000 /dev/urandom >"$work/garbage.capsule"
    expect 3 replay "$work/garbage.capsule"
    expect 1 run --root "$work/tight" -k $few --backend opencl --fail-fast
    says out "not_run"

    # where passes part: nowhere; and under a limit that nothing can keep, at the first op that rounds at all
    expect 0 bisect -k '*/op_error/opencl__cpu/p0' --backend opencl --capsules "$work/caps"
    says out "ops planned 91 = within 91 + beyond 0 + unjudged 0 + not observed 0"
    expect 0 bisect -k '*/op_error/opencl__cpu/p0' --backend opencl --tokens 1,2,3 --json
    json <"$work/out" && ok || bad "bisect --json is not JSON"
    sed 's/limit: {max: 1.0e-5, warn: 2.0e-6}/limit: {max: 1.0e-12}/' contracts/qwen3-moe-forward-gpu-v1.yaml >"$work/tight/contracts/qwen3-moe-forward-gpu-v1.yaml"
    expect 1 run --root "$work/tight" --model falsifiers/models/austen-moe-Q4_K_M.gguf -k '*PARITY-001/op_error/opencl__cpu/p0' --backend opencl
    says out "first divergence  blk.0.attn_norm"
    says out "in forward order"
    says out "replay "
    expect 1 run --root "$work/tight" --model falsifiers/models/austen-moe-Q4_K_M.gguf -k '*PARITY-001/op_error/opencl__cpu/p0' --backend opencl --no-bisect
    if grep -q "first divergence  " "$work/out"; then bad "--no-bisect bisects"; else ok; fi
    # a waiver: waived up to the day it expires, falsified from the next, told when nothing needs it
    sed 's/limit: {max: 5.0e-6}/limit: {max: 1.0e-30}/' "$work/new/contracts/my-op_v1.yaml" >"$work/new/contracts/w-v1.yaml"
    rm "$work/new/contracts/my-op_v1.yaml"
    waive() { # GRANTED EXPIRES
        printf 'waivers:\n  - {id: W-1, falsifier: FALSIFY-MY-OP-V1-001, check: row_sum, owner: The tests, granted: "%s", expires: "%s", limit: {max: 1.0e-5}, reason: Nothing keeps 1e-30.}\n' "$1" "$2"
    }
    cp "$work/new/contracts/w-v1.yaml" "$work/w"
    today=$(date -u +%F) yesterday=$(date -u -d yesterday +%F)
    { cat "$work/w"; waive "$yesterday" "$today"; } >"$work/new/contracts/w-v1.yaml"
    expect 0 run --root "$work/new" --backend opencl
    says out "waived until $today by The tests (waiver W-1)"
    counts
    grep -q '"waiver": {' "$work"/new/evidence/FALSIFY-MY-OP-V1-001/*.json && ok || bad "evidence does not name the waiver"
    { cat "$work/w"; waive "$yesterday" "$yesterday"; } >"$work/new/contracts/w-v1.yaml"
    expect 1 run --root "$work/new" --backend opencl
    says out "waiver W-1 of The tests expired on $yesterday"
    expect 3 validate --deny-warnings "$work/new/contracts"
    { sed 's/1.0e-30/5.0e-6/' "$work/w"; waive "$yesterday" "$today"; } >"$work/new/contracts/w-v1.yaml"
    expect 0 run --root "$work/new" --backend opencl
    says out "warning: nothing needed it, remove it"

    # interrupted: the rest is not run, what was made is removed
    mkdir "$work/tmp"
    TMPDIR=$work/tmp "$program" bisect --backend opencl --capsules "$work/caps" >"$work/out" 2>"$work/err" &
    pid=$!
    sleep 1
    kill -INT $pid
    wait $pid
    [ $? = 130 ] && ok || bad "a bisection that gets SIGINT is not exit 130"
    [ -z "$(ls "$work/tmp")" ] && ok || bad "left behind in TMPDIR: $(ls "$work/tmp")"
    for signal in INT TERM; do
        TMPDIR=$work/tmp "$program" run --evidence "$work/ev2" >"$work/out" 2>"$work/err" &
        pid=$!
        sleep 1
        kill -$signal $pid
        wait $pid
        [ $? = 130 ] && ok || bad "a run that gets SIG$signal is not exit 130"
        counts
        says out "not_run"
        case $(tail -n 1 "$work/err") in "exit 130: "*) ok ;; *) bad "SIG$signal: $(tail -n 1 "$work/err")" ;; esac
        [ -z "$(ls "$work/tmp")" ] && ok || bad "left behind in TMPDIR: $(ls "$work/tmp")"
    done
else
    echo "no OpenCL CPU device here: the tests that run kernels are left out"
fi

"$program" plan --no-probe >&- 2>/dev/null
[ $? = 8 ] && ok || bad "plan with stdout closed is not exit 8"

# ---- judge: observations of this project's reference, and of another engine ----
expect 0 observe --backend reference --op matmul --shape n_tokens=2,n_in=512,n_out=33,type=Q4_K --out "$work/o.safetensors"
expect 0 judge "$work/o.safetensors"
says out "rounding as declared: activations f32, sums f64"
expect 0 judge "$work/o.safetensors" --declare sum=f32
says out "survived (marked)"
says out "far better than declared (activations f32, sums f32): fits activations f32, sums f64"
expect 1 judge "$work/o.safetensors" --declare sum=f32 --two-sided
expect 0 observe --backend reference --variant q8_0 --op moe_matmul --fill outlier \
    --shape n_tokens=2,n_expert=4,n_expert_used=2,n_in=512,n_out=33,type=Q6_K --out "$work/o.safetensors"
expect 0 judge "$work/o.safetensors"
says out "rounding as declared: activations q8_0, sums f64"
expect 1 judge "$work/o.safetensors" --declare activation=f32,sum=f32
says out "arithmetic not as declared (activations f32, sums f32): fits activations q8_0"
for type in q4_k q6_k; do
    ggml=falsifiers/vectors/ggml.$type.observation.safetensors
    expect 0 judge $ggml
    says out "rounding as declared: activations q8_k, sums i32"
    expect 1 judge $ggml --declare activation=f32,sum=f32
    says out "arithmetic not as declared (activations f32, sums f32): fits activations q8_k, sums i32"
done
# one float of the outputs, which come last in the file, is another
cp falsifiers/vectors/ggml.q4_k.observation.safetensors "$work/o.safetensors"
size=$(wc -c <"$work/o.safetensors")
printf '\000\000\000\100' | dd of="$work/o.safetensors" bs=1 seek=$((size - 40)) conv=notrunc 2>/dev/null
expect 1 judge "$work/o.safetensors"
says out "a bug: no known arithmetic explains it"
says out "out.y[2, 23]"
for side in want got; do
    expect 0 observe --backend reference --op matmul --fill exact --shape n_tokens=3,n_in=512,n_out=9,type=Q4_K \
        --out "$work/$side.safetensors"
done
expect 0 judge "$work/got.safetensors" --against "$work/want.safetensors"
size=$(wc -c <"$work/got.safetensors") # out.y stands before in.w, 9 rows of 288 bytes
printf '\000\000\000\100' | dd of="$work/got.safetensors" bs=1 seek=$((size - 2592 - 8)) conv=notrunc 2>/dev/null
expect 1 judge "$work/got.safetensors" --against "$work/want.safetensors"
says out "they blame the weights of row 7 block 1 (columns 256 to 511)"
expect 2 judge "$work/got.safetensors" --against "$work/want.safetensors" --two-sided
expect 3 judge "$work/got.safetensors" --against "$work/nothing.safetensors"
expect 2 judge "$work/o.safetensors" --declare activation=q9
expect 2 judge "$work/o.safetensors" --declare
expect 2 judge
expect 3 judge "$work/nothing.safetensors"
expect 0 observe --backend reference --op argmax --shape n_rows=2,n_cols=9 --out "$work/o.safetensors"
expect 3 judge "$work/o.safetensors"
says err "argmax computes nothing that could round"

# ---- bad input ----
head -c 4096 /dev/urandom >"$work/garbage.gguf"
expect 3 inspect "$work/garbage.gguf"
expect 3 run --model "$work/garbage.gguf" -k $few
expect 3 plan --no-probe --model "$work/garbage.gguf"
mkdir -p "$work/broken/contracts"
cp contracts/rmsnorm-kernel-v1.yaml "$work/broken/contracts/"
sed -i 's/judge: rel_l2/judge: rel_l3/' "$work/broken/contracts/rmsnorm-kernel-v1.yaml"
expect 3 plan --no-probe --root "$work/broken"
sed -i 's/judge: rel_l3/jugde: rel_l2/' "$work/broken/contracts/rmsnorm-kernel-v1.yaml"
expect 3 run --root "$work/broken"
says err "rmsnorm-kernel-v1.yaml:"

# ---- a file that may not grow: told as such, and no half of it stays ----
mkdir "$work/full"
(ulimit -f 4000 && exec "$program" synth --shape qwen3-coder-30b-a3b --out "$work/full/big.gguf" >"$work/out" 2>"$work/err")
status=$?
[ $status = 8 ] && ok || bad "synth on a full disk: exit $status, expected 8"
says err "big.gguf:"
[ -z "$(ls -A "$work/full")" ] && ok || bad "synth on a full disk leaves $(ls "$work/full")"

# ---- colour only on request ----
run plan --no-probe -k $few --color always
if grep -q "$(printf '\033')" "$work/out"; then ok; else bad "--color always gives no colour"; fi
run plan --no-probe -k $few
if grep -q "$(printf '\033')" "$work/out"; then bad "colour although stdout is no terminal"; else ok; fi

echo "$passed passed, $failed failed"
[ $failed -eq 0 ] && [ $passed -gt 0 ]
