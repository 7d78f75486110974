#!/bin/sh
# Make an edge of this gateway: Raspberry Pi OS or Debian, 64- or 32-bit. Run as root, once; again
# brings the program up to date and leaves configuration, key and outbox as they are.
#
#   deploy/edge/install.sh --region 370114 --site foundry --edge foundry-gw1 --broker HOST
#
# Afterwards: let `nenghao edge probe --device PORT --config /etc/nenghao-edge/edge.toml` find the
# meters, or describe them in that file, have tls/request.csr signed
# (deploy/ca edge), put cert.pem and ca.pem beside it, then: systemctl restart nenghao-edge
set -eu

here=$(cd "$(dirname "$0")/../.." && pwd)
etc=/etc/nenghao-edge
opt=/opt/nenghao-edge
region='' site='' edge='' broker=''

fail() {
    echo "install: $*" >&2
    exit 1
}

say() {
    echo "install: $*"
}

while [ $# -gt 0 ]; do
    case $1 in
    --region) region=${2:-} && shift ;;
    --site) site=${2:-} && shift ;;
    --edge) edge=${2:-} && shift ;;
    --broker) broker=${2:-} && shift ;;
    *) sed -n '2,9s/^# \{0,1\}//p' "$0" >&2 && exit 2 ;;
    esac
    shift
done

[ "$(id -u)" -eq 0 ] || fail "must be run as root"
command -v apt-get >/dev/null || fail "this is for Raspberry Pi OS and Debian"
if [ ! -e $etc/edge.toml ]; then
    [ -n "$region" ] && [ -n "$site" ] && [ -n "$edge" ] && [ -n "$broker" ] \
        || fail "--region, --site, --edge and --broker are needed the first time"
fi

say "packages"
export DEBIAN_FRONTEND=noninteractive
apt-get -qq update
apt-get -qq -y --no-install-recommends install python3-venv openssl ca-certificates >/dev/null
python3 -c 'import sys; sys.exit(sys.version_info < (3, 11))' || fail "Python 3.11 or newer is needed"

say "account and folders"
getent passwd nenghao-edge >/dev/null \
    || useradd --system --home-dir /var/lib/nenghao-edge --no-create-home --shell /usr/sbin/nologin nenghao-edge
install -d -m 0750 -o nenghao-edge -g nenghao-edge $etc
install -d -m 0700 -o nenghao-edge -g nenghao-edge $etc/tls /var/lib/nenghao-edge

# The new program stands beside the old one until it answers; the link is changed last.
say "program"
new=$opt/$(date +%Y%m%d%H%M%S)
python3 -m venv "$new"
"$new/bin/pip" install --quiet --require-hashes -r "$here/deploy/locks/edge.txt"
"$new/bin/pip" install --quiet --no-build-isolation --no-deps "$here"
"$new/bin/nenghao" edge check-config --keys >/dev/null || fail "the new program does not start"
ln -sfn "$new" $opt/next
mv -T $opt/next $opt/current

if [ ! -e $etc/edge.toml ]; then
    say "configuration $etc/edge.toml"
    cat >$etc/edge.toml <<EOF
[edge]
region = "$region"
site = "$site"
id = "$edge"
data_dir = "/var/lib/nenghao-edge"

[uplink]
host = "$broker"
port = 8883
tls_ca = "tls/ca.pem"
tls_certificate = "tls/cert.pem"
tls_key = "tls/key.pem"

# The meters: nenghao edge probe finds them, check-config --keys says what may stand here.
# [[bus]]
# id = "bus1"
# host = "192.168.1.50"
# [[bus.meter]]
# id = "em-01"
# model = "eastron-sdm630"
EOF
    chown nenghao-edge:nenghao-edge $etc/edge.toml
    chmod 0600 $etc/edge.toml
fi
[ -z "$edge" ] || runuser -u nenghao-edge -- $opt/current/bin/nenghao edge enrol \
    --region "$region" --site "$site" --edge "$edge" --folder $etc/tls

install -m 0644 "$here/deploy/edge/nenghao-edge.service" /etc/systemd/system/nenghao-edge.service
if [ -d /run/systemd/system ]; then
    systemctl daemon-reload
    systemctl enable nenghao-edge
    if $opt/current/bin/nenghao edge check-config --config $etc/edge.toml; then
        systemctl restart nenghao-edge
    else
        say "describe the meters and put the certificates in place, then: systemctl start nenghao-edge"
    fi
fi
