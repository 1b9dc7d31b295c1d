import { OperationError } from '../../../../shared/errors.ts';
import { formatUuid, isUuid, parseUuid } from '../../../../shared/ids.ts';
import type { XdrDecoder, XdrEncoder } from './xdr.ts';

/** How libvirt names a domain on the wire; `id` is -1 while it is not running. */
export interface DomainRef {
  readonly name: string;
  readonly uuid: string;
  readonly id: number;
}

/** A libvirt checkpoint or hypervisor snapshot: a name within its domain. */
export interface DomainChildRef {
  readonly name: string;
  readonly domain: DomainRef;
}

/** Numbers beyond 2^53 stay bigint. */
export type TypedValue = number | bigint | string | boolean;
export type TypedParams = ReadonlyMap<string, TypedValue>;

export type TypedParamInput =
  | { readonly name: string; readonly type: 'int' | 'uint'; readonly value: number }
  | { readonly name: string; readonly type: 'ulong'; readonly value: bigint }
  | { readonly name: string; readonly type: 'string'; readonly value: string }
  | { readonly name: string; readonly type: 'bool'; readonly value: boolean };

const TYPED_PARAM = { int: 1, uint: 2, long: 3, ulong: 4, double: 5, bool: 6, string: 7 } as const;
const UUID_BYTES = 16;

export function encodeUuid(encoder: XdrEncoder, uuid: string): void {
  if (!isUuid(uuid)) {
    throw new OperationError('invalid_input', `"${uuid}" is not a UUID in lower case with dashes.`);
  }
  encoder.fixedOpaque(parseUuid(uuid));
}

export function encodeDomain(encoder: XdrEncoder, domain: DomainRef): void {
  encoder.string(domain.name);
  encodeUuid(encoder, domain.uuid);
  encoder.int32(domain.id);
}

export function decodeDomain(decoder: XdrDecoder): DomainRef {
  const name = decoder.string();
  const uuid = formatUuid(decoder.fixedOpaque(UUID_BYTES));
  return { name, uuid, id: decoder.int32() };
}

export function encodeDomainChild(encoder: XdrEncoder, child: DomainChildRef): void {
  encoder.string(child.name);
  encodeDomain(encoder, child.domain);
}

export function decodeDomainChild(decoder: XdrDecoder): DomainChildRef {
  const name = decoder.string();
  return { name, domain: decodeDomain(decoder) };
}

export function encodeTypedParams(encoder: XdrEncoder, params: readonly TypedParamInput[]): void {
  encoder.array(params, (param) => {
    encoder.string(param.name);
    encoder.int32(TYPED_PARAM[param.type]);
    if (param.type === 'string') encoder.string(param.value);
    else if (param.type === 'bool') encoder.bool(param.value);
    else if (param.type === 'ulong') encoder.uint64(param.value);
    else if (param.type === 'int') encoder.int32(param.value);
    else encoder.uint32(param.value);
  });
}

export function decodeTypedParams(decoder: XdrDecoder, maxParams: number): TypedParams {
  const pairs = decoder.array(maxParams, (): [string, TypedValue] => [
    decoder.string(),
    decodeTypedValue(decoder),
  ]);
  return new Map(pairs);
}

function decodeTypedValue(decoder: XdrDecoder): TypedValue {
  const type = decoder.int32();
  switch (type) {
    case TYPED_PARAM.int:
      return decoder.int32();
    case TYPED_PARAM.uint:
      return decoder.uint32();
    case TYPED_PARAM.long:
      return numberIfSafe(decoder.int64());
    case TYPED_PARAM.ulong:
      return numberIfSafe(decoder.uint64());
    case TYPED_PARAM.double:
      return decoder.double();
    case TYPED_PARAM.bool:
      return decoder.bool();
    case TYPED_PARAM.string:
      return decoder.string();
    default:
      throw new OperationError(
        'protocol_error',
        `libvirt sent a parameter of the unknown type ${type}.`,
      );
  }
}

function numberIfSafe(value: bigint): number | bigint {
  const asNumber = Number(value);
  return Number.isSafeInteger(asNumber) ? asNumber : value;
}

/** The parameter as a number; undefined when absent, not a number, or beyond 2^53. */
export function readNumberParam(params: TypedParams, name: string): number | undefined {
  const value = params.get(name);
  return typeof value === 'number' ? value : undefined;
}

export function readStringParam(params: TypedParams, name: string): string | undefined {
  const value = params.get(name);
  return typeof value === 'string' ? value : undefined;
}
