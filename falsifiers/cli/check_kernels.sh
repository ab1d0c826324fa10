#!/bin/sh
# Every kernel in opencl/ must be executed by some case of the plan: lists them from the sources and from a run, and compares.
# usage: check_kernels.sh PROGRAM [OPENCL_FOLDER]; run from the root of the project. Needs an OpenCL CPU device (PoCL).
set -eu
program=$1
folder=${2:-opencl}
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT

# Kernel names as the OpenCL compiler sees them: the preprocessor writes out the macros that make them, for both variants.
for cpu in 0 1; do
    for f in "$folder"/*.cl; do
        # bandwidth.cl is no op: it measures the card for THROUGHPUT-001, and a unit test runs it.
        case $f in "$folder/quant.cl" | "$folder/bandwidth.cl") continue ;; esac
        cat "$folder/quant.cl" "$f" |
            ${CC:-gcc} -E -P -x c -DFAL_CPU=$cpu -DFAL_GROUP=128 -DFAL_TILE=8 -DFAL_CPU_ROWS=8 - 2>/dev/null
    done
done | tr '\n' ' ' | grep -o '__kernel[^;{]*(' | grep -o 'fal_cl_[a-z0-9_]*' | sort -u > "$tmp/all"

status=0
"$program" run --backend reference --backend opencl --json --evidence "$tmp/evidence" > "$tmp/run.json" 2> "$tmp/err" || status=$?
if [ $status != 0 ]; then
    echo "check_kernels: the run ended with status $status" >&2
    tail -n 5 "$tmp/err" >&2
    echo "0 passed, 1 failed"
    exit 1
fi
grep -o '"fal_cl_[a-z0-9_]*": [1-9]' "$tmp/run.json" | grep -o 'fal_cl_[a-z0-9_]*' | sort -u > "$tmp/ran"
never=$(comm -23 "$tmp/all" "$tmp/ran")
unknown=$(comm -13 "$tmp/all" "$tmp/ran")
n=$(wc -l < "$tmp/all")
failed=$(printf '%s' "$never$unknown" | grep -c . || true)
[ -z "$never" ] || printf 'no case executes the kernel %s\n' $never >&2
[ -z "$unknown" ] || printf 'a case ran the kernel %s, which is in no source file\n' $unknown >&2
[ "$n" -ge 28 ] || { echo "only $n kernels found in $folder" >&2; failed=$((failed + 1)); }
echo "$((n - failed)) passed, $failed failed"
[ "$failed" = 0 ]
