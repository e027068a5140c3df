#!/usr/bin/env bash
# Builds libaei with plain cargo and installs library, header and pkg-config file: [DESTDIR=FOLDER] src/capi/install.sh PREFIX
# With DESTDIR, for packages, files go to DESTDIR/PREFIX and speak of PREFIX.
set -euo pipefail
prefix=${1:?usage: [DESTDIR=FOLDER] src/capi/install.sh PREFIX}
[[ $prefix == /* ]] || prefix=$PWD/$prefix
prefix=${prefix%/}
root=${DESTDIR:-}
[[ -z $root || $root == /* ]] || root=$PWD/$root
to=$root$prefix
cd "$(dirname "$0")/../.."
mkdir -p "$to/lib/pkgconfig" "$to/include"
version=$(sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml | head -1)
case $(uname -s) in
  Darwin) shared=libaei.dylib name=libaei.0.dylib link=(-C "link-arg=-Wl,-install_name,$prefix/lib/libaei.0.dylib") ;;
  *) shared=libaei.so name=libaei.so.0 link=(-C link-arg=-Wl,-soname,libaei.so.0) ;;
esac
log=$(mktemp)
trap 'rm -f "$log"' EXIT
# On standard output cargo tells where it put the libraries, in whatever folder it was told to build in; in what it says to people are the system libraries that
# a static link needs.
built=$(cargo rustc --color never --message-format json-render-diagnostics --lib --release --no-default-features --features capi --crate-type cdylib,staticlib -- \
  "${link[@]}" --print native-static-libs 2>"$log") || { cat "$log" >&2; exit 1; }
path_of() { grep -o "\"[^\"]*[/\\\\]$1\"" <<<"$built" | tail -1 | tr -d '"'; }
libs=$(sed -n 's/^.*note: native-static-libs: //p' "$log" | tail -1)
[[ -n $libs ]] || { cat "$log" >&2; echo "rustc did not say which libraries a static link needs" >&2; exit 1; }
install -m 755 "$(path_of "$shared")" "$to/lib/$name"
ln -sf "$name" "$to/lib/$shared"
install -m 644 "$(path_of libaei.a)" "$to/lib/"
install -m 644 src/capi/include/aei.h "$to/include/"
quoted() { sed 's/[\\|&]/\\&/g' <<<"$1"; }
sed "s|@PREFIX@|$(quoted "$prefix")|; s|@VERSION@|$version|; s|@LIBS@|$(quoted "$libs")|" src/capi/aei.pc.in >"$to/lib/pkgconfig/aei.pc"
