#!/usr/bin/env bash
# Runs the job of bench.yaml and merges the results of its pods.
#
# scripts/kubernetes/run.sh SECONDS [MERGE FLAG]...
#
# SECONDS: from now to the start of the measurement. All pods must be scheduled and warmed up by
# then.
set -euo pipefail
cd "$(dirname "$0")"

lead=${1:?expected the seconds until the start, such as 60}
shift
job=resound-bench
parts=$(sed -n 's/^  completions: //p' bench.yaml)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

kubectl delete job "$job" --ignore-not-found >/dev/null
sed "/name: START_AT/{n;s/\"0\"/\"$(($(date +%s) + lead))\"/}" bench.yaml | kubectl apply -f - >/dev/null

# A pod that failed has said why in its document, and the merge names it. 600 s: the deadline of the
# job.
kubectl wait "job/$job" --for=condition=complete --timeout=600s >/dev/null 2>&1 || true
files=()
for ((index = 0; index < parts; index++)); do
  files+=("$work/part-$((index + 1)).json")
  kubectl logs -l "batch.kubernetes.io/job-name=$job,batch.kubernetes.io/job-completion-index=$index" \
    --tail=-1 >"${files[index]}"
done
"${RESOUND:-resound}" merge "$@" "${files[@]}"
