#!/usr/bin/env bash
# Fails when the sources aren't as "make generate", gofmt, go vet and go mod tidy want them.
set -euo pipefail
cd "$(dirname "$0")/.."

failed=0
complain() {
	printf '%s\n' "$1" >&2
	failed=1
}

unformatted=$(gofmt -l .)
[ -z "$unformatted" ] || complain "Run gofmt -w on: $(echo $unformatted)"

fresh=$(mktemp -d)
trap 'rm -rf "$fresh"' EXIT
OUT=$fresh hack/generate.sh
diff -u api/v1alpha1/zz_generated.deepcopy.go "$fresh/api/zz_generated.deepcopy.go" || complain "Run make generate: the deep copies are old."
diff -ru --exclude=kustomization.yaml manifests/crd "$fresh/crd" || complain "Run make generate: the CRDs are old."

go vet ./... || complain "go vet found something."
go mod tidy -diff || complain "Run go mod tidy."

while read -r lines file; do
	echo "warning: $file has $lines lines; above 350 it is usually two files" >&2
done < <(find . -name '*.go' -not -name 'zz_generated*' -not -path './.git/*' -exec wc -l {} + | awk '$1 > 350 && $2 != "total"')

exit "$failed"
