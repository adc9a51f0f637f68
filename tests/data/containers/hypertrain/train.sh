#!/bin/bash
set -euo pipefail
while [ $# -gt 0 ]; do
  case $1 in
    --table) table=$2 ;;
    --trials) trials=$2 ;;
    *) echo "unknown option $1" >&2; exit 2 ;;
  esac
  shift 2
done
echo "searching in $(wc -l < "$table") lines"
head -n "$trials" /tools/rates | tail -n 1 > /rate.txt
