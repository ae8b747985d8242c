#!/usr/bin/env bash
# Stops what start.sh started in the same directory.
for part in rgw osd mon; do
  file="${1:?directory}/run/$part.pid"
  if [ -f "$file" ]; then kill "$(cat "$file")" 2> /dev/null || true; fi
done
