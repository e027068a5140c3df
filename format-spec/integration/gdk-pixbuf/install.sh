#!/usr/bin/env bash
# Builds gdk-pixbuf's module for aei and installs it, with the media type and the thumbnailer of desktops: [DESTDIR=FOLDER] install.sh
# libaei comes first: src/capi/install.sh PREFIX, and PKG_CONFIG_PATH=PREFIX/lib/pkgconfig where pkg-config does not look by itself. Needs a C compiler and
# gdk-pixbuf's header files (libgdk-pixbuf-2.0-dev), and mostly root: gdk-pixbuf looks for modules in one folder of the system.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
root=${DESTDIR:-}
[[ -z $root || $root == /* ]] || root=$PWD/$root
for package in gdk-pixbuf-2.0 aei; do
  pkg-config --exists "$package" || { echo "pkg-config does not know $package: install it, or set PKG_CONFIG_PATH" >&2; exit 1; }
done
modules=$(pkg-config --variable=gdk_pixbuf_moduledir gdk-pixbuf-2.0)
share=$(pkg-config --variable=prefix gdk-pixbuf-2.0)/share
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
eval "flags=($(pkg-config --cflags --libs gdk-pixbuf-2.0 gmodule-2.0 aei))"  # its words are quoted for a shell
${CC:-cc} -std=c11 -O2 -Wall -Wextra -Werror -shared -fPIC "$here/io-aei.c" "${flags[@]}" -Wl,-rpath,"$(pkg-config --variable=libdir aei)" -o "$work/libpixbufloader-aei.so"
install -D -m 755 "$work/libpixbufloader-aei.so" "$root$modules/libpixbufloader-aei.so"
install -D -m 644 "$here/../aei.xml" "$root$share/mime/packages/aei.xml"
install -D -m 644 "$here/aei.thumbnailer" "$root$share/thumbnailers/aei.thumbnailer"
if [[ -z $root ]]; then  # packages do that when they are installed
  "$(pkg-config --variable=gdk_pixbuf_query_loaders gdk-pixbuf-2.0)" --update-cache
  if command -v update-mime-database >/dev/null; then update-mime-database "$share/mime"; fi
fi
