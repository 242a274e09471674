#!/usr/bin/env bash
# Runs "go build -v ARGS" and says now and then how far it is: the first build compiles Kubernetes, which is silent for minutes.
set -euo pipefail
cd "$(dirname "$0")/.."

go build -v "$@" 2>&1 | {
	compiled=0 said=0 begin=$SECONDS
	while true; do
		status=0
		IFS= read -r -t 5 line || status=$?
		if [ "$status" = 0 ]; then
			if [[ $line =~ ^[A-Za-z0-9._/~-]+$ ]]; then
				compiled=$((compiled + 1)) # -v names each package
			else
				printf '%s\n' "$line" >&2 # downloads, and what the compiler complains about
			fi
		elif [ "$status" -le 128 ]; then
			break # end of output
		fi
		if [ $((SECONDS - begin)) -ge 15 ] && [ $((SECONDS - said)) -ge 15 ]; then
			[ "$said" != 0 ] || echo "compiling; the first time this includes Kubernetes: 10 to 15 minutes on 2 cores" >&2
			echo "  $compiled packages after $((SECONDS - begin)) s" >&2
			said=$SECONDS
		fi
	done
}
