import type { CallShape } from './call-table.ts';
import { PROGRAM } from './procedures.ts';
import { decodeDomain, type DomainRef, encodeDomain } from './wire-types.ts';
import type { XdrDecoder, XdrEncoder } from './xdr.ts';

const nothing = (): undefined => undefined;

/** A call of the remote program. */
export function remoteCall<T>(
  procedure: number,
  name: string,
  encode: (encoder: XdrEncoder) => void,
  decode: (decoder: XdrDecoder) => T,
): CallShape<T> {
  return { program: PROGRAM.remote, procedure, name, encode, decode };
}

/** A call that returns nothing. */
export function remoteCommand(
  procedure: number,
  name: string,
  encode: (encoder: XdrEncoder) => void,
): CallShape<undefined> {
  return { program: PROGRAM.remote, procedure, name, encode, decode: nothing };
}

/** A call on a domain with flags that returns nothing, the most frequent kind. */
export function domainCommand(
  procedure: number,
  name: string,
  domain: DomainRef,
  flags: number,
): CallShape<undefined> {
  return remoteCommand(procedure, name, (encoder) => {
    encodeDomain(encoder, domain);
    encoder.uint32(flags);
  });
}

export function domainQuery<T>(
  procedure: number,
  name: string,
  target: { domain: DomainRef; flags: number },
  decode: (decoder: XdrDecoder) => T,
): CallShape<T> {
  return remoteCall(
    procedure,
    name,
    (encoder) => {
      encodeDomain(encoder, target.domain);
      encoder.uint32(target.flags);
    },
    decode,
  );
}

/** A call that takes a text and flags and returns the domain it made. */
export function domainFromText(
  procedure: number,
  name: string,
  text: string,
  flags: number,
): CallShape<DomainRef> {
  return remoteCall(
    procedure,
    name,
    (encoder) => {
      encoder.string(text);
      encoder.uint32(flags);
    },
    decodeDomain,
  );
}

export const decodeText = (decoder: XdrDecoder): string => decoder.string();
