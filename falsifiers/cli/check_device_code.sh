#!/bin/sh
# The generator of the table of device code: what it must read from ptxas and host code, and what it must refuse.
# usage: check_device_code.sh; run from the root of the project. Needs neither a CUDA toolkit nor a device.
set -eu
generator=falsifiers/cli/device_code.sh
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
passed=0 failed=0
verdict() { if [ "$1" = 0 ]; then passed=$((passed + 1)); else failed=$((failed + 1)); echo "FAILED: $2" >&2; fi; }
same() { rc=0; [ "$1" = "$2" ] || { rc=1; printf 'found    %s\nexpected %s\n' "$1" "$2" >&2; }; verdict $rc "$3"; }
refused() { rc=0; sh "$generator" table "$1" >/dev/null 2>&1 && rc=1; verdict $rc "$2"; }

cat > "$tmp/good.ptxas" <<'END'
ptxas info    : 0 bytes gmem
ptxas info    : Compiling entry function 'fal_cu_good__way_q4_k' for 'sm_80'
ptxas info    : Function properties for fal_cu_good__way_q4_k
    16 bytes stack frame, 12 bytes spill stores, 8 bytes spill loads
ptxas info    : Used 80 registers, used 1 barriers, 192 bytes smem, 400 bytes cmem[0]
ptxas info    : Compiling entry function 'fal_cu_good' for 'sm_90'
ptxas info    : Function properties for fal_cu_good
    0 bytes stack frame, 0 bytes spill stores, 0 bytes spill loads
ptxas info    : Used 32 registers
END
same "$(sh "$generator" table "$tmp/good.ptxas" | tr '\t\n' ' ;')" \
    'good fal_cu_good__way_q4_k sm_80 80 20 16 192;good fal_cu_good sm_90 32 0 0 0;' "figures of two kernels"
head -n 4 "$tmp/good.ptxas" > "$tmp/cut.ptxas"
refused "$tmp/cut.ptxas" "a log that ends before the registers"
sed '/spill/d' "$tmp/good.ptxas" > "$tmp/mute.ptxas"
refused "$tmp/mute.ptxas" "a log that says nothing of spills"
sed '/Used 80/d' "$tmp/good.ptxas" > "$tmp/gap.ptxas"
refused "$tmp/gap.ptxas" "a log that leaves out a kernel's registers"
: > "$tmp/empty.ptxas"
refused "$tmp/empty.ptxas" "a log of no kernel"

# Host code: a twin's kernels by name, and launches with choices of kernel and type.
mkdir "$tmp/cuda" "$tmp/opencl"
: > "$tmp/cuda/twin.cu"
: > "$tmp/cuda/own.cu"
cat > "$tmp/cuda/own.c" <<'END'
    LAUNCH("own", small ? "a" : "b", is_half ? "f16" : "f32", &shape);
    FAL_CU_LAUNCH(ctx, "own", "c", NULL, n);
    FAL_CU_LAUNCH(ctx, "own", "d", type_name, n);
END
echo '/* none */' > "$tmp/opencl/quant.cl"
printf '#if FAL_CPU\n__kernel void fal_cl_twin__cpu(int n) {}\n#else\n__kernel void fal_cl_twin(int n) {}\n#endif\n' > "$tmp/opencl/twin.cl"
same "$(sh "$generator" asked "$tmp/cuda" "$tmp/opencl" | tr '\t\n' ' ;')" \
    'own fal_cu_own__a_f16 exact;own fal_cu_own__a_f32 exact;own fal_cu_own__b_f16 exact;own fal_cu_own__b_f32 exact;own fal_cu_own__c exact;own fal_cu_own__d any;twin fal_cu_twin exact;' \
    "kernels that the host asks for"

# As C it compiles, with as many rows.
sh "$generator" table "$tmp/good.ptxas" > "$tmp/table"
sh "$generator" asked "$tmp/cuda" "$tmp/opencl" > "$tmp/asked"
sh "$generator" source "$tmp/table" "$tmp/asked" > "$tmp/resources.c"
rc=0
${CC:-gcc} -std=c17 -D_GNU_SOURCE -I. -Wall -Wextra -Werror -fsyntax-only "$tmp/resources.c" || rc=1
verdict $rc "the table as C"
same "$(grep -c '^    { "' "$tmp/resources.c")" 9 "rows of the table as C"
echo "$passed passed, $failed failed"
[ "$failed" = 0 ]
