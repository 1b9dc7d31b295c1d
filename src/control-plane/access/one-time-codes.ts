import { createHash, randomBytes } from 'node:crypto';
import { Secret, TOTP } from 'otpauth';
import type { Writer } from '../database/catalog.ts';
import {
  findOneTimeCodes,
  replaceRecoveryCodes,
  saveOneTimeCodes,
  takeRecoveryCode,
} from '../database/one-time-codes.ts';

const SECRET_BYTES = 20;
const STEP_SECONDS = 30;
/** Clocks may differ by one step either way (RFC 6238 section 5.2). */
const STEPS_OFF_MAX = 1;
const RECOVERY_CODES = 10;
/** 80 bits: as a plain hash they cannot be guessed from a copy of the catalog. */
const RECOVERY_CODE_BYTES = 10;

export const newSecret = (): string => new Secret({ size: SECRET_BYTES }).base32;

/** SHA-1, six digits, 30 s: what every app understands. */
const totpOf = (secret: string, label = ''): TOTP =>
  new TOTP({
    issuer: 'Komadori',
    label,
    algorithm: 'SHA1',
    digits: 6,
    period: STEP_SECONDS,
    secret: Secret.fromBase32(secret),
  });

/** For the QR code or the app: https://github.com/google/google-authenticator/wiki/Key-Uri-Format */
export const uriOf = (secret: string, userName: string): string =>
  totpOf(secret, userName).toString();

/** The number of the step that the code belongs to; undefined when it belongs to none that counts now. */
export function findStep(secret: string, code: string, now: Date): number | undefined {
  const token = code.replaceAll(/[\s-]/g, '');
  if (!/^\d{6}$/.test(token)) return undefined;
  const timestamp = now.getTime();
  const off = totpOf(secret).validate({ token, timestamp, window: STEPS_OFF_MAX });
  return off === null ? undefined : Math.floor(timestamp / (STEP_SECONDS * 1000)) + off;
}

const plainCode = (code: string): string => code.toUpperCase().replaceAll(/[\s-]/g, '');
const hashCode = (code: string): string =>
  createHash('sha256').update(plainCode(code)).digest('hex');

/** Shown in the answer and never again. */
export async function issueRecoveryCodes(tx: Writer, principalId: string): Promise<string[]> {
  const codes = Array.from({ length: RECOVERY_CODES }, () => {
    const { base32 } = new Secret({
      buffer: Uint8Array.from(randomBytes(RECOVERY_CODE_BYTES)).buffer,
    });
    return (base32.match(/.{4}/g) ?? []).join('-');
  });
  await replaceRecoveryCodes(tx, { principalId, hashes: codes.map(hashCode) });
  return codes;
}

export type CodeVerdict = 'not-set-up' | 'missing' | 'wrong' | 'right';

/** A code is worth something once: the same transaction takes it that lets its owner in. */
export async function takeCode(
  tx: Writer,
  attempt: { principalId: string; code: string | undefined; now: Date },
): Promise<CodeVerdict> {
  const { principalId, code, now } = attempt;
  const row = await findOneTimeCodes(tx, principalId);
  if (!row || row.confirmedAt === null) return 'not-set-up';
  if (code === undefined) return 'missing';
  const step = findStep(row.secret, code, now);
  if (step !== undefined) {
    if (step <= row.lastStep) return 'wrong';
    await saveOneTimeCodes(tx, { ...row, lastStep: step });
    return 'right';
  }
  return (await takeRecoveryCode(tx, { principalId, hash: hashCode(code) })) ? 'right' : 'wrong';
}
