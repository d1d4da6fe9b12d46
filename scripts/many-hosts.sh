#!/usr/bin/env bash
# Makes one load from many hosts and prints one report. See docs/hosts.md.
#
# scripts/many-hosts.sh [OPTION]... HOST... -- ENDPOINT [BENCH FLAG]...
#
#   --prefix COMMAND   what runs a command on a host; {} is the host, which else comes last
#                      [ssh -o BatchMode=yes -o ServerAliveInterval=5: never asks for a password,
#                      and gives up a host that is silent for 15 s]
#                      'kubectl exec {} --', 'ip netns exec', 'ssh -F lab.conf'
#   --program PATH     resound on the hosts [resound]
#   --lead SECONDS     from now to the start of the measurement; the connections and the warm-up
#                      must fit into it [10]
#   --out FOLDER       keep the documents of the parts there [a temporary folder, which stays only
#                      if the merge fails]
#   --merge FLAG       a flag of 'resound merge', such as -J or --assert='p99<1ms'; repeatable
set -euo pipefail

usage() {
  printf '%s: %s; see the head of the script\n' "$0" "$1" >&2
  exit 2
}

prefix='ssh -o BatchMode=yes -o ServerAliveInterval=5'
program=resound lead=10 out='' merge=() hosts=()
while (($# > 0)) && [[ $1 != -- ]]; do
  case $1 in
    --prefix | --program | --lead | --out | --merge)
      (($# > 1)) || usage "expected a value after $1"
      case $1 in
        --prefix) prefix=$2 ;;
        --program) program=$2 ;;
        --lead) lead=$2 ;;
        --out) out=$2 ;;
        --merge) merge+=("$2") ;;
      esac
      shift 2
      ;;
    -*) usage "unexpected option $1" ;;
    *)
      hosts+=("$1")
      shift
      ;;
  esac
done
(($# > 1)) || usage 'expected -- and an endpoint after the hosts'
shift
((${#hosts[@]} > 0)) || usage 'expected a host'
[[ $lead =~ ^[0-9]+$ ]] || usage "expected whole seconds after --lead, such as 10, and not '$lead'"
command -v parallel >/dev/null || usage 'GNU parallel is not installed'

kept=$out
[[ -n $out ]] || out=$(mktemp -d)
mkdir -p "$out"
rm -f "$out"/part-*.json
log=$(mktemp)
trap 'rm -f "$log"' EXIT

[[ $prefix == *'{}'* ]] || prefix+=' {}'
words=("$program" bench "$@" --start-at "$(($(date +%s) + lead))" -J)
# parallel passes the line to a shell, and ssh the rest of it to a shell on the host.
line=$(printf '%q ' "${words[@]}")
[[ ! " $prefix " =~ [\ /]ssh\  ]] || line=$(printf '%q' "$line")
parallel --no-notice --jobs "${#hosts[@]}" --halt never --tag --joblog "$log" \
  "$prefix $line --part {#}/${#hosts[@]} > $(printf '%q' "$out")/part-{#}.json" \
  ::: "${hosts[@]}" || true

# The columns of the log: number, host of parallel, start, runtime, sent, received, code, signal.
tail -n +2 "$log" | sort -n | while read -r part _ _ _ _ _ code signal _; do
  ((code == 0 && signal == 0)) ||
    printf 'part %s/%s on %s failed with code %s\n' \
      "$part" "${#hosts[@]}" "${hosts[part - 1]}" "$((signal ? signal + 128 : code))" >&2
done
parts=()
for ((part = 1; part <= ${#hosts[@]}; part++)); do
  parts+=("$out/part-$part.json")
done
code=0
"${RESOUND:-resound}" merge "${merge[@]}" "${parts[@]}" || code=$?
if [[ -z $kept ]]; then
  if ((code == 1)); then
    printf 'the documents of the parts are in %s\n' "$out" >&2
  else
    rm -r "$out"
  fi
fi
exit "$code"
