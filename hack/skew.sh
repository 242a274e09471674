#!/usr/bin/env bash
# Runs the end-to-end story against another control plane: kube-apiserver and kube-controller-manager 1.34, and kine with SQLite
# in place of etcd, as in K3s. Both come from Go module graphs of their own below hack/skew; the rest is the lab's.
set -euo pipefail
cd "$(dirname "$0")/.."
export CGO_ENABLED=0

lab=$(bin/labtool build)
cache=${EVENKEEL_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/evenkeel}

# make_plane NAME MODULE PACKAGE...: a folder with the lab's binaries, those of MODULE in their places.
make_plane() {
	local name=$1 module=$2
	shift 2
	plane=$cache/skew-$name-$(sha256sum "hack/skew/$module/go.sum" | cut -c1-12)
	[ -e "$plane/.complete" ] && return
	echo "building the control plane $name; the first time takes 8 to 15 minutes on 2 cores" >&2
	mkdir -p "$plane"
	cp -f "$lab"/* "$plane"/
	(cd "hack/skew/$module" && go build -ldflags '-s -w' -o "$plane/" "$@")
	touch "$plane/.complete"
}

run() {
	echo "=== end-to-end story on $1" >&2
	shift
	env "$@" go test -count=1 -timeout 30m ./test/e2e
}

case ${1:-all} in
kine | all)
	make_plane kine kine github.com/k3s-io/kine
	run "kine with SQLite" EVENKEEL_LAB_CONTROL_PLANE="$plane" EVENKEEL_LAB_DATASTORE=kine
	;;&
1.34 | all)
	make_plane kubernetes-1.34 kubernetes-1.34 k8s.io/kubernetes/cmd/kube-apiserver k8s.io/kubernetes/cmd/kube-controller-manager
	run "Kubernetes 1.34" EVENKEEL_LAB_CONTROL_PLANE="$plane"
	;;&
kine | 1.34 | all) ;;
*)
	echo "usage: hack/skew.sh [kine|1.34|all]" >&2
	exit 2
	;;
esac
