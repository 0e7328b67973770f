# Sourced first by every step: goes to the root of the repository, finds the tools that .ci/tools installed,
# and prints the step's minutes when it ends, whichever way it ends.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

export TRANSOM_CACHE="${TRANSOM_CACHE:-$HOME/.cache/transom}"
export PATH="$TRANSOM_CACHE/go/bin:$TRANSOM_CACHE/venv/bin:$PATH"

# CI works in a fresh clone each time: what cargo built for the last one is used again.
if [[ ${CI:-} == true ]]; then
    export CARGO_TARGET_DIR="${CARGO_TARGET_DIR:-$TRANSOM_CACHE/target}"
fi
export CARGO_TARGET_DIR="${CARGO_TARGET_DIR:-$PWD/target}"

# `as_minutes SECONDS` prints minutes with one decimal.
as_minutes() { printf '%d.%d' $(($1 / 60)) $(($1 % 60 / 6)); }

step="$(basename "$0")"
trap 'echo "$step: $(as_minutes $SECONDS) minutes"' EXIT

# `shows TEXT COMMAND…` names a part of a step before it runs.
shows() {
    echo "-- $1"
    shift
    "$@"
}
