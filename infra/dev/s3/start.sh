#!/usr/bin/env bash
# A real S3 on this machine for tests: Ceph's gateway over one in-memory OSD.
#   infra/dev/s3/start.sh DIR [S3_PORT [MON_PORT]]     stop it with infra/dev/stop.sh DIR
# Needs Debian's radosgw, ceph-mon, ceph-osd, ceph-common and root (npm run setup -- --system).
# It answers at http://127.0.0.1:S3_PORT with the key fretsaw-test and the secret fretsaw-secret.
set -euo pipefail
dir=$(realpath -m "${1:?directory to run in}")
s3_port=${2:-8086}
mon_port=${3:-3300}
here=$(cd "$(dirname "$0")" && pwd)
wait_seconds=120
mkdir -p "$dir"
cd "$dir"
rm -rf mon.a osd.0 run keyring monmap
mkdir -p mon.a osd.0 run
sed -e "s#@DIR@#$dir#g" -e "s#@S3_PORT@#$s3_port#g" -e "s#@MON_PORT@#$mon_port#g" "$here/ceph.conf.in" > ceph.conf
conf=(-c "$dir/ceph.conf")
fsid=$(sed -n 's/^fsid = //p' ceph.conf)

# fail WHAT FILE: says what did not come up, with the end of what it wrote, and stops the rest
fail() {
  echo "start.sh: $1" >&2
  tail -n 20 "$2" >&2 || true
  "$here/../stop.sh" "$dir"
  exit 1
}
# until_it FILE PART COMMAND...: COMMAND succeeds within wait_seconds while PART lives, or the script fails
until_it() {
  local log=$1 part=$2
  shift 2
  for _ in $(seq 1 $((wait_seconds * 10))); do
    if "$@" > /dev/null 2>&1; then return; fi
    if ! kill -0 "$(cat "run/$part.pid")" 2> /dev/null; then fail "$part ended" "$log"; fi
    sleep 0.1
  done
  fail "$part is not ready after $wait_seconds s" "$log"
}

ceph-authtool --create-keyring keyring --gen-key -n mon. --cap mon 'allow *' > /dev/null
ceph-authtool keyring --gen-key -n client.admin --cap mon 'allow *' --cap osd 'allow *' --cap mgr 'allow *' > /dev/null
monmaptool --create --fsid "$fsid" --addv a "[v2:127.0.0.1:$mon_port]" monmap > /dev/null
ceph-mon "${conf[@]}" -i a --mkfs --monmap monmap --keyring keyring
setsid ceph-mon "${conf[@]}" -i a -f > run/mon.out 2>&1 &
echo $! > run/mon.pid

uuid=$(uuidgen)
secret=$(ceph-authtool --gen-print-key)
echo "{\"cephx_secret\":\"$secret\"}" > run/osd.secret
until_it run/mon.out mon ceph "${conf[@]}" --connect-timeout 10 osd new "$uuid" -i run/osd.secret
printf '[osd.0]\n\tkey = %s\n' "$secret" > osd.0/keyring
ceph-osd "${conf[@]}" -i 0 --mkfs --osd-uuid "$uuid" > run/mkfs.out 2>&1
setsid ceph-osd "${conf[@]}" -i 0 -f > run/osd.out 2>&1 &
echo $! > run/osd.pid
osd_is_up() { ceph "${conf[@]}" --connect-timeout 10 osd stat | grep -q '1 up'; }
until_it run/osd.out osd osd_is_up

"$here/gateway.sh" "$dir"
until_it run/rgw.out rgw curl -s -o /dev/null "http://127.0.0.1:$s3_port/"
radosgw-admin "${conf[@]}" -n client.admin user create --uid fretsaw --display-name fretsaw \
  --access-key fretsaw-test --secret fretsaw-secret > run/user.out 2>&1 || fail 'no user' run/user.out
echo "http://127.0.0.1:$s3_port"
