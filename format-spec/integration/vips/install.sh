#!/usr/bin/env bash
# Builds libvips' module for aei and installs it: [DESTDIR=FOLDER] install.sh
# libaei comes first: src/capi/install.sh PREFIX, and PKG_CONFIG_PATH=PREFIX/lib/pkgconfig where pkg-config does not look by itself. Needs a C compiler and libvips'
# header files (libvips-dev), and mostly root: libvips looks for modules in one folder of the system.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
root=${DESTDIR:-}
[[ -z $root || $root == /* ]] || root=$PWD/$root
for package in vips aei; do
  pkg-config --exists "$package" || { echo "pkg-config does not know $package: install it, or set PKG_CONFIG_PATH" >&2; exit 1; }
done
modules=$(pkg-config --variable=libdir vips)/vips-modules-$(pkg-config --modversion vips | cut -d . -f 1-2)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
eval "flags=($(pkg-config --cflags --libs vips gmodule-2.0 aei))"  # its words are quoted for a shell
${CC:-cc} -std=c11 -O2 -Wall -Wextra -Werror -shared -fPIC "$here/vips-aei.c" "${flags[@]}" -Wl,-rpath,"$(pkg-config --variable=libdir aei)" -o "$work/vips-aei.so"
install -D -m 755 "$work/vips-aei.so" "$root$modules/vips-aei.so"
