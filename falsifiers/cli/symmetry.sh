#!/bin/sh
# Compares every file of opencl/ with its twin in cuda/, after both were turned into one neutral text. usage: symmetry.sh [-v]
# Fails when a file, a function or a statement has no twin and no reason below; prints the drift of each pair (-v: the drift
# itself). Text from a line with "asymmetry: reason" to one with "asymmetry: end" is excused and counted.
set -u
cd "$(dirname "$0")/../.." || exit 2
verbose=0
[ $# -le 1 ] || { echo "usage: $0 [-v]" >&2; exit 2; }
[ "${1:--v}" = -v ] || { echo "usage: $0 [-v]" >&2; exit 2; }
[ $# -eq 1 ] && verbose=1
sed=harness/symmetry.sed
dir=$(mktemp -d) || exit 2
trap 'rm -rf "$dir"' EXIT

# Files without a twin: pattern, reason.
no_twin='opencl/cache.[ch]	built programs; CUDA device code is compiled when the project is built
cuda/decode*	the fused path of the variants fast and fast_kv16, which stands beside the exact class
cuda/session.h	what forward.c shares with that path
cuda/graph*	launches of that path recorded once
cuda/dry.[ch]	a driver that runs nothing, for counting launches without a device
cuda/device_code.[ch]	reads what nvcc wrote into the device code; OpenCL drivers do not tell'
# Pairs whose statements may differ: pattern, reason. All others are equal but for what is excused inside them.
may_drift='opencl/api.h	two drivers
opencl/backend.c	other variants
opencl/bandwidth.*	each driver measures time in its own way
opencl/device.[ch]	two drivers
opencl/devices.c	two drivers
opencl/programs.c	two drivers
opencl/foreign.c	two drivers
opencl/context.h	two drivers
opencl/forward.[ch]	the fused variants start there
opencl/quant.cl	what the two languages call the same thing'
# Functions without a twin: name, reason.
no_twin_function='fal_xx_is_cpu	the variant for CPUs exists in OpenCL alone
fal_xx_build	OpenCL compiles at run time
fal_xx_build_failed	OpenCL compiles at run time
fal_xx_point_at	how the driver of CUDA takes arguments
fal_xx_text	sources travel in the program for OpenCL alone
fal_xx_largest	an OpenCL device may hold less in one buffer than in all
fal_xx_variant_of	tells the fused variants of CUDA apart
fal_xx_is_blocking	for the fused variants
fal_xx_multiprocessors	for the fused variants
fal_xx_shared_limit	for the fused variants
fal_xx_launch_shaped	for the fused variants
fal_xx_overlap	launches of an OpenCL queue do not overlap
fal_xx_graph_begin	for the fused variants
fal_xx_graph_end	for the fused variants
fal_xx_graph_launch	for the fused variants
fal_xx_graph_kernels	for the fused variants
fal_xx_graph_free	for the fused variants
fal_xx_generate	for the fused variants
forward_fused	for the fused variants
variant_op	the fused variants have one op of their own
fal_xx_facts	registers and memory of a kernel; OpenCL 1.2 does not tell'

# The work-group kernels alone: without the branches of "#if FAL_CPU".
without_cpu() {
    awk '/^#if FAL_CPU/ { kind[++n] = "cpu"; next }
        /^#if !FAL_CPU/ { kind[++n] = "other"; next }
        /^#if/ { kind[++n] = "" }
        /^#else/ && kind[n] != "" { kind[n] = kind[n] == "cpu" ? "other" : "cpu"; next }
        /^#endif/ { if (kind[n--] != "") next }
        { for (i = 1; i <= n; i++) if (kind[i] == "cpu") next; print }' "$1"
}

# Without what is excused; its lines are counted in the second file.
without_excused() {
    awk -v count="$2" '/asymmetry: end/ { skip = 0; n++; next }
        /asymmetry: / { skip = 1 }
        skip { n++; next }
        { print }
        END { print n + 0 > count; if (skip) { print "asymmetry without an end"; exit 1 } }' "$1"
}

# Neutral words, then one statement, brace or comment a line, so that line breaks do not count. Lines of the
# preprocessor stay lines.
neutral() {
    case $1 in
    *.cl) without_cpu "$1" ;;
    *) cat "$1" ;;
    esac > "$dir/text"
    without_excused "$dir/text" "$dir/excused" > "$dir/rest" || { echo "$1: asymmetry without an end" >&2; exit 1; }
    sed -e :a -e '/\\$/ { N; s/ *\\\n */ /; ba' -e '}' "$dir/rest" | sed -f $sed |
        awk '/^#include "quant/ { next }
            /^ *(#|FAL_UNROLL)/ { if (held != "") print held; held = ""; print; next }
            { held = held " " $0; while ((i = match(held, /[;{}]|\*\//)) > 0) {
                e = i + RLENGTH - 1; print substr(held, 1, e); held = substr(held, e + 1) } }
            END { if (held != "") print held }' |
        sed -e 's/[[:space:]]\{1,\}/ /g' -e 's/^ //' -e 's/ $//' -e 's/ \?\([-=/*]\)\{5,\} \?//g' -e '/^$/d'
}

# Names of functions (in a header: of prototypes) in their order, from a neutral text.
functions() {
    awk -v header="$2" '
        /^#/ || /^\/\*/ { next }
        { text = text " " $0 }
        /[;{}]$/ {
            if (depth == 0 && text ~ /\(/ && text !~ /=|^ *typedef|^ *enum/ && (text ~ /\{$/ || (header && text ~ /;$/))) {
                is_static = text ~ /(^| )static /
                s = text; sub(/^ *KERNEL\(.*\) */, "", s); sub(/\(.*/, "", s); sub(/.*[^A-Za-z0-9_]/, "", s)
                if (s != "" && !(header && is_static)) print (is_static ? "static " : "") s
            }
            if (text ~ /\{$/) depth++
            if (text ~ /\}$/ && depth > 0) depth--
            text = ""
        }' "$1"
}

# The reason why a name of a list above has no twin; fails without one.
excuse() {
    printf '%s\n' "$2" | while IFS='	' read -r pattern reason; do
        case $1 in $pattern) echo "$reason"; exit 1 ;; esac
    done && return 1
    return 0
}

twin_of() {
    case $1 in
    opencl/quant.cl) echo cuda/quant.cuh ;;
    cuda/quant.cuh) echo opencl/quant.cl ;;
    opencl/*.cl) f=${1#opencl/}; echo "cuda/${f%.cl}.cu" ;;
    cuda/*.cu) f=${1#cuda/}; echo "opencl/${f%.cu}.cl" ;;
    opencl/*) echo "cuda/${1#opencl/}" ;;
    cuda/*) echo "opencl/${1#cuda/}" ;;
    esac
}

bad=0 pairs=0 drift=0 lines=0 excused=0
ops() { sed -n "s/^$1(\([a-z_0-9]*\)).*/\1/p" harness/ops.def; }
for f in $(for op in $(ops FAL_OP) $(ops FAL_FUSED); do echo "opencl/$op.c cuda/$op.c"; done) \
    $(for op in $(ops FAL_OP); do echo "opencl/$op.cl cuda/$op.cu"; done); do
    [ -f "$f" ] || { echo "FAIL $f: an op has no such file"; bad=$((bad + 1)); }
done
for f in cuda/*.[ch] cuda/*.cu cuda/*.cuh; do
    [ -f "$(twin_of "$f")" ] && continue
    if why=$(excuse "$f" "$no_twin"); then printf '%-26s no twin: %s\n' "$f" "$why"
    else echo "FAIL $f: no twin $(twin_of "$f"), and no reason"; bad=$((bad + 1)); fi
done
for f in opencl/*.[ch] opencl/*.cl; do
    twin=$(twin_of "$f")
    if [ ! -f "$twin" ]; then
        if why=$(excuse "$f" "$no_twin"); then printf '%-26s no twin: %s\n' "$f" "$why"
        else echo "FAIL $f: no twin $twin, and no reason"; bad=$((bad + 1)); fi
        continue
    fi
    neutral "$f" > "$dir/a" || exit 1
    e=$(cat "$dir/excused")
    neutral "$twin" > "$dir/b" || exit 1
    e=$((e + $(cat "$dir/excused"))) header=0
    case $f in *.h) header=1 ;; esac
    functions "$dir/a" $header > "$dir/fa"
    functions "$dir/b" $header > "$dir/fb"
    for side in a b; do
        while read -r words; do
            # The drivers differ: only what others call must agree there.
            case $f:$words in opencl/device*.c:static\ * | opencl/programs.c:static\ * | opencl/foreign.c:static\ *) continue ;; esac
            excuse "${words#static }" "$no_twin_function" > /dev/null || echo "$words"
        done < "$dir/f$side" > "$dir/functions"
        mv "$dir/functions" "$dir/f$side"
    done
    diff "$dir/a" "$dir/b" > "$dir/diff"
    n=$(grep -c '^[<>]' "$dir/diff")
    all=$(cat "$dir/a" "$dir/b" | wc -l)
    printf '%-26s %4d of %4d statements drift, %3d lines excused\n' "$f" "$n" "$all" "$e"
    [ $verbose = 1 ] && sed 's/^/    /' "$dir/diff"
    if [ "$n" -gt 0 ] && ! excuse "$f" "$may_drift" > /dev/null; then
        echo "FAIL $f and $twin: $n statements drift, and no reason is declared (symmetry.sh -v shows them)"
        bad=$((bad + 1))
    fi
    if ! cmp -s "$dir/fa" "$dir/fb"; then
        echo "FAIL $f and $twin: other functions, or in another order:"
        diff "$dir/fa" "$dir/fb" | sed -n 's/^[<>]/    &/p'
        bad=$((bad + 1))
    fi
    pairs=$((pairs + 1)) drift=$((drift + n)) lines=$((lines + all)) excused=$((excused + e))
done
[ $pairs -gt 0 ] || { echo "no pair was compared" >&2; exit 1; }
echo "$pairs pairs: $drift of $lines statements drift, $excused lines excused, $bad failures"
[ $bad = 0 ]
