import type { Command } from 'commander';

/** A bash completion of commands and options; names of VMs are not asked for, that would need the server. */
export function renderBashCompletion(program: Command): string {
  const cases = collect(program, '').map(
    ({ trail, words }) => `    '${trail}') words='${words.join(' ')}' ;;`,
  );
  return [
    '_komadori() {',
    '  local current=${COMP_WORDS[COMP_CWORD]} trail="" word words=""',
    '  for word in "${COMP_WORDS[@]:1:COMP_CWORD-1}"; do',
    '    case $word in -*) ;; *) trail+="${trail:+ }$word" ;; esac',
    '  done',
    '  while :; do',
    '    case $trail in',
    ...cases.map((line) => `  ${line}`),
    '    esac',
    '    [[ -n $words || $trail != *" "* ]] && break',
    '    trail=${trail% *}',
    '  done',
    '  mapfile -t COMPREPLY < <(compgen -W "$words" -- "$current")',
    '}',
    'complete -o default -F _komadori komadori',
  ].join('\n');
}

function collect(command: Command, trail: string): { trail: string; words: string[] }[] {
  const words = [
    ...command.commands.map((child) => child.name()),
    ...command.options.flatMap((option) => option.long ?? []),
  ];
  return [
    { trail, words },
    ...command.commands.flatMap((child) => collect(child, `${trail} ${child.name()}`.trim())),
  ];
}
