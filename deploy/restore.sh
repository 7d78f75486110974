#!/bin/sh
# Put back what backup.sh saved, over what is there. The aggregator must not run meanwhile.
#
#   deploy/restore.sh BACKUP --yes
#
# Environment as of backup.sh. What edges have sent since the backup they still hold, but take for
# stored: the command `resend` fetches it (docs/deploy.md). With NENGHAO_ETC= (empty) configuration
# and secrets stay as they are.
set -eu
umask 077

fail() {
    echo "restore: $*" >&2
    exit 1
}

if [ $# -ne 2 ] || [ "$2" != --yes ]; then
    sed -n '2,10s/^# \{0,1\}//p' "$0" >&2
    exit 2
fi
backup=$(cd "$1" && pwd)
rpc=${NENGHAO_RPC:-127.0.0.1:8088}
url=${NENGHAO_INFLUX:-http://127.0.0.1:8086}
data=${NENGHAO_DATA:-/var/lib/nenghao}
etc=${NENGHAO_ETC-/etc/nenghao}
database=${NENGHAO_DATABASE:-}
[ -e "$backup/SHA256SUMS" ] || fail "$backup is no backup"
(cd "$backup" && sha256sum --quiet --check SHA256SUMS) || fail "$backup is damaged: nothing was changed"

stack() {
    docker compose -f "$NENGHAO_COMPOSE" "$@"
}

put() { # put FILE TARGET: whole or not at all, owned like the folder
    cp "$1" "$2.new"
    chown --reference="$(dirname "$2")" "$2.new"
    mv "$2.new" "$2"
}

if [ -n "${NENGHAO_COMPOSE:-}" ]; then
    stack stop aggregator grafana
    stack run --rm -T --no-deps --entrypoint tar first-start -C /secrets -xf - <"$backup/secrets.tar"
    stack exec -T influxdb sh -c 'rm -rf /backup/now && tar -C /backup -xf -' <"$backup/influx2.tar"
    # shellcheck disable=SC2016  # the container's shell reads the token
    stack exec -T influxdb sh -c 'token=$(cat /secrets/influxdb/admin-token)
        influx bucket delete --name nenghao --org nenghao --token "$token"
        influx restore /backup/now --bucket nenghao --org nenghao --token "$token"'
    # The bucket has a new id: mapping and tokens are made for it anew.
    stack run --rm -T --no-deps --entrypoint sh influxdb-tokens -c 'rm -f /secrets/*/influxdb-token
        exec influx2-tokens http://influxdb:8086 nenghao nenghao /secrets'
    stack run --rm -T --no-deps --user 1000:1000 --entrypoint sh aggregator -c \
        'cd /var/lib/nenghao && rm -f records.sqlite-wal records.sqlite-shm && cat >records.sqlite.new && mv records.sqlite.new records.sqlite' \
        <"$backup/records.sqlite"
    stack up -d
    exit 0
fi

if [ -e "$data/ledger.duckdb.lock" ]; then
    flock --nonblock "$data/ledger.duckdb.lock" true || fail "the aggregator runs: stop it first"
fi
if [ -n "$etc" ] && [ -e "$backup/etc.tar" ]; then
    mkdir -p "$etc"
    tar -C "$etc" -xpf "$backup/etc.tar"
fi
if [ -d "$backup/influx1" ]; then
    admin=$etc/secrets/influxdb-admin
    [ -n "$etc" ] || admin=${NENGHAO_INFLUX_ADMIN:-/etc/nenghao/secrets/influxdb-admin}
    # It restores into a database that is not there, and into no other.
    python3 - "$url" "$admin" <<'EOF'
import base64, sys, time, urllib.parse, urllib.request
url, file = sys.argv[1:]
login = base64.b64encode(f"admin:{open(file).read().strip()}".encode()).decode()
def ask(statement):
    body = urllib.parse.urlencode({"q": statement}).encode()
    request = urllib.request.Request(f"{url}/query", body, {"Authorization": f"Basic {login}"})
    return urllib.request.urlopen(request).read().decode()
for _ in range(5):
    said = ask('DROP DATABASE "nenghao"')
    if '"nenghao"' not in ask("SHOW DATABASES"):
        break
    time.sleep(1)
else:
    sys.exit(f"restore: the database cannot be dropped: {said}")
EOF
    influxd restore -portable -host "$rpc" -db nenghao "$backup/influx1" >/dev/null
fi
if [ -e "$backup/ledger.duckdb" ]; then
    rm -f "$data/ledger.duckdb.wal"
    put "$backup/ledger.duckdb" "$data/ledger.duckdb"
    [ ! -e "$backup/ledger.duckdb.wal" ] || put "$backup/ledger.duckdb.wal" "$data/ledger.duckdb.wal"
fi
if [ -e "$backup/register.pgdump" ]; then
    [ -n "$database" ] || fail "NENGHAO_DATABASE is needed: the register was in PostgreSQL"
    pg_restore --clean --if-exists --exit-on-error --single-transaction --no-owner \
        --dbname "$database" "$backup/register.pgdump"
fi
if [ -e "$backup/records.sqlite" ]; then
    rm -f "$data/records.sqlite-wal" "$data/records.sqlite-shm"
    put "$backup/records.sqlite" "$data/records.sqlite"
fi
echo "restore: done; run deploy/debian/influx-users for the grants of InfluxDB 1.x, then start the aggregator"
