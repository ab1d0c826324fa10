#!/bin/sh
# Builds the CUDA mutants: mutants.sh PROGRAM NVCC FOLDER [ARCH]. Leaves FOLDER/<id>.fatbin for each source mutant; what has
# not changed is not built again. ARCH is nvcc's -arch: by default the GPU that is here, else PTX of the oldest that we build for.
set -eu
program=$1 nvcc=$2 dir=$3 arch=${4:-}
[ -x "$nvcc" ] || { echo "mutants: no nvcc (CUDA_HOME): CUDA mutants are not built" >&2; exit 1; }
if [ -z "$arch" ]; then
    if nvidia-smi -L >/dev/null 2>&1; then arch=native; else arch=compute_80; fi
fi
mkdir -p "$dir"
"$program" prove --write-sources "$dir" >"$dir/list"
one='
nvcc=$1 dir=$2 arch=$3 id=$4 module=$5
flags="-std=c++17 -O3 -fmad=false -ftz=false -prec-div=true -prec-sqrt=true --fatbin -arch=$arch"
sum=$(cat "$dir/$id/"* cuda/*.cuh | sha256sum)" $flags $("$nvcc" --version | tail -n 1)"
[ -s "$dir/$id.fatbin" ] && [ "$(cat "$dir/$id.sum" 2>/dev/null)" = "$sum" ] && exit 0
rm -f "$dir/$id.fatbin"
printf "  %-8s %s\n" MUTANT "$id"
"$nvcc" $flags -I"$dir/$id" -Icuda -o "$dir/$id.fatbin" "$dir/$id/$module.cu" >"$dir/$id.log" 2>&1 || { cat "$dir/$id.log" >&2; echo "mutants: $id does not build" >&2; exit 255; }
echo "$sum" >"$dir/$id.sum"
'
xargs -P "${JOBS:-$(nproc)}" -L 1 sh -c "$one" mutants "$nvcc" "$dir" "$arch" <"$dir/list"
n=$(wc -l <"$dir/list")
[ "$(ls "$dir"/*.fatbin | wc -l)" -ge "$n" ] || { echo "mutants: not all of $n were built" >&2; exit 1; }
echo "$n CUDA mutants in $dir, built for $arch"
