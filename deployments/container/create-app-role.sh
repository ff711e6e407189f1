#!/bin/sh
# Run once by the PostgreSQL image, when the data folder is empty: the role that does the work and may change no table.
set -eu
psql -v ON_ERROR_STOP=1 -v password="$CONCORD_APP_PASSWORD" --username "$POSTGRES_USER" --dbname "$POSTGRES_DB" <<'SQL'
create role concord_app login password :'password';
SQL
