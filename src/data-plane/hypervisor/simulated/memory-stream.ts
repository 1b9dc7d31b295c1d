import { closeSync, openSync, writeSync } from 'node:fs';
import { z } from 'zod';
import { MIB } from '../../../shared/byte-size.ts';
import { OperationError, describeThrown } from '../../../shared/errors.ts';
import {
  RAM_FLAG,
  RAM_SECTION_NAME,
  RAM_SECTION_VERSION,
  SECTION,
  STREAM_MAGIC,
  STREAM_VERSION,
  WINDOW_BYTES,
  ramSectionEnd,
  sectionHeader,
  writeUint32,
  writeWord,
} from '../../migration-stream/stream-format.ts';
import { createStreamParser, type ParsedStream } from '../../migration-stream/stream-parser.ts';
import { synthesizeStream, type ContentReader } from '../../migration-stream/stream-synthesis.ts';

const RAM_SECTION_ID = 2;
const DEVICE_SECTION_ID = 7;
const RAM_BLOCK = 'pc.ram';
const REMAINDER_BYTES_MAX = 4 * MIB;

/** What a simulated machine remembers beside its memory. */
const deviceStateSchema = z.strictObject({ tick: z.int().nonnegative() });
export type DeviceState = z.infer<typeof deviceStateSchema>;

const uint32 = (value: number): Uint8Array => {
  const bytes = new Uint8Array(4);
  writeUint32(bytes, 0, value);
  return bytes;
};

const word = (offset: number, flags: number): Uint8Array => {
  const bytes = new Uint8Array(8);
  writeWord(bytes, 0, offset, flags);
  return bytes;
};

const shortText = (text: string): Buffer =>
  Buffer.concat([Buffer.of(Buffer.byteLength(text, 'latin1')), Buffer.from(text, 'latin1')]);

function formatStart(machineType: string, memoryBytes: number): Buffer {
  const machine = Buffer.from(machineType, 'latin1');
  return Buffer.concat([
    uint32(STREAM_MAGIC),
    uint32(STREAM_VERSION),
    Buffer.of(SECTION.configuration),
    uint32(machine.length),
    machine,
    sectionHeader(SECTION.start, RAM_SECTION_ID),
    shortText(RAM_SECTION_NAME),
    uint32(0),
    uint32(RAM_SECTION_VERSION),
    word(memoryBytes, RAM_FLAG.memSize),
    shortText(RAM_BLOCK),
    word(memoryBytes, 0),
    ramSectionEnd(RAM_SECTION_ID),
  ]);
}

const DEVICE_NAME = 'komadori-simulated-guest';

function formatEnd(state: DeviceState): Buffer {
  const stateBytes = Buffer.from(JSON.stringify(state));
  const description = Buffer.from('{"page_size":4096,"devices":[]}');
  return Buffer.concat([
    sectionHeader(SECTION.end, RAM_SECTION_ID),
    ramSectionEnd(RAM_SECTION_ID),
    sectionHeader(SECTION.full, DEVICE_SECTION_ID),
    shortText(DEVICE_NAME),
    uint32(0),
    uint32(1),
    uint32(stateBytes.length),
    stateBytes,
    sectionHeader(SECTION.footer, DEVICE_SECTION_ID),
    Buffer.of(SECTION.eof, SECTION.vmDescription),
    uint32(description.length),
    description,
  ]);
}

/** The migration stream of a machine whose memory `pages` reads. */
export function writeMemoryStream(
  machine: { machineType: string; pages: ContentReader; state: DeviceState },
  signal: AbortSignal,
): AsyncGenerator<Uint8Array, void, void> {
  const start = formatStart(machine.machineType, machine.pages.lengthBytes);
  const remainder = Buffer.concat([start, formatEnd(machine.state)]);
  return synthesizeStream(
    {
      remainder: {
        lengthBytes: remainder.length,
        async readInto(offset, target) {
          target.set(remainder.subarray(offset, offset + target.length));
          await Promise.resolve();
        },
        extents: async (offset, lengthBytes) =>
          await Promise.resolve([{ offset, lengthBytes, zero: false }]),
      },
      pagesAtRemainderOffset: start.length,
      ramSectionId: RAM_SECTION_ID,
      blocks: [{ name: RAM_BLOCK, pages: machine.pages }],
    },
    signal,
  );
}

export interface MemoryStreamReader {
  push(bytes: Uint8Array): void;
  /** Throws `protocol_error` for a stream that is not whole or not of this machine. */
  finish(): DeviceState;
  close(): void;
}

/** Writes the pages of a stream to a memory file of zeroes; `onWritten` hears of every range. */
export function readMemoryStream(options: {
  memoryPath: string;
  memoryBytes: number;
  onWritten: (offset: number, lengthBytes: number) => void;
}): MemoryStreamReader {
  const descriptor = openSync(options.memoryPath, 'r+');
  const buffers: { bytes: Uint8Array }[] = [];
  const remainder: Buffer[] = [];
  let remainderBytes = 0;
  const parser = createStreamParser<{ bytes: Uint8Array }>({
    takeBuffer: () => buffers.pop() ?? { bytes: new Uint8Array(WINDOW_BYTES) },
    onPages({ buffer, runs, windowOffset, block, blockBytes }): void {
      if (block !== RAM_BLOCK || blockBytes !== options.memoryBytes) {
        throw notOurs(`its memory is ${block} of ${blockBytes} bytes`);
      }
      for (const { startBytes, lengthBytes } of runs) {
        writeSync(descriptor, buffer.bytes, startBytes, lengthBytes, windowOffset + startBytes);
        options.onWritten(windowOffset + startBytes, lengthBytes);
      }
      buffers.push(buffer);
    },
    onRemainder(bytes) {
      remainderBytes += bytes.length;
      if (remainderBytes > REMAINDER_BYTES_MAX) throw notOurs('its device state is too long');
      remainder.push(Buffer.from(bytes));
    },
  });
  return {
    push(bytes) {
      let rest = bytes;
      while (rest.length > 0) rest = rest.subarray(parser.push(rest));
      if (parser.problem !== null) throw notOurs(parser.problem);
    },
    finish() {
      const parsed: ParsedStream = parser.finish();
      if (!parsed.understood) throw notOurs(parsed.reason);
      return parseDeviceState(Buffer.concat(remainder));
    },
    close: () => closeSync(descriptor),
  };
}

function parseDeviceState(remainder: Buffer): DeviceState {
  const name = shortText(DEVICE_NAME);
  const at = remainder.lastIndexOf(name);
  const lengthAt = at + name.length + 8;
  if (at < 0 || lengthAt + 4 > remainder.length) throw notOurs('it has no device state');
  const lengthBytes = remainder.readUInt32BE(lengthAt);
  const text = remainder.toString('utf8', lengthAt + 4, lengthAt + 4 + lengthBytes);
  try {
    return deviceStateSchema.parse(JSON.parse(text));
  } catch (error) {
    throw notOurs(describeThrown(error), error);
  }
}

const notOurs = (why: string, cause?: unknown): OperationError =>
  new OperationError(
    'protocol_error',
    `The simulated host cannot resume from this memory stream: ${why}.`,
    { cause },
  );
