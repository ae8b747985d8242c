#!/usr/bin/env bash
# A second, stricter S3 on this machine for tests: OpenStack Swift with its s3api, one copy on one folder.
#   infra/dev/swift/start.sh DIR [S3_PORT [ACCOUNT CONTAINER OBJECT MEMCACHED]]     ports; stop it with infra/dev/stop.sh DIR
# Needs Debian's memcached and Swift in .fretsaw/swift-venv (npm run setup -- --system).
# It answers at http://127.0.0.1:S3_PORT with the key test:tester and the secret testing.
set -euo pipefail
dir=$(realpath -m "${1:?directory to run in}")
port=${2:-8088}
ports=("${@:3}")
if [ ${#ports[@]} -eq 0 ]; then ports=($((port + 1)) $((port + 2)) $((port + 3)) $((port + 4))); fi
here=$(cd "$(dirname "$0")" && pwd)
bin=$(realpath -m "${FRETSAW_SWIFT_VENV:-$here/../../../.fretsaw/swift-venv}")/bin
wait_seconds=60
mkdir -p "$dir/run" "$dir/devices/d1"
cd "$dir"

cat > swift.conf << END
[swift-hash]
swift_hash_path_prefix = fretsaw
swift_hash_path_suffix = test
[storage-policy:0]
name = only
default = yes
END

# server NAME PORT: the configuration of an account, container or object server
server() {
  cat > "$1.conf" << END
[DEFAULT]
bind_ip = 127.0.0.1
bind_port = $2
swift_dir = $dir
devices = $dir/devices
mount_check = false
user = $(id -un)
workers = 0
fallocate_reserve = 0
log_level = WARNING
[pipeline:main]
pipeline = $1-server
[app:$1-server]
use = egg:swift#$1
END
  "$bin/swift-ring-builder" "$1.builder" create 4 1 0 > /dev/null
  "$bin/swift-ring-builder" "$1.builder" add --region 1 --zone 1 --ip 127.0.0.1 --port "$2" --device d1 --weight 1 > /dev/null
  "$bin/swift-ring-builder" "$1.builder" rebalance > /dev/null
}
server account "${ports[0]}"
server container "${ports[1]}"
server object "${ports[2]}"

cat > proxy.conf << END
[DEFAULT]
bind_ip = 127.0.0.1
bind_port = $port
swift_dir = $dir
user = $(id -un)
workers = 0
log_level = WARNING
[pipeline:main]
pipeline = catch_errors gatekeeper cache s3api tempauth slo proxy-server
[app:proxy-server]
use = egg:swift#proxy
account_autocreate = true
[filter:catch_errors]
use = egg:swift#catch_errors
[filter:gatekeeper]
use = egg:swift#gatekeeper
[filter:cache]
use = egg:swift#memcache
memcache_servers = 127.0.0.1:${ports[3]}
[filter:s3api]
use = egg:swift#s3api
s3_acl = false
[filter:tempauth]
use = egg:swift#tempauth
user_test_tester = testing .admin
[filter:slo]
use = egg:swift#slo
END

# part NAME COMMAND...: starts one in the background
part() {
  local name=$1
  shift
  setsid "$@" > "$name.log" 2>&1 < /dev/null &
  echo $! > "run/$name.pid"
}
part memcached memcached -l 127.0.0.1 -p "${ports[3]}" -m 32 -u "$(id -un)"
for name in account container object; do part $name "$bin/swift-$name-server" "$name.conf"; done
part proxy "$bin/swift-proxy-server" proxy.conf

for _ in $(seq 1 $((wait_seconds * 5))); do
  for pid in run/*.pid; do
    if kill -0 "$(cat "$pid")" 2> /dev/null; then continue; fi
    name=$(basename "$pid" .pid)
    echo "start.sh: $name ended" >&2
    tail -n 20 "$name.log" >&2
    "$here/../stop.sh" "$dir"
    exit 1
  done
  # 403: nobody signed this; whoever says so is ready
  if [ "$(curl -s -o /dev/null -w '%{http_code}' "http://127.0.0.1:$port/" -H 'Authorization: AWS nobody:x' || true)" = 403 ]; then
    echo "http://127.0.0.1:$port"
    exit 0
  fi
  sleep 0.2
done
echo "start.sh: not ready after $wait_seconds s" >&2
tail -n 20 proxy.log >&2
"$here/../stop.sh" "$dir"
exit 1
