#!/bin/sh
# Builds the fuzz targets with clang and its sanitizers and runs each for some seconds over seeds made here; exit 77 without clang.
# usage: run.sh SECONDS [TARGET...]; run from the root of the project. CORPUS=folder keeps what was found; else it is thrown away.
set -eu
seconds=${1:?usage: run.sh SECONDS [TARGET...]}
shift
clang=${CLANG:-clang}
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"; rm -rf /tmp/fuzz_contract_??????' EXIT
echo 'int LLVMFuzzerTestOneInput(const unsigned char *b, unsigned long n) { return b && n ? 0 : 0; }' > "$tmp/probe.c"
if ! "$clang" -fsanitize=fuzzer,address,undefined -o "$tmp/probe" "$tmp/probe.c" >/dev/null 2>&1; then
    echo "skipped: $clang with libFuzzer is not installed (Debian package clang)"
    exit 77
fi
flags="-std=c17 -D_GNU_SOURCE -I. -g -O1 -fsanitize=fuzzer,address,undefined -fno-sanitize-recover=all -ffp-contract=off
    -DFAL_VERSION=\"fuzz\" -DFAL_FLAGS=\"\" -DFAL_DATADIR=\"\""

# Sources of a target beside its own file, and the libraries they need.
sources() {
    case $1 in
    gguf) echo harness/gguf*.c harness/model*.c harness/text*.c harness/type.c harness/error.c harness/digest.c -lcrypto ;;
    observation) echo harness/observation.c harness/error.c harness/text*.c -ljansson ;;
    capsule) echo harness/capsule.c harness/capsule_cut.c harness/observation*.c harness/fixture*.c harness/rng.c harness/half.c \
        harness/rope_table.c $(ls harness/contract*.c | grep -v contract_schema) harness/claims.c harness/yaml*.c harness/diagnosis.c harness/rules.c harness/arena.c harness/arithmetic.c harness/sites.c harness/type.c \
        harness/error.c harness/text*.c harness/digest.c -lyaml -ljansson -lcrypto ;;
    spec) echo harness/spec_json.c harness/arena.c harness/error.c -ljansson ;;
    contract) echo $(ls harness/contract*.c | grep -v contract_schema) harness/yaml*.c harness/diagnosis.c harness/rules.c harness/validation_count.c harness/validation_text.c harness/arena.c harness/arithmetic.c harness/text*.c harness/error.c \
        harness/digest.c harness/claims.c harness/sites.c harness/type.c -lyaml -ljansson -lcrypto ;;
    esac
}

seeds() { # TARGET FOLDER
    case $1 in
    gguf)
        "$clang" -std=c17 -D_GNU_SOURCE -I. -o "$tmp/gguf_seeds" falsifiers/fuzz/gguf_seeds.c falsifiers/unit/gguf_cases.c \
            falsifiers/unit/gguf_builder.c harness/type.c -lm
        "$tmp/gguf_seeds" "$2"
        ;;
    observation)
        # header length (8 bytes), header, data: one tensor of each kind, one broken end
        header='{"__metadata__":{"about":"{\"requests\":[{\"tokens\":[1]}]}"},"logits":{"dtype":"F32","shape":[1,2],"data_offsets":[0,8]},"r0.ids":{"dtype":"I32","shape":[1],"data_offsets":[8,12]}}'
        printf "\\$(printf '%03o' ${#header})\\0\\0\\0\\0\\0\\0\\0%sabcdefghijkl" "$header" > "$2/whole"
        printf "\\$(printf '%03o' ${#header})\\0\\0\\0\\0\\0\\0\\0%sabcd" "$header" > "$2/short"
        ;;
    capsule)
        # a rmsnorm over two zeros, whole and with another digest
        zeros=$(printf '\0\0\0\0\0\0\0\0' | sha256sum | cut -c1-64)
        for digest in "$zeros" 0; do
            header='{"__metadata__":{"about":"{\"capsule\":{\"format\":1,\"op\":\"rmsnorm\",\"shape\":{\"n_tokens\":1,\"n_embd\":2,\"eps\":1e-6},\"judge\":\"rows\",\"output\":\"y\",\"limit\":{\"max\":1e-5},\"with\":{},\"seed\":\"1\",\"columns\":1,\"kept\":{\"t\":[4]},\"sha256\":{\"x\":\"'$digest'\",\"w\":\"'$digest'\"}}}"},"in.x":{"dtype":"F32","shape":[1,2],"data_offsets":[0,8]},"in.w":{"dtype":"F32","shape":[2],"data_offsets":[8,16]}}'
            printf "\\$(printf '%03o' $((${#header} % 256)))\\$(printf '%03o' $((${#header} / 256)))\\0\\0\\0\\0\\0\\0%s\\0\\0\\0\\0\\0\\0\\0\\0\\0\\0\\0\\0\\0\\0\\0\\0" "$header" > "$2/$digest"
        done
        ;;
    spec)
        echo '{"kind":"forward","backend":"opencl","variant":"cpu","device":"0","model":"m.gguf","requests":[[1,2],[3]],"taps":["logits","blk.*.attn"],"n_greedy":2,"decode":true,"out":"o"}' > "$2/forward"
        echo '{"kind":"op","backend":"cuda","op":"matmul","shape":{"n_tokens":2,"type":"Q4_K","eps":1e-6},"with":{"x_scale":-4},"then":{"op":"add"},"fill":"gauss","seeds":[1,"18446744073709551615"],"out":"o"}' > "$2/op"
        ;;
    contract) cp contracts/*.yaml falsifiers/unit/contracts/*.yaml falsifiers/unit/contracts/good/*.yaml falsifiers/unit/contracts/pv/*.yaml "$2/" ;;
    esac
}

failed=0
for target in ${*:-gguf observation spec contract capsule}; do
    [ -f "falsifiers/fuzz/fuzz_$target.c" ] || { echo "run.sh: no target is named '$target'" >&2; exit 2; }
    corpus=${CORPUS:+$CORPUS/$target}
    corpus=${corpus:-$tmp/corpus/$target}
    mkdir -p "$corpus" "$tmp/seeds/$target"
    seeds "$target" "$tmp/seeds/$target"
    # shellcheck disable=SC2086,SC2046
    "$clang" $flags -o "$tmp/fuzz_$target" "falsifiers/fuzz/fuzz_$target.c" $(sources "$target") -lm
    rc=0
    (cd "$tmp" && "./fuzz_$target" -max_total_time="$seconds" -timeout=10 -rss_limit_mb=2048 -max_len=65536 -print_final_stats=1 \
        "$(case $corpus in /*) echo "$corpus" ;; *) echo "$OLDPWD/$corpus" ;; esac)" "seeds/$target") > "$tmp/log" 2>&1 || rc=$?
    runs=$(sed -n 's/^stat::number_of_executed_units: *//p' "$tmp/log")
    covered=$(grep -o 'cov: [0-9]*' "$tmp/log" | tail -n 1)
    if [ $rc = 0 ] && [ "${runs:-0}" -gt 0 ]; then
        echo "$target: $runs inputs, ${covered:-cov: ?}, nothing found"
    else
        failed=$((failed + 1))
        echo "$target: FAILED" >&2
        tail -n 40 "$tmp/log" >&2
        for found in "$tmp"/crash-* "$tmp"/timeout-* "$tmp"/oom-* "$tmp"/leak-*; do
            [ ! -f "$found" ] || { mkdir -p build/fuzz; cp "$found" build/fuzz/; echo "kept as build/fuzz/$(basename "$found")" >&2; }
        done
    fi
done
[ "$failed" = 0 ]
