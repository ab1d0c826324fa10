#!/bin/sh
# Tests of the CUDA backend's host code without a GPU: its driver is a library that runs nothing and can fail (cuda/dry.c).
# usage: check_cuda_host.sh PROGRAM FOLDER-OF-libcuda.so.1; run from the root of the project. Exit 77 without device code.
set -u
program=$1
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
passed=0 failed=0
ok() { passed=$((passed + 1)); }
bad() { failed=$((failed + 1)); echo "FAILED: $*" >&2; }

if "$program" devices 2>&1 | grep -q '^cuda .*not built'; then
    echo "skipped: no CUDA device code in the program"
    exit 77
fi
export LD_LIBRARY_PATH="$2${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}"
finite=FALSIFY-QW3-MOE-GPU-INVARIANTS-001/finite

# run SETTINGS ARGUMENTS...: the driver behaves as SETTINGS say; leaves $rc, $work/out and $work/err
run() {
    settings=$1
    shift
    rc=0
    FAL_FAKE_CUDA=$settings "$program" "$@" >"$work/out" 2>"$work/err" || rc=$?
}
says() { # FILE TEXT WHY
    if grep -qF -- "$2" "$work/$1"; then ok; else bad "$3: '$2' is not in $1:"; head -n 20 "$work/$1" >&2; fi
}
is() { if [ "$rc" = "$1" ]; then ok; else bad "$2: exit $rc, expected $1"; tail -n 3 "$work/err" >&2; fi; }

# a device that is not there: usage, and what is
run devices=2 devices
[ "$(grep -c '^cuda ' "$work/out")" = 2 ] && ok || bad "two devices are not listed"
run devices=2 observe --backend cuda --device 7 --tokens 1 --out "$work/o"
is 2 "--device 7"
says err "0 'driver that runs nothing'" "--device 7 does not name what exists"
says err "1 'driver that runs nothing'" "--device 7 does not name what exists"
run devices=2 run --evidence "$work/ev" --device 7 -k "$finite*"
is 2 "run --device 7"

# a model larger than the device's memory: both numbers, and all memory still free
run memory=20000000 run --evidence "$work/ev" --backend cuda -k "$finite/cuda/canonical"
is 5 "no room"
says out "which has 20000000 free of 20000000" "memory was taken before the model was refused"
grep -q 'the model with its context needs [0-9]* bytes' "$work/out" && ok || bad "no room: the bytes needed are not named"

# a driver too old for the device code: blocked, with both versions
run "driver=11040 no_binary=1" run --evidence "$work/ev" --backend cuda -k "$finite/cuda/canonical"
is 77 "old driver"
says out "blocked 1" "an old driver is not blocked"
says out "the driver (CUDA 11.4) cannot run device code built with CUDA" "an old driver: versions"

# a device that is lost midway: crashed at an op, and the rest goes on, on this device and others
run lost_after=150 run --evidence "$work/ev" --backend cuda --backend opencl -k "$finite/*/canonical" -k "$finite/*/p0" -k "$finite/*/p4"
grep -q 'reason *at r0.blk.[0-9].[a-z_]*: cuda: launch of fal_cu_[a-z0-9_]* .*CUDA_ERROR_LAUNCH_FAILED' "$work/out" && ok ||
    bad "a lost device: site and kernel are not named"
says out "crashed 1 + mistrusted 2" "a lost device takes the cases behind it along"
grep -q '^opencl .*crashed\|^opencl .*not_run' "$work/out" && bad "a lost CUDA device takes OpenCL cases along" || ok
run lost_after=20 run --evidence "$work/ev" --backend cuda -k 'FALSIFY-QW3-MOE-GPU-VARIANT-001/stage_error/*/p0'
says out "fal_cu_decode_" "a device lost while a session opens: the kernel is not named"
says out "crashed 1" "a device lost while a session opens"

# every observation of the variants is made to its end, and a device that computes nothing survives none of their checks
run "" run --evidence "$work/ev" --backend cuda -k 'FALSIFY-QW3-MOE-GPU-VARIANT-*'
is 1 "variants on a driver that runs nothing"
grep '^cuda ' "$work/out" | grep -q 'survived 0 + falsified [0-9]*\( + mistrusted [0-9]*\)\?$' && ok ||
    bad "variants: $(grep '^cuda ' "$work/out")"
says out " cuda:fast_kv16 " "the table has no row for a variant"
run "" observe --here --backend cuda --variant fast --tokens 1,2 --decode --taps 'blk.*.moe_gate' --out "$work/o"
is 3 "a site that the fused path does not come to"
says err "variant 'fast' does not come to site moe_gate of layer 0 with one token" "a site that is not there"
run "" observe --here --backend cuda --variant fast --tokens 1,2 --taps 'blk.*.moe_gate' --out "$work/o"
is 0 "a prompt at once comes to every site"

# compute-sanitizer: without it blocked; what it says is judged; one that says nothing of its result is believed nothing
memcheck=FALSIFY-QW3-MOE-GPU-SANITIZE-001
SANITIZER=$work/none run "" run --heavy --evidence "$work/ev" --backend cuda -k "$memcheck*"
is 77 "no compute-sanitizer"
says out "compute-sanitizer is not installed" "no compute-sanitizer"
tool() { # SUMMARY STATUS-OF-A-RUN
    printf '#!/bin/sh\n[ "$1" != --version ] || { echo 1.2.3; exit 0; }\necho "========= %s"\n[ "$6" = memcheck ] && exit 99\nexit %s\n' "$1" "$2" >"$work/tool"
    chmod +x "$work/tool"
    SANITIZER=$work/tool run "" run --heavy --evidence "$work/ev" --backend cuda -k "$memcheck*"
}
tool "ERROR SUMMARY: 0 errors" 0
is 0 "a clean compute-sanitizer"
grep -q 'runs under memcheck 1.2.3' "$work/ev/$memcheck"/*.json && ok || bad "the evidence does not name tool and version"
tool "ERROR SUMMARY: 2 errors" 99
is 1 "a report of compute-sanitizer"
says out "memcheck: observe --model" "a report of compute-sanitizer: which run"
tool "the end" 0
is 1 "a compute-sanitizer without a summary"
run "" run --evidence "$work/ev" --backend cuda -k "$memcheck*"
is 77 "a sanitizer that nobody asked for"

# the dry count needs no driver at all
unset LD_LIBRARY_PATH
run "" run --evidence "$work/ev" --backend cuda -k 'FALSIFY-QW3-MOE-GPU-LAUNCHES-001*'
is 0 "launches without a driver"
says out "4 passed, 0 failed, 0 skipped" "launches without a driver"

echo "$passed passed, $failed failed"
[ $failed -eq 0 ] && [ $passed -gt 0 ]
