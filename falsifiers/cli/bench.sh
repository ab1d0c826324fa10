#!/bin/sh
# Measures the figures of the README on this machine; no test. usage: bench.sh build/falsify [MODEL.gguf]
set -u
[ $# -ge 1 ] && [ $# -le 2 ] && [ -x "$1" ] || { echo "usage: $0 PROGRAM [MODEL]" >&2; exit 2; }
program=$(cd "$(dirname "$1")" && pwd)/$(basename "$1")
root=$(cd "$(dirname "$0")/../.." && pwd)
model=${2:-falsifiers/models/austen-moe-Q4_K_M.gguf}
work=$(mktemp -d "${TMPDIR:-/tmp}/falsify-bench-XXXXXX") || exit 2
trap 'rm -rf "$work"' EXIT INT TERM
cd "$root" || exit 2
failed=0

# timed LABEL ALLOWED ARGS...: seconds of one call; ALLOWED is a second exit status that is no failure
timed() {
    label=$1 allowed=$2
    shift 2
    start=$(date +%s.%N)
    "$program" "$@" >"$work/out" 2>"$work/err" </dev/null
    status=$?
    end=$(date +%s.%N)
    if [ $status -ne 0 ] && [ $status -ne "$allowed" ]; then
        failed=1
        echo "$label: exit $status: $(tail -n 1 "$work/err")"
        return
    fi
    awk -v l="$label" -v a="$start" -v b="$end" -v s=$status 'BEGIN { printf "%-34s %9.3f s%s\n", l, b - a, s ? "  (exit " s ")" : "" }'
}

# decode BACKEND [ARGS...]: the table of falsify bench
decode() {
    echo
    "$program" bench --model "$model" --backend "$@" --context 64 --tokens 64 --runs 5 2>"$work/err" </dev/null
    status=$?
    [ $status -eq 0 ] && return
    echo "$1: $(tail -n 1 "$work/err")"
    [ $status -eq 77 ] || failed=1
}

"$program" --version
echo "machine  $(uname -sm), $(getconf _NPROCESSORS_ONLN 2>/dev/null || echo '?') processors, $(sed -n 's/^model name[^:]*: //p' /proc/cpuinfo 2>/dev/null | head -n 1)"
echo "load     $(cut -d ' ' -f 1-3 /proc/loadavg 2>/dev/null || echo unknown)"
echo
timed "validate" 0 validate contracts
mkdir "$work/many" && awk -v n=2000 -v folder="$work/many" -f falsifiers/cli/many_contracts.awk
timed "validate 2,000 contracts of 5 KB" 0 validate --deny-warnings "$work/many"
rm -rf "$work/many"
timed "plan --no-probe" 0 plan --no-probe --model "$model"
timed "run, first" 5 run --model "$model" --evidence "$work/evidence"
timed "run, warm" 5 run --model "$model" --evidence "$work/evidence"
tail -n 1 "$work/out"

decode reference
if [ -x /usr/bin/time ] && /usr/bin/time -v true >/dev/null 2>&1; then
    /usr/bin/time -v "$program" bench --model "$model" --backend reference --context 64 --tokens 16 --runs 1 \
        >/dev/null 2>"$work/time" </dev/null
    peak=$(awk '/Maximum resident set size/ { printf "%.1f MB (/usr/bin/time)", $NF / 1000 * 1.024 }' "$work/time")
    echo "peak resident memory of that      $peak"
fi

# a CPU device has kernels of its own, which are the fast ones there
if "$program" devices --json 2>/dev/null | awk '/"backend": "opencl"/ { on = 1 } /"backend": "cuda"/ { on = 0 }
    on && /"is_cpu": true/ { found = 1 } END { exit !found }'; then
    decode opencl --variants cpu
else
    decode opencl
fi
decode cuda --variants ,fast
exit $failed
