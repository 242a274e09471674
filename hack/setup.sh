#!/usr/bin/env bash
# Installs what labs and tests call beside Go and git: nft, ip, and iptables for kube-proxy's other mode. Says nothing when all of it
# is there.
set -euo pipefail

missing=()
command -v nft >/dev/null || [ -x /usr/sbin/nft ] || missing+=(nftables)
command -v ip >/dev/null || [ -x /usr/sbin/ip ] || missing+=(iproute2)
command -v iptables >/dev/null || [ -x /usr/sbin/iptables ] || missing+=(iptables)
[ ${#missing[@]} != 0 ] || exit 0

if ! command -v apt-get >/dev/null; then
	echo "Please install ${missing[*]} (this script knows only Debian and Ubuntu)." >&2
	exit 1
fi
if [ "$(id -u)" != 0 ]; then
	echo "Missing: ${missing[*]}. Run hack/setup.sh as root, or: sudo apt-get install ${missing[*]}" >&2
	exit 1
fi
echo "installing ${missing[*]}" >&2
export DEBIAN_FRONTEND=noninteractive
install=(apt-get install -y -q --no-install-recommends "${missing[@]}")
# A fresh machine has no package lists, or old ones.
if ! out=$("${install[@]}" 2>&1); then
	out=$(apt-get update -q 2>&1 && "${install[@]}" 2>&1) || {
		printf '%s\n' "$out" >&2
		echo "Installing ${missing[*]} failed; see above." >&2
		exit 1
	}
fi
