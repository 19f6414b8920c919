#!/usr/bin/env bash
# rustfmt over every crate, a syntax check of every script
. "$(dirname "$0")/lib.sh"

cargo fmt --all --check
manifests=($(own_workspaces))
for manifest in "${manifests[@]}"; do cargo fmt --manifest-path "$manifest" --all --check; done

scripts=($(git ls-files --cached --others --exclude-standard '*.sh' .ci/run))
for script in "${scripts[@]}"; do bash -n "$script"; done
python=($(git ls-files --cached --others --exclude-standard '*.py'))
for script in "${python[@]}"; do python3 -c 'import ast, sys; ast.parse(open(sys.argv[1]).read(), sys.argv[1])' "$script"; done
echo "the workspace, ${#manifests[@]} crates outside it, ${#scripts[@]} shell and ${#python[@]} Python scripts"
