#!/bin/sh
# From a real run to a derived status and back: evidence that counts, goes stale and is tampered with. usage: check_status.sh PROGRAM
set -u
[ $# -eq 1 ] && [ -x "$1" ] || { echo "usage: $0 PROGRAM" >&2; exit 2; }
program=$(cd "$(dirname "$1")" && pwd)/$(basename "$1")
root=$(cd "$(dirname "$0")/../.." && pwd)
work=$(mktemp -d "${TMPDIR:-/tmp}/falsify-status-XXXXXX") || exit 2
trap 'rm -rf "$work"' EXIT INT TERM
passed=0 failed=0
ok() { passed=$((passed + 1)); }
bad() { failed=$((failed + 1)); echo "FAILED: $*"; }
# expect STATUS TEXT ARGS...: the exit status, and a text in what was printed ('' for none)
expect() {
    want=$1 text=$2
    shift 2
    "$program" "$@" >"$work/out" 2>"$work/err" </dev/null
    status=$?
    [ $status = "$want" ] && ok || bad "falsify $*: exit $status, expected $want: $(tail -n 1 "$work/err")"
    [ -z "$text" ] || { cat "$work/out" "$work/err" | grep -qF -e "$text" && ok || bad "falsify $*: no '$text' in: $(tail -n 2 "$work/out")"; }
}
cd "$root" || exit 2

# ---- evidence of a real run counts ----
for c in status coverage graph diff ids; do
    expect 0 "falsify $c" help $c
    expect 2 "exit 2" $c --no-such-option
done
expect 0 '' run -k FALSIFY-RN-007 --backend reference --require reference --evidence "$work/evidence"
expect 0 '1 count, 0 do not; 0 problems' status --no-probe --evidence "$work/evidence" --contract 'rms*'
expect 0 'falsifiers   x backends' status --no-probe --evidence "$work/evidence" --contract 'rms*' -q
[ "$(wc -l <"$work/out")" = 4 ] && ok || bad "status -q prints more than its totals"
grep -q 'FALSIFY-RN-007 ' "$work/out" && bad "cells are shown without -v" || ok
expect 0 'FALSIFY-RN-007                               reference  survived  1 of 1 checks, 1 of 1 files count' \
    status --no-probe --evidence "$work/evidence" --contract 'rms*' -v
expect 6 'evidence is stale or missing' status --no-probe --evidence "$work/evidence" --require-fresh --contract 'rms*'
expect 0 'FALSIFY-RN-007                             survived ' coverage --evidence "$work/evidence" --contract 'rms*'

# ---- a looser limit makes it stale, prose does not; a status above it is refused ----
cp -r contracts "$work/contracts"
c=$work/contracts/rmsnorm-kernel-v1.yaml
sed -i 's/^\( *if_fails: >-\)$/\1 /; s/The divisor became zero/The divisor was zero/' "$c"
expect 0 '1 count, 0 do not' status "$work/contracts" --no-probe --evidence "$work/evidence" --contract 'rms*'
awk '/id: FALSIFY-RN-007/ { in7 = 1 } in7 && /limit:/ { sub(/1.0e-6/, "1.0e-5") } { print }' contracts/rmsnorm-kernel-v1.yaml >"$c"
expect 0 'closed_form changed (check)' status "$work/contracts" --no-probe --evidence "$work/evidence" --contract 'rms*'
expect 1 'LOOSENED: limit' diff contracts "$work/contracts"
sed 's/^status: DRAFT/status: ACTIVE_RUNTIME/' contracts/rmsnorm-kernel-v1.yaml >"$c"
expect 3 'rmsnorm-kernel-v1 says ACTIVE_RUNTIME, the evidence supports DRAFT [STA-001]' \
    status "$work/contracts" --no-probe --evidence "$work/evidence" --contract 'rms*'
sed 's/property: The output is finite/property: The output is small/' contracts/rmsnorm-kernel-v1.yaml >"$c"
expect 3 'obligation RN-INV-001 is given other words' ids "$work/contracts"

# ---- a changed source makes it stale, of its own part alone ----
mkdir "$work/tree"
cp -r GNUmakefile harness reference opencl cuda "$work/tree/"
sources() { make -s -C "$work/tree" B=b CUDA_HOME= b/sources.c >/dev/null 2>&1 || bad "make sources.c"; cat "$work/tree/b/sources.c"; }
sources >"$work/before"
changes() { # changes FILE PART: an edit of the file changes the digest of that part alone ('' for none)
    printf '/* edited */\n' >>"$work/tree/$1"
    got=$(sources | diff "$work/before" - | sed -n 's/^> *{ "\([a-z]*\)".*/\1/p' | tr '\n' ' ')
    [ "$got" = "${2:+$2 }" ] && ok || bad "an edit of $1 changes the digest of '$got', expected '$2'"
    cp "$root/$1" "$work/tree/$1"
}
changes opencl/rope.cl opencl
changes cuda/rope.cu cuda
changes cuda/quant.cuh cuda
changes reference/rope.c reference
changes harness/rope_table.c shared
changes harness/ops.def shared
changes harness/report.c ''
touch "$work/tree/opencl/new.cl"
sources | diff -q "$work/before" - >/dev/null && bad "a new file in opencl/ changes no digest" || ok

# ---- evidence may not be edited, rolled back or deleted ----
f=$(ls "$work"/evidence/FALSIFY-RN-007/*.json)
cp -r "$work/evidence" "$work/older"
sed -i 's/"marginal": false/"marginal": true/' "$f"
expect 7 'was edited' status --no-probe --evidence "$work/evidence" --contract 'rms*'
rm "$f"
expect 7 'has vanished' status --no-probe --evidence "$work/evidence" --contract 'rms*'
rm "$work"/evidence/runs/*
expect 0 '0 problems' status --no-probe --evidence "$work/evidence" --contract 'rms*'
expect 7 'has vanished' status --no-probe --evidence "$work/evidence" --since "$work/older" --contract 'rms*'

# ---- the graph ----
expect 0 '0 missing, 0 circles' graph contracts
printf 'metadata: {version: "1.0.0", description: d, kind: schema, references: [r], depends_on: [zz-v1]}\nstatus: DRAFT\n' >"$work/zz-v1.yaml"
expect 3 'circle: zz-v1' graph "$work/zz-v1.yaml"

echo "$passed passed, $failed failed"
[ $failed -eq 0 ] && [ $passed -gt 0 ]
