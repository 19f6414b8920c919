#!/usr/bin/env bash
# calls to a real PostgreSQL and a real Redis (Debian's packages): names, parents, rows and error codes of their spans
. "$(dirname "$0")/lib.sh"

need python3 python3
need setpriv util-linux

# Debian keeps PostgreSQL's programs out of the path, and its package makes a cluster that is not wanted here.
postgres_programs() {
  local initdb
  initdb=$(command -v initdb || ls /usr/lib/postgresql/*/bin/initdb 2>/dev/null | sort -V | tail -n 1) && [ -n "$initdb" ] &&
    dirname "$(readlink -f "$initdb")"
}
if ! postgres_programs >/dev/null; then
  command -v apt-get >/dev/null || fail "no PostgreSQL here, and no apt-get to install it"
  echo "installing postgresql"
  as_root apt-get update -qq
  as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends postgresql-common >/dev/null
  as_root sed -i 's/^#\? *create_main_cluster.*/create_main_cluster = false/' /etc/postgresql-common/createcluster.conf
  as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends postgresql >/dev/null
fi
programs=$(postgres_programs) || fail "PostgreSQL is installed, but there is no initdb"
need redis-server redis-server

dir=$(mktemp -d)
# PostgreSQL does not run as root.
as_nobody=()
if [ "$(id -u)" = 0 ]; then
  chmod 711 "$dir"
  as_nobody=(setpriv "--reuid=$(id -u nobody)" "--regid=$(id -g nobody)" --clear-groups env "HOME=$dir/postgres")
fi
mkdir "$dir/postgres" "$dir/redis"
[ ${#as_nobody[@]} -eq 0 ] || chown nobody "$dir/postgres"

redis_pid=
stop() {
  local status=$?
  [ -z "$redis_pid" ] || kill "$redis_pid" 2>/dev/null || true
  "${as_nobody[@]}" "$programs/pg_ctl" -D "$dir/postgres/data" -m immediate -w stop >/dev/null 2>&1 || true
  if [ $status -ne 0 ]; then tail -n 20 "$dir/postgres/log" "$dir/redis/log" 2>/dev/null || true; fi
  rm -rf "$dir"
}
trap stop EXIT

# Two ports that nobody listens on, held until both are known.
read -r postgres_port redis_port < <(python3 - <<'PYTHON'
import socket
held = [socket.create_server(("127.0.0.1", 0)) for _ in range(2)]
print(*(s.getsockname()[1] for s in held))
PYTHON
)

(
  cd "$dir/postgres"
  "${as_nobody[@]}" "$programs/initdb" -D data -U postgres --auth=trust -E UTF8 --locale=C >/dev/null
  "${as_nobody[@]}" "$programs/pg_ctl" -D data -l log -w -t 60 -o \
    "-p $postgres_port -c listen_addresses=127.0.0.1 -c unix_socket_directories='$dir/postgres' -c fsync=off" start >/dev/null
)
redis-server --port "$redis_port" --bind 127.0.0.1 --dir "$dir/redis" --save '' --appendonly no --logfile "$dir/redis/log" &
redis_pid=$!
for _ in $(seq 100); do
  ! (exec 3<>"/dev/tcp/127.0.0.1/$redis_port") 2>/dev/null || break
  kill -0 "$redis_pid" 2>/dev/null || fail "redis-server ended: $(cat "$dir/redis/log")"
  sleep 0.1
done
"$programs/postgres" --version
redis-server --version | cut -d' ' -f1-3

report=$dir/report
SPANLET_TEST_POSTGRES=postgres://postgres@127.0.0.1:$postgres_port/postgres \
  SPANLET_TEST_REDIS=redis://127.0.0.1:$redis_port/0 \
  timeout 1800 cargo test -q "${LOCKED[@]}" -p spanlet-std --features rusqlite,sqlx,redis-tokio --test calls \
  -- --ignored servers:: | tee "$report"
# A filter that matches nothing would pass.
grep -q '^test result: ok\. 5 passed' "$report" || fail "not all five tests against the servers ran"
