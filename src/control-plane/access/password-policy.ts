import { OperationError } from '../../shared/errors.ts';
import { normalizePassword } from './passwords.ts';

export const PASSWORD_LENGTH_MIN = 12;

/** What the commonest passwords are made of, in lower case, between spaces. */
const COMMON_PIECES =
  'password passwort passw0rd p@ssw0rd p@ssword passwd pass pasuwado admin administrator ' +
  'root user guest test demo login welcome letmein changeme changeit ' +
  'default secret master access server qwerty qwertyuiop qwertz azerty asdf ' +
  'asdfgh asdfghjkl zxcvbn zxcvbnm 1qaz2wsx 1qaz 2wsx 3edc 4rfv qazwsx ' +
  'q1w2e3r4 q1w2e3 1q2w3e4r 1q2w3e zaq12wsx abc abcd abcdef abcdefgh abc123 ' +
  'iloveyou sunshine princess dragon monkey football baseball soccer superman batman ' +
  'pokemon trustno1 whatever starwars michael charlie sakura doraemon arigatou konnichiwa ' +
  'nihon japan tokyo hello world komadori libvirt qemu snapshot backup ' +
  'linux company winter summer spring autumn love the my is ' +
  'new your';
/** Runs of a keyboard or an alphabet, read both ways. */
const RUNS = ['01234567890', 'abcdefghijklmnopqrstuvwxyz', 'qwertyuiop', 'asdfghjkl', 'zxcvbnm'];
const RUN_PIECE_LENGTH = 3;
const RUN_PIECES = RUNS.flatMap((run) => [run, Array.from(run).toReversed().join('')]).flatMap(
  (run) =>
    Array.from({ length: run.length - RUN_PIECE_LENGTH + 1 }, (_, start) =>
      run.slice(start, start + RUN_PIECE_LENGTH),
    ),
);
/** Digits and signs that are put around a word say little. */
const DECORATION = /^[\d!@#$%^&*()_+\-=.,?~ ]$/u;
const DECORATION_COST = 0.5;
const REPETITION_DISTANCE_MAX = 4;
/** As much must be its owner's own. */
const OWN_CHARACTERS_MIN = 4;
/** Shorter names are found in any text. */
const NAME_PIECE_LENGTH_MIN = 3;

/**
 * Throws when a password is too easy to guess: short, or nothing but words, runs and repetitions
 * that every attacker tries first, its owner's name among them. Which kinds of characters it holds
 * does not matter (NIST SP 800-63B section 5.1.1.2).
 */
export function requireGoodPassword(password: string, userName: string): void {
  const characters = Array.from(normalizePassword(password).toLowerCase());
  if (characters.length < PASSWORD_LENGTH_MIN)
    throw refused(`A password has at least ${PASSWORD_LENGTH_MIN} characters.`);
  if (countOwnCharacters(characters, userName.toLowerCase()) < OWN_CHARACTERS_MIN)
    throw refused('The password is, or is nearly, one that is guessed first, or the user’s name.');
}

const refused = (message: string): OperationError =>
  new OperationError('invalid_input', `${message} Take some words that do not belong together.`, {
    details: { field: 'password' },
  });

/** What remains when common pieces, runs and repetitions are taken away and decoration is discounted. */
function countOwnCharacters(characters: readonly string[], userName: string): number {
  const names = userName.length >= NAME_PIECE_LENGTH_MIN ? [userName] : [];
  const pieces = [...COMMON_PIECES.split(' '), ...RUN_PIECES, ...names].map((piece) =>
    Array.from(piece),
  );
  // The cheapest way to cover the beginning of each length.
  const costs = [0];
  for (let end = 1; end <= characters.length; end += 1) {
    let cheapest = (costs[end - 1] ?? 0) + costOf(characters, end - 1);
    for (const piece of pieces) {
      const start = end - piece.length;
      if (start >= 0 && piece.every((character, index) => characters[start + index] === character))
        cheapest = Math.min(cheapest, costs[start] ?? cheapest);
    }
    costs.push(cheapest);
  }
  return costs[characters.length] ?? 0;
}

function costOf(characters: readonly string[], index: number): number {
  const character = characters[index] ?? '';
  for (let distance = 1; distance <= REPETITION_DISTANCE_MAX; distance += 1)
    if (characters[index - distance] === character) return 0;
  return DECORATION.test(character) ? DECORATION_COST : 1;
}
