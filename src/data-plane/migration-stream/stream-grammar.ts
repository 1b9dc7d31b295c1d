import { type ByteFeed, type Starved, take, takeMore } from './byte-feed.ts';
import { NotUnderstood } from './not-understood.ts';
import type { PageBuffer, PageWindows } from './page-windows.ts';
import { parseRamRecords, type RamProgress } from './ram-section.ts';
import type { RemainderOutput } from './remainder-output.ts';
import { RAM_SECTION_NAME, RAM_SECTION_VERSION, readUint32, SECTION } from './stream-format.ts';
import { parseConfigurationSubsection, parseHead } from './stream-head.ts';

/** Sent since QEMU 10.0 before the last pages; it says nothing that matters to us. */
const SWITCHOVER_START = 11;

export interface StreamBlock {
  readonly name: string;
  readonly lengthBytes: number;
  /** Its pages went through `onPages`; those of other blocks are in the remainder. */
  readonly paged: boolean;
}

export interface StreamOutcome {
  machineType: string;
  /** -1 before the RAM section started. */
  ramSectionId: number;
  pagesAtRemainderOffset: number;
  hasParts: boolean;
  readonly progress: RamProgress;
}

interface Grammar<B extends PageBuffer> {
  readonly feed: ByteFeed;
  readonly windows: PageWindows<B>;
  readonly output: RemainderOutput;
  readonly outcome: StreamOutcome;
  readonly pagedBlockMinBytes: number;
}

export function createOutcome(): StreamOutcome {
  return {
    machineType: '',
    ramSectionId: -1,
    pagesAtRemainderOffset: -1,
    hasParts: false,
    progress: { listedBytes: -1, blocks: new Map(), lastBlock: null, pages: 0, zeroPages: 0 },
  };
}

export function describeOutcome(outcome: StreamOutcome): {
  machineType: string;
  blocks: StreamBlock[];
  ramSectionId: number;
  pagesAtRemainderOffset: number;
  pages: number;
  zeroPages: number;
} {
  const { machineType, ramSectionId, pagesAtRemainderOffset, progress } = outcome;
  const blocks = [...progress.blocks.values()].map(({ name, lengthBytes, paged }) => ({
    name,
    lengthBytes,
    paged: paged !== null,
  }));
  const { pages, zeroPages } = progress;
  return { machineType, blocks, ramSectionId, pagesAtRemainderOffset, pages, zeroPages };
}

/** Everything up to the end of the RAM section; what follows is the state of the devices. */
export function* parseStream<B extends PageBuffer>(
  grammar: Grammar<B>,
): Generator<Starved, void, void> {
  const { feed, output, outcome } = grammar;
  outcome.machineType = yield* parseHead(feed, output.emit);
  for (;;) {
    const type = (yield* take(feed, 1))[0];
    if (type === SECTION.subsection && outcome.ramSectionId < 0) {
      yield* parseConfigurationSubsection(feed, output.emit);
    } else if (type === SECTION.command) yield* parseCommand(grammar);
    else if (type === SECTION.start) yield* parseRamStart(grammar);
    else if (type === SECTION.part) yield* parseRamPart(grammar);
    else if (type === SECTION.end) {
      yield* parseRamPart(grammar);
      return;
    } else if (type === SECTION.full && outcome.hasParts) {
      // A background snapshot never ends the RAM section: devices follow its last part.
      checkPagesCame(outcome.progress);
      output.emit(feed.item());
      return;
    } else throw new NotUnderstood(`a section of type ${type} before the end of the memory`);
  }
}

function* parseCommand<B extends PageBuffer>({
  feed,
  output,
}: Grammar<B>): Generator<Starved, void, void> {
  const argument = readUint32(yield* takeMore(feed, 4), 1);
  const command = argument >>> 16;
  const lengthBytes = argument & 0xffff;
  // The others need a peer that answers (1, 2) or change what follows (postcopy, COLO).
  if (command !== SWITCHOVER_START || lengthBytes !== 0) {
    throw new NotUnderstood(`migration command ${command}`);
  }
  output.emit(feed.item());
}

function* parseRamStart<B extends PageBuffer>(grammar: Grammar<B>): Generator<Starved, void, void> {
  const { feed, output, outcome } = grammar;
  const nameBytes = (yield* takeMore(feed, 5))[5] ?? 0;
  const bytes = yield* takeMore(feed, nameBytes + 8);
  const name = Buffer.from(bytes.subarray(6, 6 + nameBytes)).toString('latin1');
  const version = readUint32(bytes, 10 + nameBytes);
  if (name !== RAM_SECTION_NAME) {
    throw new NotUnderstood(`the section ${JSON.stringify(name)} beside the memory`);
  }
  if (outcome.ramSectionId >= 0) throw new NotUnderstood('a second RAM section');
  if (version !== RAM_SECTION_VERSION) throw new NotUnderstood(`RAM section version ${version}`);
  outcome.ramSectionId = readUint32(bytes, 1);
  output.emit(bytes);
  yield* parseRecords(grammar);
  output.emit(feed.item());
  if (outcome.progress.listedBytes < 0) throw new NotUnderstood('no list of blocks');
  outcome.pagesAtRemainderOffset = output.totalBytes();
}

function* parseRamPart<B extends PageBuffer>(grammar: Grammar<B>): Generator<Starved, void, void> {
  const { feed, output, outcome } = grammar;
  const header = yield* takeMore(feed, 4);
  const isEnd = header[0] === SECTION.end;
  if (outcome.ramSectionId < 0 || readUint32(header, 1) !== outcome.ramSectionId) {
    throw new NotUnderstood('a section that did not start');
  }
  outcome.hasParts = true;
  output.hold(Uint8Array.from(header));
  yield* parseRecords(grammar);
  if (isEnd) checkPagesCame(outcome.progress);
  // A part that only had pages of paged blocks leaves nothing behind; the end is always kept.
  if (isEnd || !output.dropHeld()) output.emitInSection(feed.item());
}

/** Leaves the section's end mark and footer as the feed's item. */
function* parseRecords<B extends PageBuffer>(grammar: Grammar<B>): Generator<Starved, void, void> {
  const { feed, windows, output, outcome, pagedBlockMinBytes } = grammar;
  yield* parseRamRecords({
    feed,
    windows,
    progress: outcome.progress,
    pagedBlockMinBytes,
    emit: output.emit,
    emitRecord: output.emitInSection,
  });
  const end = yield* takeMore(feed, 5);
  if (end[8] !== SECTION.footer || readUint32(end, 9) !== outcome.ramSectionId) {
    throw new NotUnderstood('a RAM section without its footer');
  }
}

/** Pages can travel on channels of their own (multifd), which leaves no trace in this one. */
function checkPagesCame({ pages, zeroPages, listedBytes }: RamProgress): void {
  if (listedBytes > 0 && pages + zeroPages === 0) {
    throw new NotUnderstood('memory without any page, as if they travelled on another channel');
  }
}
