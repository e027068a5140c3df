#!/usr/bin/env bash
# Builds libaei with plain cargo and installs library, header and pkg-config file: src/capi/install.sh PREFIX
set -euo pipefail
prefix=${1:?usage: src/capi/install.sh PREFIX}
cd "$(dirname "$0")/../.."
mkdir -p "$prefix/lib/pkgconfig" "$prefix/include"
prefix=$(cd "$prefix" && pwd)
version=$(sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml | head -1)
target=${CARGO_TARGET_DIR:-target}
case $(uname -s) in
  Darwin) shared=libaei.dylib name=libaei.0.dylib link=(-C "link-arg=-Wl,-install_name,$prefix/lib/libaei.0.dylib") ;;
  *) shared=libaei.so name=libaei.so.0 link=(-C link-arg=-Wl,-soname,libaei.so.0) ;;
esac
# The system libraries that a static link needs, as rustc names them.
log=$(cargo rustc --lib --release --no-default-features --features capi --crate-type cdylib,staticlib -- "${link[@]}" --print native-static-libs 2>&1) || { echo "$log" >&2; exit 1; }
libs=$(sed -n 's/^note: native-static-libs: //p' <<<"$log" | tail -1)
install -m 755 "$target/release/$shared" "$prefix/lib/$name"
ln -sf "$name" "$prefix/lib/$shared"
install -m 644 "$target/release/libaei.a" "$prefix/lib/"
install -m 644 src/capi/include/aei.h "$prefix/include/"
sed "s|@PREFIX@|$prefix|; s|@VERSION@|$version|; s|@LIBS@|$libs|" src/capi/aei.pc.in >"$prefix/lib/pkgconfig/aei.pc"
