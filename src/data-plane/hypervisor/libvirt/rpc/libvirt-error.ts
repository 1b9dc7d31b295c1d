import { type ErrorCode, OperationError } from '../../../../shared/errors.ts';
import { LIBVIRT_DOMAIN_NAMES, LIBVIRT_ERROR_NAMES } from './error-names.ts';
import { decodeDomain } from './wire-types.ts';
import { createXdrDecoder } from './xdr.ts';

const MAX_MESSAGE_CHARACTERS = 2000;

/** Everything not listed is `hypervisor_failed`. */
const CODE_OF_LIBVIRT_ERROR: Readonly<Record<string, ErrorCode>> = {
  no_domain: 'not_found',
  no_domain_snapshot: 'not_found',
  no_domain_checkpoint: 'not_found',
  no_domain_backup: 'not_found',
  no_domain_metadata: 'not_found',
  no_storage_vol: 'not_found',
  no_storage_pool: 'not_found',
  device_missing: 'not_found',
  dom_exist: 'name_taken',
  operation_invalid: 'wrong_state',
  resource_busy: 'in_use',
  block_copy_active: 'in_use',
  operation_timeout: 'timed_out',
  operation_aborted: 'cancelled',
  agent_unresponsive: 'agent_unavailable',
  agent_unsynced: 'agent_unavailable',
  agent_command_timeout: 'agent_unavailable',
  no_support: 'host_incapable',
  operation_unsupported: 'host_incapable',
  argument_unsupported: 'host_incapable',
  auth_failed: 'permission_denied',
  auth_cancelled: 'permission_denied',
  auth_unavailable: 'permission_denied',
  operation_denied: 'permission_denied',
  access_denied: 'permission_denied',
  no_connect: 'hypervisor_unreachable',
};

export interface LibvirtErrorReport {
  readonly number: number;
  readonly domain: number;
  readonly message: string;
}

/** libvirt answered a call with an error. Decide by `code` or `libvirtName`, never by the message. */
export class LibvirtError extends OperationError {
  readonly libvirtNumber: number;
  /** E.g. `no_domain` for VIR_ERR_NO_DOMAIN. */
  readonly libvirtName: string;
  readonly libvirtDomain: number;
  /** The part of libvirt that failed, e.g. `qemu` for VIR_FROM_QEMU. */
  readonly libvirtDomainName: string;
  readonly libvirtMessage: string;

  constructor(callName: string, report: LibvirtErrorReport) {
    const name = LIBVIRT_ERROR_NAMES[report.number] ?? `error_${report.number}`;
    const domainName = LIBVIRT_DOMAIN_NAMES[report.domain] ?? `domain_${report.domain}`;
    const message = cleanMessage(report.message);
    super(
      CODE_OF_LIBVIRT_ERROR[name] ?? 'hypervisor_failed',
      `libvirt could not carry out ${callName}: ${message}`,
      {
        details: {
          libvirtError: name,
          libvirtErrorNumber: report.number,
          libvirtDomain: domainName,
        },
      },
    );
    this.name = 'LibvirtError';
    this.libvirtNumber = report.number;
    this.libvirtName = name;
    this.libvirtDomain = report.domain;
    this.libvirtDomainName = domainName;
    this.libvirtMessage = message;
  }
}

function cleanMessage(message: string): string {
  const printable = message.replaceAll(/\p{Cc}+/gu, ' ').trim();
  if (printable === '') return 'no reason given';
  return printable.length > MAX_MESSAGE_CHARACTERS
    ? `${printable.slice(0, MAX_MESSAGE_CHARACTERS)}…`
    : printable;
}

/** virNetMessageError; the fields after `level` are unused leftovers, decoded to check the shape. */
export function decodeErrorReport(payload: Uint8Array): LibvirtErrorReport {
  const decoder = createXdrDecoder(payload);
  const number = decoder.int32();
  const domain = decoder.int32();
  const message = decoder.optionalString() ?? '';
  decoder.int32();
  if (decoder.bool()) decodeDomain(decoder);
  decoder.optionalString();
  decoder.optionalString();
  decoder.optionalString();
  decoder.int32();
  decoder.int32();
  if (decoder.bool()) {
    decoder.string();
    decoder.fixedOpaque(16);
  }
  decoder.finish();
  return { number, domain, message };
}
