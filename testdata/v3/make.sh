#!/bin/sh
# Writes a backup with Litestream 0.3: make.sh LITESTREAM FOLDER. Needs python3.
set -eu
litestream=$1
mkdir -p "$2"
cd "$2"
cat > c.yml <<C
dbs:
  - path: $PWD/app.db
    min-checkpoint-page-count: 20
    replicas:
      - type: file
        path: $PWD/backup
        sync-interval: 500ms
C
sql() { python3 -c "import sqlite3; c = sqlite3.connect('app.db'); [c.execute(s) for s in '''$1'''.split(';')]"; }
run() {
    "$litestream" replicate -config c.yml > log 2>&1 &
    sleep 1
    python3 - <<P
import sqlite3, time
c = sqlite3.connect('app.db', isolation_level=None, timeout=10)
c.execute('create table if not exists t(id integer primary key, b text)')
for i in range(70):
    c.execute('insert into t(b) values(?)', ('row %d ' % i * 60,))
    if i % 9 == 0: c.execute('delete from t where id % 4 = 0')
    if i % 5 == 0: time.sleep(0.6)
time.sleep(2)
P
    kill -INT $!
    wait
}
sql 'pragma page_size = 1024; pragma journal_mode = wal'
run
sql 'pragma wal_checkpoint(truncate); create table gap(x); pragma wal_checkpoint(truncate)'
run
"$litestream" restore -o restored.db "file://$PWD/backup"
find backup -type f -printf '%T@ %P\n' | awk '{ printf "%.0f %s\n", int($1 * 1000), $2 }' | sort -n > times.txt
