#!/bin/sh
# merge_config.sh -m -O FOLDER FRAGMENT...: the last word on a symbol wins
folder=$3; shift 3
cat "$@" | awk -F'[= ]' '/^CONFIG_/ {last[$1] = $0} END {for (s in last) print last[s]}' > "$folder/.config"
