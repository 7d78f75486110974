#!/bin/sh
# Save an installation's data while it runs: the ledger first, then the register, so that nothing of
# the ledger is without its records; then configuration and secrets.
#
#   deploy/backup.sh FOLDER        makes FOLDER/nenghao-<UTC time>, whole or not at all
#
# What there is to save is told by the environment; the defaults are those of install.sh:
#   NENGHAO_STORE     influx1 (influxd's backup port), influx2 (container), embedded, none
#   NENGHAO_RPC       127.0.0.1:8088     of influx1
#   NENGHAO_DATA      /var/lib/nenghao   records.sqlite, ledger.duckdb
#   NENGHAO_DATABASE  empty = SQLite in NENGHAO_DATA; else what pg_dump takes: postgresql://user@host/name
#   NENGHAO_ETC       /etc/nenghao       configuration and secrets; empty = not saved
#   NENGHAO_COMPOSE   compose.yaml: everything is saved through its services instead
# It holds secrets: keep it as you keep the keys (the folder is made 0700). Restore: restore.sh
set -eu
umask 077

fail() {
    echo "backup: $*" >&2
    exit 1
}

[ $# -eq 1 ] || { sed -n '2,16s/^# \{0,1\}//p' "$0" >&2; exit 2; }
store=${NENGHAO_STORE:-influx1}
rpc=${NENGHAO_RPC:-127.0.0.1:8088}
data=${NENGHAO_DATA:-/var/lib/nenghao}
etc=${NENGHAO_ETC-/etc/nenghao}
database=${NENGHAO_DATABASE:-}
name=nenghao-$(date -u +%Y%m%dT%H%M%SZ)
mkdir -p "$1"
folder=$(cd "$1" && pwd)/.$name
[ ! -e "${folder%/*}/$name" ] || fail "$name is there already"
rm -rf "$folder"
mkdir "$folder"
trap 'rm -rf "$folder"' EXIT

quiet() {
    if ! "$@" >"$folder/log" 2>&1; then
        cat "$folder/log" >&2
        fail "$1 failed"
    fi
    rm "$folder/log"
}

stack() {
    docker compose -f "$NENGHAO_COMPOSE" "$@"
}

sqlite() { # sqlite FROM TO: whole, whoever writes meanwhile
    python3 -c 'import sqlite3, sys
source = sqlite3.connect(f"file:{sys.argv[1]}?mode=ro", uri=True)
target = sqlite3.connect(sys.argv[2])
source.backup(target)
assert target.execute("PRAGMA integrity_check").fetchone() == ("ok",)' "$1" "$2"
}

if [ -n "${NENGHAO_COMPOSE:-}" ]; then
    # shellcheck disable=SC2016  # the container's shell reads the token
    quiet stack exec -T influxdb sh -c 'rm -rf /backup/now && influx backup /backup/now --bucket nenghao --org nenghao --token "$(cat /secrets/influxdb/admin-token)"'
    stack exec -T influxdb tar -C /backup -cf - now >"$folder/influx2.tar"
    stack exec -T aggregator python -c 'import sqlite3, sys
copy = sqlite3.connect(":memory:")
sqlite3.connect("file:/var/lib/nenghao/records.sqlite?mode=ro", uri=True).backup(copy)
sys.stdout.buffer.write(copy.serialize())' >"$folder/records.sqlite"
    stack run --rm -T --no-deps --entrypoint tar first-start -C /secrets -cf - . >"$folder/secrets.tar"
else
    case $store in
    influx1)
        # influxd itself would try for minutes
        python3 -c 'import socket, sys; host, port = sys.argv[1].rsplit(":", 1)
socket.create_connection((host, int(port)), 5).close()' "$rpc" 2>"$folder/log" || fail "$rpc: nothing listens there"
        quiet influxd backup -portable -host "$rpc" -database nenghao "$folder/influx1"
        ;;
    embedded)
        # One process owns the file: it is copied while no aggregator runs.
        quiet flock --nonblock --conflict-exit-code 3 "$data/ledger.duckdb.lock" \
            cp "$data/ledger.duckdb" "$folder/ledger.duckdb"
        [ ! -e "$data/ledger.duckdb.wal" ] || cp "$data/ledger.duckdb.wal" "$folder/"
        ;;
    none) ;;
    *) fail "NENGHAO_STORE $store: influx1, embedded or none expected" ;;
    esac
    if [ -n "$database" ]; then
        quiet pg_dump --format=custom --file "$folder/register.pgdump" "$database"
    else
        quiet sqlite "$data/records.sqlite" "$folder/records.sqlite"
    fi
    if [ -n "$etc" ]; then
        tar -C "$etc" -cf "$folder/etc.tar" .
    fi
fi
sums=$(cd "$folder" && find . -type f -print0 | sort -z | xargs -0 sha256sum)
echo "$sums" >"$folder/SHA256SUMS"
sync
mv "$folder" "${folder%/*}/$name"
trap - EXIT
echo "${folder%/*}/$name"
