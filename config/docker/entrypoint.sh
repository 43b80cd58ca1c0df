#!/bin/sh
# Runs the command as the user `node`, who owns the data folder. Whoever starts the container as another user than root has
# seen to that folder by himself.
set -eu

data=${SSER_STORAGE_DIR:-/_storage}
if [ "$(id -u)" = 0 ]; then
  mkdir -p "$data"
  if [ "$(stat -c %u "$data")" != "$(id -u node)" ]; then
    chown -R node:node "$data"
  fi
  # Where a configuration made for the Go service keeps certificates. Mounted read-only, it stays as it is, and the server
  # says what it misses.
  if [ -d /_config/certs ] && [ "$(stat -c %u /_config/certs)" != "$(id -u node)" ]; then
    chown -R node:node /_config/certs || true
  fi
  exec setpriv --reuid=node --regid=node --init-groups "$@"
fi
exec "$@"
