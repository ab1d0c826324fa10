#!/bin/sh
# Writes the table of the CUDA device code: what ptxas said of every kernel (resources.tsv), the same as C, and what the host asks for.
# usage: device_code.sh table LOG...            TSV from the messages of `nvcc -Xptxas -v`, one LOG a module, named <module>.ptxas
#        device_code.sh asked CUDA OPENCL       kernels that the host code asks for, one a line; a last column "any" stands
#                                               for every kernel that continues the name with _<type>
#        device_code.sh source TABLE ASKED      both as C, for cuda/device_code.c
set -eu
command=$1
shift
case $command in
table)
    [ $# -gt 0 ] || { echo "device_code.sh: table: name at least one log" >&2; exit 2; }
    for log in "$@"; do
        module=$(basename "$log" .ptxas)
        # Facts of a kernel stand on three lines; one that lacks any of them would be a row of zeros, so it is refused.
        awk -v module="$module" '
            function fail(why) { printf "device_code.sh: %s.ptxas: %s\n", module, why > "/dev/stderr"; bad = 1; exit 1 }
            /Compiling entry function/ {
                if (kernel != "") fail("nothing is said of " kernel)
                split($0, part, "\047"); kernel = part[2]; arch = part[4]; spill = -1
            }
            /bytes stack frame/ && kernel != "" { stack = $1; spill = $5 + $9 }
            /Used [0-9]+ registers/ && kernel != "" {
                shared = 0; registers = -1
                for (i = 1; i < NF; i++) {
                    if ($i == "Used") registers = $(i + 1)
                    if ($(i + 1) == "bytes" && $(i + 2) ~ /^smem/) shared = $i
                }
                if (spill < 0 || registers < 0) fail("no stack or registers of " kernel)
                printf "%s\t%s\t%s\t%d\t%d\t%d\t%d\n", module, kernel, arch, registers, spill, stack, shared
                kernel = ""; n++
            }
            END {
                if (!bad && kernel != "") fail("nothing is said of " kernel)
                if (!bad && n == 0) fail("it names no kernel")
            }' "$log"
    done
    ;;
asked)
    cuda=$1 opencl=$2
    for f in "$cuda"/*.cu; do
        module=$(basename "$f" .cu)
        if [ -f "$opencl/$module.cl" ]; then
            # The twin asks for the same kernels, and these are found without looking at cuda/.
            cat "$opencl/quant.cl" "$opencl/$module.cl" |
                ${CC:-gcc} -E -P -x c -DFAL_CPU=0 -DFAL_GROUP=128 -DFAL_SIDE=64 -DFAL_TILE=8 -DFAL_CPU_ROWS=8 - |
                tr '\n' ' ' | grep -o '__kernel[^;{]*(' | grep -o 'fal_cl_[a-z0-9_]*' |
                sed "s/^fal_cl_\(.*\)/$module	fal_cu_\1	exact/"
        else
            # No twin: the names stand in the host code, as module, kernel and type of a launch, where each of the latter
            # two may be a choice of several. A type that is no text there stands for any.
            cat "$cuda"/*.c | tr '\n' ' ' | awk -v module="$module" '
                function texts(arg, list,   n) {
                    n = 0
                    while (match(arg, /"[a-z0-9_]+"/)) {
                        list[++n] = substr(arg, RSTART + 1, RLENGTH - 2)
                        arg = substr(arg, RSTART + RLENGTH)
                    }
                    return n
                }
                {
                    rest = $0
                    while ((at = index(rest, "\"" module "\",")) > 0) {
                        rest = substr(rest, at + length(module) + 3)
                        split(rest, arg, ",")
                        n_how = texts(arg[1], how)
                        n_type = texts(arg[2], type)
                        for (i = 1; i <= n_how; i++) {
                            name = module "\tfal_cu_" module "__" how[i]
                            if (n_type > 0) for (k = 1; k <= n_type; k++) print name "_" type[k] "\texact"
                            else print name "\t" (arg[2] ~ /^ *NULL *$/ ? "exact" : "any")
                        }
                    }
                }'
        fi
    done | sort -u
    ;;
source)
    table=$1 asked=$2
    echo '#include "cuda/device_code.h"'
    echo 'const fal_kernel_code fal_cu_code[] = {'
    awk -F '\t' '{ printf "    { \"%s\", \"%s\", \"%s\", %d, %d, %d, %d },\n", $1, $2, $3, $4, $5, $6, $7 }' "$table"
    echo '    { 0 } };'
    echo 'const fal_kernel_asked fal_cu_asked[] = {'
    awk -F '\t' '{ printf "    { \"%s\", \"%s\", %d },\n", $1, $2, $3 == "any" }' "$asked"
    echo '    { 0 } };'
    ;;
*)
    echo "device_code.sh: found '$command', expected table, asked or source" >&2
    exit 2
    ;;
esac
