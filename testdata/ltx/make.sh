#!/usr/bin/env bash
# Makes the golden files of this folder with the original Litestream. See README.md.
# usage: LITESTREAM=/path/to/litestream ./make.sh
set -euo pipefail
cd "$(dirname "$0")"
litestream=${LITESTREAM:-litestream}
here=$PWD
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# One SQLite connection stays open all the time, or closing it would checkpoint and delete the WAL.
sql() {
  printf '%s\nselect %s;\n' "$1" "'done'" >&"${SQLITE[1]}"
  local line
  while read -r -u "${SQLITE[0]}" line; do [ "$line" = done ] && return; done
  echo "sqlite3 ended early" >&2
  return 1
}

replicate() { "$litestream" replicate -once -log-level error "$@" "$work/db" "file://$work/replica" >/dev/null; }

# page size, rows in the beginning, rows added, bytes of noise per row, bytes of padding per row
make() {
  local size=$1 rows=$2 more=$3 bytes=$4 pad=$5
  local out=$here/$size
  rm -rf "$work"/* "$work"/.db-litestream "$out"
  mkdir -p "$out"
  coproc SQLITE { exec sqlite3 -batch "$work/db" 2>&1; }
  sql "pragma page_size=$size; pragma auto_vacuum=full; pragma journal_mode=wal; pragma wal_autocheckpoint=0;
    create table t(id integer primary key, text, noise blob, pad text);
    with recursive n(i) as (select 1 union all select i+1 from n where i<$rows)
      insert into t select i, printf('row %d', i), randomblob($bytes), hex(zeroblob($pad / 2)) from n;"
  replicate
  sql "update t set text='changed' where id % 3 = 0;"
  replicate
  sql "with recursive n(i) as (select 1 union all select i+1 from n where i<$more)
      insert into t(text, noise, pad) select 'added ' || i, randomblob($bytes), hex(zeroblob($pad / 2)) from n;"
  replicate
  # With auto_vacuum this shrinks the database, and then it grows again within one later range.
  sql "delete from t where id > $rows - $rows / 2;"
  replicate
  sql "create index by_text on t(text); insert into t(text, noise, pad) values ('last', randomblob($bytes), hex(zeroblob($pad)));"
  replicate -force-snapshot
  eval "exec ${SQLITE[1]}>&-"
  wait "$SQLITE_PID" || true

  cp -r "$work/replica/ltx/." "$out/"
  : >"$out/images.txt"
  for file in "$out"/0/*.ltx; do
    local txid
    txid=$(basename "$file" .ltx); txid=${txid#*-}
    rm -f "$work/image"*
    "$litestream" restore -txid "$txid" -o "$work/image" "file://$work/replica" >/dev/null 2>&1
    python3 - "$txid" "$work/image" >>"$out/images.txt" <<'PY'
import sys, zlib
data = open(sys.argv[2], "rb").read()
print(sys.argv[1], len(data), "%08x" % zlib.crc32(data))
PY
  done
  if [ "$size" -lt 65536 ]; then cp "$work/image" "$out/image.db"; fi
}

make 512 60 40 120 0
make 4096 30 20 400 0
make 65536 4 2 1500 40000
