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
"$temporal" operator namespace update --namespace "$namespace" --retention "$((days * 24))h" > /dev/null
have=$("$temporal" operator search-attribute list --namespace "$namespace")
while read -r name type; do
  if ! grep -q "\b$name\b" <<< "$have"; then
    "$temporal" operator search-attribute create --namespace "$namespace" --name "$name" --type "$type" > /dev/null
  fi
done << 'LIST'
FretsawSpec Keyword
FretsawCommit Keyword
FretsawState Keyword
FretsawKinds KeywordList
FretsawPools KeywordList
FretsawOwner Keyword
LIST
echo "$namespace: $days days, $("$temporal" operator search-attribute list --namespace "$namespace" | grep -c Fretsaw) search attributes"
