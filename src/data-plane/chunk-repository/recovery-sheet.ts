import { hash } from 'node:crypto';
import { OperationError } from '../../shared/errors.ts';
import { isUuid } from '../../shared/ids.ts';
import { MASTER_KEY_BYTES } from './repository-keys.ts';

/** Crockford's base32: no I, L, O or U, so that handwriting and print are told apart. */
const ALPHABET = '0123456789ABCDEFGHJKMNPQRSTVWXYZ';
const ROW_BYTES = 8;
const ROW_CHARACTERS = 13;
const CHECK_CHARACTERS = 3;
const ROWS = MASTER_KEY_BYTES / ROW_BYTES;

/** Text to print and to lock away: with it the repository opens without key file or passphrase. */
export function recoverySheetText(options: {
  repositoryId: string;
  masterKey: Uint8Array;
  createdAt: string;
}): string {
  const { repositoryId, masterKey, createdAt } = options;
  const rows = Array.from({ length: ROWS }, (_, row) => {
    const bytes = masterKey.subarray(row * ROW_BYTES, (row + 1) * ROW_BYTES);
    return `  ${row + 1}:  ${group(encodeRow(row, bytes))}`;
  });
  return [
    'KOMADORI RECOVERY SHEET',
    '',
    'Whoever has this sheet can read every snapshot in the repository. Without it, and without the',
    'key file or passphrase, nobody can. Print it, keep it apart from the repository, and delete',
    'the file.',
    '',
    `Repository:  ${repositoryId}`,
    `Created:     ${createdAt}`,
    '',
    'Key:',
    ...rows,
    `  All: ${group(checkCharacters(`${repositoryId} ${Buffer.from(masterKey).toString('hex')}`, 8))}`,
    '',
  ].join('\n');
}

/** Reads a sheet that was typed in again; says which row has a mistake. */
export function keyFromRecoverySheet(text: string): {
  repositoryId: string;
  masterKey: Uint8Array;
} {
  const repositoryId = /^\s*Repository:\s*([0-9a-f-]+)\s*$/im.exec(text)?.[1]?.toLowerCase() ?? '';
  if (!isUuid(repositoryId)) throw mistyped('The line with the repository is missing or wrong.');
  const masterKey = Buffer.alloc(MASTER_KEY_BYTES);
  for (let row = 0; row < ROWS; row += 1) {
    const typed = normalise(new RegExp(`^\\s*${row + 1}\\s*:(.*)$`, 'm').exec(text)?.[1] ?? '');
    const bytes = decodeRow(typed);
    if (bytes === null || encodeRow(row, bytes) !== typed) {
      throw mistyped(`Row ${row + 1} of the key has a mistake.`);
    }
    masterKey.set(bytes, row * ROW_BYTES);
  }
  const all = normalise(/^\s*All\s*:(.*)$/im.exec(text)?.[1] ?? '');
  if (all !== checkCharacters(`${repositoryId} ${masterKey.toString('hex')}`, 8)) {
    throw mistyped('The rows are right one by one, but the line "All" or the repository is not.');
  }
  return { repositoryId, masterKey };
}

const mistyped = (what: string): OperationError =>
  new OperationError('invalid_input', `${what} Compare it with the recovery sheet.`);

const group = (characters: string): string => characters.replaceAll(/.{4}(?=.)/g, '$& ');

const normalise = (typed: string): string =>
  typed.toUpperCase().replaceAll(/[\s-]/g, '').replaceAll('O', '0').replaceAll(/[IL]/g, '1');

function encodeRow(row: number, bytes: Uint8Array): string {
  const value = Buffer.from(bytes).readBigUInt64BE();
  const check = checkCharacters(`${row} ${Buffer.from(bytes).toString('hex')}`, CHECK_CHARACTERS);
  return `${toBase32(value, ROW_CHARACTERS)}${check}`;
}

function decodeRow(typed: string): Uint8Array | null {
  if (typed.length !== ROW_CHARACTERS + CHECK_CHARACTERS) return null;
  let value = 0n;
  for (const character of typed.slice(0, ROW_CHARACTERS)) {
    const digit = ALPHABET.indexOf(character);
    if (digit < 0) return null;
    value = value * 32n + BigInt(digit);
  }
  if (value >= 2n ** 64n) return null;
  const bytes = Buffer.alloc(ROW_BYTES);
  bytes.writeBigUInt64BE(value);
  return bytes;
}

function checkCharacters(text: string, length: number): string {
  const digest = hash('sha256', `komadori recovery sheet ${text}`, 'buffer');
  return toBase32(digest.readBigUInt64BE() >> BigInt(64 - 5 * length), length);
}

function toBase32(value: bigint, length: number): string {
  let text = '';
  for (let shift = length - 1; shift >= 0; shift -= 1) {
    text += ALPHABET.charAt(Number((value >> BigInt(5 * shift)) & 31n));
  }
  return text;
}
