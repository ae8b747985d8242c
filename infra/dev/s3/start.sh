#!/usr/bin/env bash
# A real S3 on this machine for tests: Ceph's gateway over one in-memory OSD.
#   infra/dev/s3/start.sh DIR [S3_PORT [MON_PORT]]     stop it with infra/dev/s3/stop.sh DIR
# Needs Debian's radosgw, ceph-mon, ceph-osd, ceph-common and root (npm run setup -- --system).
# It answers at http://127.0.0.1:S3_PORT with the key fretsaw-test and the secret fretsaw-secret.
set -euo pipefail
dir=$(realpath -m "${1:?directory to run in}")
s3_port=${2:-8086}
mon_port=${3:-3300}
here=$(cd "$(dirname "$0")" && pwd)
mkdir -p "$dir"
cd "$dir"
rm -rf mon.a osd.0 run keyring monmap
mkdir -p mon.a osd.0 run
sed -e "s#@DIR@#$dir#g" -e "s#@S3_PORT@#$s3_port#g" -e "s#@MON_PORT@#$mon_port#g" "$here/ceph.conf.in" > ceph.conf
conf=(-c "$dir/ceph.conf")
fsid=$(sed -n 's/^fsid = //p' ceph.conf)

ceph-authtool --create-keyring keyring --gen-key -n mon. --cap mon 'allow *' > /dev/null
ceph-authtool keyring --gen-key -n client.admin --cap mon 'allow *' --cap osd 'allow *' --cap mgr 'allow *' > /dev/null
monmaptool --create --fsid "$fsid" --addv a "[v2:127.0.0.1:$mon_port]" monmap > /dev/null
ceph-mon "${conf[@]}" -i a --mkfs --monmap monmap --keyring keyring
ceph-mon "${conf[@]}" -i a -f > run/mon.out 2>&1 &
echo $! > run/mon.pid

uuid=$(uuidgen)
secret=$(ceph-authtool --gen-print-key)
echo "{\"cephx_secret\":\"$secret\"}" | ceph "${conf[@]}" --connect-timeout 20 osd new "$uuid" -i - > /dev/null
printf '[osd.0]\n\tkey = %s\n' "$secret" > osd.0/keyring
ceph-osd "${conf[@]}" -i 0 --mkfs --osd-uuid "$uuid" > run/mkfs.out 2>&1
ceph-osd "${conf[@]}" -i 0 -f > run/osd.out 2>&1 &
echo $! > run/osd.pid
for _ in $(seq 1 200); do
  if ceph "${conf[@]}" osd stat 2> /dev/null | grep -q '1 up'; then break; fi
  sleep 0.1
done

radosgw "${conf[@]}" -n client.admin -f > run/rgw.out 2>&1 &
echo $! > run/rgw.pid
for _ in $(seq 1 300); do
  if curl -s -o /dev/null "http://127.0.0.1:$s3_port/"; then break; fi
  sleep 0.1
done
radosgw-admin "${conf[@]}" -n client.admin user create --uid fretsaw --display-name fretsaw \
  --access-key fretsaw-test --secret fretsaw-secret > run/user.out 2>&1
echo "http://127.0.0.1:$s3_port"
