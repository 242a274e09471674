#!/usr/bin/env bash
# Checks the rules of manifests/alerts and runs their unit tests. The rules stand in Kubernetes objects, promtool wants bare
# groups: so both are copied into a folder, the rules without what is around them.
set -euo pipefail
cd "$(dirname "$0")/.."

promtool=$(hack/promtool.sh)
temp=$(mktemp -d)
trap 'rm -rf "$temp"' EXIT
for rule in manifests/alerts/*.yaml; do
	case $rule in
	*_test.yaml) cp "$rule" "$temp/" ;;
	*) go run ./hack/rulegroups <"$rule" >"$temp/$(basename "$rule")" ;;
	esac
done
cd "$temp"
shopt -s extglob
"$promtool" check rules !(*_test).yaml
"$promtool" test rules ./*_test.yaml
