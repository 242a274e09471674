#!/usr/bin/env bash
# Prints the path of promtool: the installed one, else one unpacked from the distribution's package into the cache folder.
# Installing the package would start a Prometheus on this machine.
set -euo pipefail

if command -v promtool; then
	exit 0
fi
cache=${EVENKEEL_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/evenkeel}/promtool
if [ -x "$cache/promtool" ]; then
	echo "$cache/promtool"
	exit 0
fi
if ! command -v apt-get >/dev/null || ! command -v dpkg-deb >/dev/null; then
	echo "Please install promtool (it comes with Prometheus)." >&2
	exit 1
fi
temp=$(mktemp -d)
trap 'rm -rf "$temp"' EXIT
cd "$temp"
download() { apt-get download -q -o APT::Sandbox::User=root prometheus >log 2>&1; }
# A fresh machine has no package lists, or old ones.
if ! download && ! { apt-get update -q >log 2>&1 && download; }; then
	cat log >&2
	echo "Downloading the package prometheus for its promtool failed; see above." >&2
	exit 1
fi
dpkg-deb -x prometheus_*.deb unpacked
mkdir -p "$cache"
mv unpacked/usr/bin/promtool "$cache/promtool.$$"
mv "$cache/promtool.$$" "$cache/promtool" # complete or not there
echo "$cache/promtool"
