#!/usr/bin/env bash
# Writes the deep copies of api/v1alpha1 and the CRDs in manifests/crd. OUT (a folder) receives them instead, for hack/verify.sh.
set -euo pipefail
cd "$(dirname "$0")/.."

objects=${OUT:+$OUT/api}
crds=${OUT:+$OUT/crd}
go tool controller-gen object crd paths=./api/v1alpha1 \
	output:object:dir="${objects:-api/v1alpha1}" output:crd:dir="${crds:-manifests/crd}"
