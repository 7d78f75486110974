#!/bin/sh
# Debian or 64-bit Raspberry Pi OS, without containers: mosquitto, InfluxDB and the aggregator from
# packages, as systemd services. Run as root, from a checkout; run again it upgrades.
#
#   deploy/install.sh --region 370114 [--name mq.example.org]...
#
# --region  GB/T 2260 code whose sites this machine keeps (first time only; then in aggregator.toml)
# --name    host name or address by which gateways reach the broker (the machine's own if left out)
#
# What a person wrote is never changed: aggregator.toml, the register, secrets, the authority.
set -eu

fail() {
    echo "install: $*" >&2
    exit 1
}

say() {
    echo "install: $*"
}

here=$(cd "$(dirname "$0")" && pwd)
root=$(dirname "$here")
etc=/etc/nenghao
opt=/opt/nenghao
region='' names=''
while [ $# -gt 0 ]; do
    case $1 in
    --region) region=${2:-} && shift ;;
    --name) names="$names${names:+ }${2:-}" && shift ;;
    *) sed -n '2,11s/^# \{0,1\}//p' "$0" >&2 && exit 2 ;;
    esac
    shift
done

[ "$(id -u)" -eq 0 ] || fail "must be run as root"
command -v apt-get >/dev/null || fail "this is for Debian; elsewhere: deploy/compose.yaml"
command -v systemctl >/dev/null || fail "systemd is needed; without it: docs/deploy.md says how to run each part"
case $(dpkg --print-architecture) in
amd64 | arm64) ;;
*) fail "the aggregator needs a 64-bit system; an edge does not (docs/deploy.md)" ;;
esac
[ -e $etc/aggregator.toml ] || [ -n "$region" ] || fail "--region is needed the first time"
case $region in
'' | [0-9][0-9][0-9][0-9][0-9][0-9]) ;;
*) fail "--region $region: a GB/T 2260 code of 6 digits expected" ;;
esac

running() { # is systemd running here? Not in a chroot: then services are set up and not started
    [ -d /run/systemd/system ]
}

packages() {
    say "packages"
    export DEBIAN_FRONTEND=noninteractive
    apt-get -qq update
    apt-get -qq -y --no-install-recommends -o Dpkg::Use-Pty=0 install \
        mosquitto influxdb python3-venv openssl ca-certificates >/dev/null
    python3 -c 'import sys; sys.exit(sys.version_info < (3, 11))' || fail "Python 3.11 or newer is needed"
}

accounts() {
    getent passwd nenghao >/dev/null \
        || useradd --system --home-dir /var/lib/nenghao --no-create-home --shell /usr/sbin/nologin nenghao
    install -d -m 0755 $etc
    install -d -m 0700 $etc/ca
    install -d -m 0700 -o nenghao -g nenghao $etc/tls /var/lib/nenghao /var/cache/nenghao
    install -d -m 0710 -g nenghao $etc/secrets
    install -d -m 0755 $etc/mosquitto
    install -d -m 0700 -o mosquitto -g mosquitto $etc/mosquitto/tls /var/lib/mosquitto/nenghao
    ln -sfn /var/lib/mosquitto/nenghao $etc/mosquitto/data
}

program() { # a folder per state of the sources; `current` is switched when the new one is whole
    sources=$(cd "$root" && find contract edge_agent aggregator simulators nenghao.py pyproject.toml \
        deploy/locks/stack.txt -type f ! -path '*/__pycache__/*' -print0 | sort -z \
        | xargs -0 sha256sum | sha256sum | cut -c 1-12)
    release=$opt/releases/$sources
    if [ "$(readlink $opt/current || true)" = "$release" ]; then
        say "the aggregator is up to date ($sources)"
        return
    fi
    say "aggregator $sources"
    rm -rf "$release"
    install -d -m 0755 $opt/releases
    python3 -m venv "$release"
    "$release/bin/pip" install --quiet --disable-pip-version-check --require-hashes \
        -r "$root/deploy/locks/stack.txt"
    "$release/bin/pip" install --quiet --disable-pip-version-check --no-build-isolation --no-deps "$root"
    rm -rf /var/cache/nenghao/*
    before=$(readlink $opt/current || true)
    ln -sfn "$release" $opt/current.new
    mv -T $opt/current.new $opt/current
    for old in "$opt"/releases/*; do # the one before stays, to go back to
        [ "$old" = "$release" ] || [ "$old" = "$before" ] || rm -rf "$old"
    done
    # As root it would leave files in the register's folder that the service may not write.
    cat >/usr/local/bin/nenghao.new <<EOF
#!/bin/sh
[ "\$(id -u)" -ne 0 ] || exec runuser -u nenghao -- $opt/current/bin/nenghao "\$@"
exec $opt/current/bin/nenghao "\$@"
EOF
    chmod 0755 /usr/local/bin/nenghao.new
    mv /usr/local/bin/nenghao.new /usr/local/bin/nenghao
    changed=yes
}

secrets() {
    for name in influxdb-admin influxdb-nenghao influxdb-grafana; do
        [ -e $etc/secrets/$name ] || (umask 077 && openssl rand -hex 24 >$etc/secrets/$name)
    done
    chown nenghao:nenghao $etc/secrets/influxdb-nenghao # the others are for root alone
}

certificates() {
    install -m 0755 "$here/ca" /usr/local/sbin/nenghao-ca
    "$here/ca" init $etc/ca
    known=$(cat $etc/mosquitto/names 2>/dev/null || true)
    names=${names:-${known:-$(hostname)}}
    if [ ! -e $etc/mosquitto/tls/cert.pem ] || [ "$names" != "$known" ]; then
        # shellcheck disable=SC2086  # a word per name
        "$here/ca" server $etc/ca $etc/mosquitto/tls $names localhost 127.0.0.1
        echo "$names" >$etc/mosquitto/names
    fi
    install -m 0644 $etc/ca/crl.pem $etc/mosquitto/tls/crl.pem
    [ -e $etc/tls/cert.pem ] || "$here/ca" client $etc/ca $etc/tls aggregator
    chown -R mosquitto:mosquitto $etc/mosquitto/tls
    chown -R nenghao:nenghao $etc/tls
}

configuration() {
    install -m 0644 "$here/mosquitto/mosquitto.conf" "$here/mosquitto/acl" $etc/mosquitto/
    install -m 0644 "$here/debian/influxdb.conf" $etc/influxdb.conf
    install -d -m 0755 $etc/register
    if [ ! -e $etc/aggregator.toml ]; then
        sed "s/@REGION@/$region/" "$here/debian/aggregator.toml" >$etc/aggregator.toml
    fi
    if [ ! -e $etc/register/sites.csv ]; then # nothing is registered yet
        (cd $etc/register && echo 'site,region,name_zh,name_en,sector,floor_area_m2,headcount,latitude,longitude' >sites.csv \
            && echo 'site,meter,carrier,role,parent,multiplier,edge,valid_from,note' >meters.csv)
    fi
    install -D -m 0644 "$here/debian/mosquitto-nenghao.conf" /etc/systemd/system/mosquitto.service.d/nenghao.conf
    install -m 0755 "$here/debian/influx-settle" $opt/influx-settle
    install -D -m 0644 "$here/debian/influxdb-nenghao.conf" /etc/systemd/system/influxdb.service.d/nenghao.conf
    install -m 0644 "$here/debian/nenghao-aggregator.service" /etc/systemd/system/
    $opt/current/bin/nenghao aggregate --config $etc/aggregator.toml --check-config >/dev/null
}

database() { # users and grants; where no systemd runs, InfluxDB runs for that long only
    if running; then
        systemctl restart influxdb
        "$here/debian/influx-users" http://127.0.0.1:8086 $etc/secrets
        return
    fi
    runuser -u influxdb -- influxd -config $etc/influxdb.conf >/dev/null 2>&1 &
    influxd=$!
    trap 'kill $influxd 2>/dev/null || true' EXIT
    "$here/debian/influx-users" http://127.0.0.1:8086 $etc/secrets
    kill $influxd
    wait $influxd || true
    trap - EXIT
}

services() {
    if ! running; then
        systemctl enable mosquitto influxdb nenghao-aggregator >/dev/null 2>&1
        say "systemd does not run here: services are enabled, not started"
        return
    fi
    systemctl daemon-reload
    systemctl enable --quiet mosquitto influxdb nenghao-aggregator
    systemctl restart mosquitto
    if [ "$changed" = yes ] || ! systemctl --quiet is-active nenghao-aggregator; then
        systemctl restart nenghao-aggregator
    fi
}

changed=no
packages
accounts
program
secrets
certificates
configuration
if running; then systemctl daemon-reload; fi
database
services
say "done. A gateway's certificate: nenghao-ca edge $etc/ca OUT REGION SITE EDGE"
say "Who may use the API: nenghao tokens add --config $etc/aggregator.toml ... (docs/security.md)"
