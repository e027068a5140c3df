#!/usr/bin/env bash
# Builds Qt 6's image plug-in for aei and installs it, with the media type: [DESTDIR=FOLDER] install.sh
# libaei comes first: src/capi/install.sh PREFIX, and PKG_CONFIG_PATH=PREFIX/lib/pkgconfig where pkg-config does not look by itself. Needs a C++ compiler, Qt's
# header files (qt6-base-dev), and mostly root.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
root=${DESTDIR:-}
[[ -z $root || $root == /* ]] || root=$PWD/$root
for package in Qt6Gui aei; do
  pkg-config --exists "$package" || { echo "pkg-config does not know $package: install it, or set PKG_CONFIG_PATH" >&2; exit 1; }
done
qmake=$(command -v qmake6 || command -v qmake) || { echo "there is no qmake6, which knows where Qt is" >&2; exit 1; }
version=$("$qmake" -query QT_VERSION)
[[ $version == 6.* ]] || { echo "$qmake is that of Qt $version, not of Qt 6" >&2; exit 1; }
plugins=$("$qmake" -query QT_INSTALL_PLUGINS)
share=$("$qmake" -query QT_INSTALL_PREFIX)/share
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cp "$here/aei.cpp" "$here/aei.json" "$work"
"$("$qmake" -query QT_INSTALL_LIBEXECS)/moc" "$work/aei.cpp" -o "$work/aei.moc"
eval "flags=($(pkg-config --cflags --libs Qt6Gui aei))"  # its words are quoted for a shell
${CXX:-c++} -std=c++17 -O2 -Wall -Wextra -Werror -shared -fPIC "$work/aei.cpp" -I"$work" "${flags[@]}" -Wl,-rpath,"$(pkg-config --variable=libdir aei)" -o "$work/libqaei.so"
install -D -m 755 "$work/libqaei.so" "$root$plugins/imageformats/libqaei.so"
install -D -m 644 "$here/../aei.xml" "$root$share/mime/packages/aei.xml"
if [[ -z $root ]] && command -v update-mime-database >/dev/null; then update-mime-database "$share/mime"; fi
