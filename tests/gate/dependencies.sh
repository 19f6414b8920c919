#!/usr/bin/env bash
# what each feature of spanlet-std adds in crates: as its readme says, and no runtime, gRPC or web server by default
. "$(dirname "$0")/lib.sh"
# With --write the table in the readme is brought up to date.

readme=std-adapter/README.md
# On one platform, whatever this one is.
tree() { cargo tree "${LOCKED[@]}" -p spanlet-std -e normal --target x86_64-unknown-linux-gnu --prefix none "$@" |
  sed 's/ (.*//; s/ v[0-9].*//' | sort -u; }
crates() { tree "$@" | grep -vc -x spanlet-std; }
features() { sed -n '/^\[features\]/,/^\[/s/^\([a-z-]*\) = .*/\1/p' std-adapter/Cargo.toml | grep -vx default | sort; }

refused='tokio|async-std|smol|async-executor|tonic|hyper|h2|axum|tiny_http|actix-web|warp|reqwest|prost'
for default in "" --no-default-features; do
  # shellcheck disable=SC2086 # none or one word
  if found=$(tree $default | grep -xE "$refused"); then
    fail "spanlet-std ${default:-with its default features} depends on" $found
  fi
done

none=$(crates --no-default-features)
table() {
  echo "| feature | crates | of them new |"
  echo "|---|---|---|"
  echo "| none | $none | |"
  for feature in $(features); do
    all=$(crates --no-default-features --features "$feature")
    echo "| \`$feature\` | $all | $((all - none)) |"
  done
}
readonly FROM='<!-- crates by feature, written by dependencies.sh -->' TO='<!-- end of crates -->'
written=$(table)
if [ "${1:-}" = --write ]; then
  { sed "/^$FROM\$/q" "$readme"; echo "$written"; sed -n "/^$TO\$/,\$p" "$readme"; } >"$OUT/readme.new"
  cp "$OUT/readme.new" "$readme"
fi
in_readme=$(sed -n "/^$FROM\$/,/^$TO\$/p" "$readme" | sed '1d;$d')
diff <(echo "$in_readme") <(echo "$written") ||
  fail "$readme does not say what features add: run tests/gate/dependencies.sh --write"
echo "$none crates without features, $(crates) with the default ones, $(features | wc -l) features as the readme says"
