/** Writes migration streams byte by byte for tests, without any of the code under test. */
export interface FixtureRecord {
  readonly block: string;
  readonly page: number;
  /** Null: a zero page. */
  readonly content: Uint8Array | null;
}

export const be32 = (value: number): Buffer => {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32BE(value);
  return bytes;
};

export const be64 = (value: number): Buffer => {
  const bytes = Buffer.alloc(8);
  bytes.writeBigUInt64BE(BigInt(value));
  return bytes;
};

const named = (name: string): Buffer => Buffer.concat([Buffer.of(name.length), Buffer.from(name)]);

export const RAM_ID = 2;

export function fixtureHead(machine = 'pc-i440fx-7.2'): Buffer {
  return Buffer.concat([
    Buffer.from('QEVM'),
    be32(3), // version
    Buffer.of(0x07), // configuration
    be32(machine.length),
    Buffer.from(machine),
  ]);
}

export function fixtureRamStart(blocks: ReadonlyMap<string, number>): Buffer {
  const total = [...blocks.values()].reduce((sum, bytes) => sum + bytes, 0);
  return Buffer.concat([
    Buffer.of(0x01), // section start
    be32(RAM_ID),
    named('ram'),
    be32(0), // instance
    be32(4), // version
    be64(total + 0x04), // total size, MEM_SIZE flag
    ...[...blocks].flatMap(([name, bytes]) => [named(name), be64(bytes)]),
    be64(0x10), // end of section
    Buffer.of(0x7e), // footer
    be32(RAM_ID),
  ]);
}

/** One part (or, as type 3, the end) of the RAM section; returns the last block for what follows. */
export function fixtureRamPart(
  type: 2 | 3,
  records: readonly FixtureRecord[],
  lastBlock: string | null,
): { bytes: Buffer; lastBlock: string | null } {
  const pieces: Buffer[] = [Buffer.of(type), be32(RAM_ID)];
  let last = lastBlock;
  for (const { block, page, content } of records) {
    const flags = (content === null ? 0x02 : 0x08) + (block === last ? 0x20 : 0);
    pieces.push(be64(page * 4096 + flags));
    if (block !== last) pieces.push(named(block));
    pieces.push(content === null ? Buffer.of(0) : Buffer.from(content));
    last = block;
  }
  pieces.push(be64(0x10), Buffer.of(0x7e), be32(RAM_ID));
  return { bytes: Buffer.concat(pieces), lastBlock: last };
}

export function fixtureTail(): Buffer {
  const description = Buffer.from('{"page_size": 4096, "devices": []}');
  return Buffer.concat([
    Buffer.of(0x04), // full section of a device
    be32(7),
    named('timer'),
    be32(0),
    be32(2),
    Buffer.from('some device state \0\x06\0\0\0\x02{}', 'latin1'),
    Buffer.of(0x7e),
    be32(7),
    Buffer.of(0x00), // end of file
    Buffer.of(0x06), // description
    be32(description.length),
    description,
  ]);
}

export interface FixtureStream {
  readonly blocks: ReadonlyMap<string, number>;
  readonly parts: readonly (readonly FixtureRecord[])[];
  /** As background snapshots are: the RAM section never ends. */
  readonly endless?: boolean;
}

export function fixtureStream({ blocks, parts, endless = false }: FixtureStream): Buffer {
  const pieces = [fixtureHead(), fixtureRamStart(blocks)];
  let last: string | null = null;
  for (const [index, records] of parts.entries()) {
    const part = fixtureRamPart(index === parts.length - 1 && !endless ? 3 : 2, records, last);
    pieces.push(part.bytes);
    last = part.lastBlock;
  }
  return Buffer.concat([...pieces, fixtureTail()]);
}

/** What the receiving machine's memory holds in the end. */
export function fixtureMemory({ blocks, parts }: FixtureStream): Map<string, Buffer> {
  const memory = new Map([...blocks].map(([name, bytes]) => [name, Buffer.alloc(bytes)]));
  for (const { block, page, content } of parts.flat()) {
    const target = memory.get(block);
    if (content === null) target?.fill(0, page * 4096, (page + 1) * 4096);
    else target?.set(content, page * 4096);
  }
  return memory;
}
