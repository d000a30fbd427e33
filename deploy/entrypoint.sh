#!/bin/sh
# Read the database's password from the file that PGPASSWORD_FILE names, as the image of PostgreSQL does with its own,
# then become the command. Ray reads its token from RAY_AUTH_TOKEN_PATH by itself.
set -eu
if [ -n "${PGPASSWORD_FILE:-}" ]; then
    PGPASSWORD=$(cat "$PGPASSWORD_FILE")
    export PGPASSWORD
fi
exec "$@"
