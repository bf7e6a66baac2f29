#!/usr/bin/env bash
# Runs make targets in named groups, stops at the first that fails, and says how long each took.
# Usage: .ci/groups.sh "NAME:MINUTES:TARGET TARGET …" …    (MINUTES is a budget: printed, never enforced)
set -u

table=""
status=0
for group in "$@"; do
  IFS=: read -r name minutes targets <<<"$group"
  printf '\n== %s\n' "$name"
  began=$SECONDS
  # shellcheck disable=SC2086  # several targets
  "${MAKE:-make}" --no-print-directory $targets || status=$?
  verdict=passed
  [ "$status" -eq 0 ] || verdict=FAILED
  table+=$(printf '%-14s %-7s %5d s of %d min' "$name" "$verdict" $((SECONDS - began)) "$minutes")$'\n'
  [ "$status" -eq 0 ] || break
done
printf '\n%s' "$table"
exit "$status"
