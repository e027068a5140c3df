#!/usr/bin/env bash
# Makes a folder that a web server can serve: src/wasm/build.sh FOLDER [--with-encoder]
# Needs Rust with its target for WebAssembly (rustup target add wasm32-unknown-unknown). AEI_WASM_MODULE: a module that has been compiled elsewhere.
set -euo pipefail
usage() { echo "usage: $0 FOLDER [--with-encoder]" >&2; exit 2; }
[ $# -ge 1 ] || usage
mkdir -p "$1"
out=$(cd "$1" && pwd)
model=(--decoder-only)
case ${2:-} in "") ;; --with-encoder) model=() ;; *) usage ;; esac
cd "$(dirname "$0")/../.."
target=wasm32-unknown-unknown

module=${AEI_WASM_MODULE:-}
if [ -z "$module" ]; then
    [ -d "$(rustc --print sysroot)/lib/rustlib/$target/lib" ] || { echo "Rust's target is missing: rustup target add $target" >&2; exit 1; }
    RUSTFLAGS="-C target-feature=+simd128" cargo rustc --quiet --locked --lib --release --no-default-features --features wasm --crate-type cdylib --target "$target"
    module=${CARGO_TARGET_DIR:-target}/$target/release/aei.wasm
fi

# The tool that writes aei.js has to be of the library's version.
version=$(sed -n '/^name = "wasm-bindgen"$/{n;s/version = "\(.*\)"/\1/p}' Cargo.lock)
bindgen=$(command -v wasm-bindgen || echo target/tools/bin/wasm-bindgen)
if [ "$("$bindgen" --version 2>/dev/null)" != "wasm-bindgen $version" ]; then
    bindgen=target/tools/bin/wasm-bindgen
    [ "$("$bindgen" --version 2>/dev/null)" = "wasm-bindgen $version" ] || cargo install --quiet --force --root target/tools "wasm-bindgen-cli@$version"
fi
"$bindgen" --target web --out-dir "$out" --out-name aei "$module"

cp src/wasm/aei/* LICENSE-MIT LICENSE-APACHE "$out/"
crate=$(sed -n 's/^version = "\(.*\)"/\1/p; /^\[features/q' Cargo.toml)
sed "s/\"version\": .*/\"version\": \"$crate\",/" src/wasm/aei/package.json >"$out/package.json"
cargo run --quiet --locked --release --bin aei -- export-model --quiet --force ${model[@]+"${model[@]}"} "$out/aei1.aem"
gzip -9nf "$out/aei1.aem"
ls -l "$out"
