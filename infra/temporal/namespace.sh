#!/usr/bin/env bash
# The namespace of a self-hosted cluster: retention, and the search attributes of runs. Safe to repeat.
#   infra/temporal/namespace.sh [NAMESPACE [RETENTION_DAYS]]      with Temporal's own variables (TEMPORAL_ADDRESS ...)
set -euo pipefail
namespace=${1:-fretsaw}
days=${2:-30}
temporal=${TEMPORAL_CLI:-temporal}
if ! "$temporal" operator namespace describe --namespace "$namespace" > /dev/null 2>&1; then
  "$temporal" operator namespace create --namespace "$namespace" --retention "$((days * 24))h" > /dev/null
fi
attributes() { "$temporal" operator search-attribute "$@" --namespace "$namespace"; }
# A server hears of a new namespace some seconds after it was made: asked again for half a minute.
patiently() {
  for _ in $(seq 60); do
    if "$@" 2> /dev/null; then return; fi
    sleep 0.5
  done
  "$@"
}
patiently "$temporal" operator namespace update --namespace "$namespace" --retention "$((days * 24))h" > /dev/null
have=$(patiently attributes list)
while read -r name type; do
  if ! grep -q "\b$name\b" <<< "$have"; then
    patiently attributes create --name "$name" --type "$type" > /dev/null
  fi
done << 'LIST'
FretsawSpec Keyword
FretsawCommit Keyword
FretsawState Keyword
FretsawKinds KeywordList
FretsawPools KeywordList
FretsawOwner Keyword
LIST
echo "$namespace: $days days, $(patiently attributes list | grep -c Fretsaw) search attributes"
