import type {
  ConsistencyLevel,
  HostDescription,
  MemoryMode,
  QuiescePolicy,
  SnapshotKind,
  VmDescription,
} from '../../shared/inventory.ts';

/** Where an NBD export can be reached on this host. */
export interface NbdEndpoint {
  readonly socketPath: string;
  readonly exportName: string;
}

export type VmEvent =
  | { readonly kind: 'changed'; readonly vmId: string }
  | { readonly kind: 'removed'; readonly vmId: string }
  /** Events may have been missed (reconnection): list everything again. */
  | { readonly kind: 'resync' };

/**
 * Takes the memory stream as fast as it comes: `write` must return at once, because QEMU
 * lets the guest write to a page only after we took it.
 */
export interface MemorySink {
  write(bytes: Uint8Array): void;
  end(): void;
  fail(error: Error): void;
}

export interface CaptureRequest {
  readonly vmId: string;
  /** Names our checkpoint, sockets and scratch files, so that reconciliation finds them. */
  readonly captureId: string;
  readonly kind: SnapshotKind;
  /** Targets to capture, e.g. `vda`; every one must be free of obstacles. */
  readonly disks: readonly string[];
  readonly quiesce: QuiescePolicy;
  /** Only for kind `full` of a running or paused VM. */
  readonly memoryMode: MemoryMode | null;
  readonly memorySink: MemorySink | null;
  /** Existing folder on a file system with room, for copy-before-write scratch files. */
  readonly scratchFolder: string;
  /** Checkpoint of the parent snapshot: asks for a dirty map since then, where the driver has one. */
  readonly parentCheckpoint: string | null;
  /** The guest goes on after this time, whatever happens. */
  readonly freezeDeadlineMs: number;
}

export interface CapturedDisk {
  readonly target: string;
  readonly sizeBytes: number;
  readonly nbd: NbdEndpoint;
  /** NBD meta context that flags what changed since the parent checkpoint (bit 0); null: read everything. */
  readonly dirtyContext: string | null;
}

/** Bytes beside the disks that belong to the VM's state. Holds secrets: never log it. */
export interface CapturedConfiguration {
  readonly liveXml: string | null;
  readonly persistentXml: string | null;
  /** The XML a memory stream is resumed with; null without memory. */
  readonly memoryXml: string | null;
  readonly nvram: Uint8Array | null;
  /** The TPM's state folder as one JSON archive (see docs/repository-format.md). */
  readonly tpmState: Uint8Array | null;
}

export interface PausePhase {
  readonly name: string;
  readonly durationMs: number;
}

export interface CaptureSession {
  readonly level: ConsistencyLevel;
  /** Why this level and not a better one. */
  readonly levelReason: string;
  readonly capturedAt: Date;
  /** How long the guest stood still, measured; 0 when it did not. */
  readonly pauseMs: number;
  readonly pausePhases: readonly PausePhase[];
  readonly memoryMode: MemoryMode | null;
  readonly vm: VmDescription;
  readonly configuration: CapturedConfiguration;
  readonly disks: readonly CapturedDisk[];
  /** Name of the checkpoint made with this capture; null where none could be made. */
  readonly checkpoint: string | null;
  /** Resolves when the memory stream was given to the sink completely; at once without memory. */
  readonly memoryDone: Promise<void>;
  /** Aborts when the capture's data became invalid, e.g. the VM stopped, or an offline VM started. */
  readonly invalidated: AbortSignal;
  /** Asked after the last byte was read: throws `guest_changed` when what was read is not of one instant. */
  checkStillValid(): Promise<void>;
  /**
   * Ends the backup job and the memory stream, removes scratch and sockets, keeps or drops the
   * checkpoint. Never throws for what is already gone; may be called twice.
   */
  end(outcome: { keepCheckpoint: boolean }): Promise<void>;
}

/** One disk image to be written from an NBD export. */
export interface DiskPlacement {
  readonly target: string;
  readonly source: NbdEndpoint;
  readonly sizeBytes: number;
  readonly path: string;
  readonly format: 'qcow2' | 'raw';
  /** True for block devices: the content is overwritten, not swapped. */
  readonly inPlace: boolean;
}

/**
 * What a restore puts on the host, as plain data: it is stored with the job, so that any process
 * can finish or undo it after a crash.
 */
export interface StagedRestore {
  readonly vmId: string;
  readonly restoreId: string;
  /** Files: the new content waits at `stagedPath`; the old one moves to `asidePath` during the swap. */
  readonly files: readonly {
    readonly path: string;
    readonly stagedPath: string;
    readonly asidePath: string;
    /** False when nothing is at `path` yet (a new VM). */
    readonly replaces: boolean;
    /** Identity of the staged file once it is written: undo removes this very file and no other. */
    readonly inode: string | null;
  }[];
  /** TPM state: a folder staged beside the VM's own; null without. */
  readonly tpm: {
    readonly path: string;
    readonly stagedPath: string;
    readonly asidePath: string;
  } | null;
  /** Block devices: their content is overwritten at commit, when the VM is off. */
  readonly inPlace: readonly DiskPlacement[];
  readonly newXml: string;
  /** The definition to go back to; null for a new VM. */
  readonly oldXml: string | null;
}

export interface RestoreRequest {
  readonly vmId: string;
  readonly restoreId: string;
  readonly disks: readonly DiskPlacement[];
  readonly nvram: Uint8Array | null;
  readonly tpmState: Uint8Array | null;
  /** The persistent definition the VM gets. */
  readonly xml: string;
  /** The VM's identity when this makes a new VM instead of rolling one back. */
  readonly isNewVm: boolean;
}

export interface CloneRequest {
  readonly configuration: Pick<CapturedConfiguration, 'persistentXml' | 'liveXml' | 'memoryXml'>;
  readonly newVmId: string;
  readonly newName: string;
  readonly linksDown: boolean;
  readonly imageFolder: string;
  /** Targets that the snapshot holds; other disks are left out of the clone. */
  readonly diskTargets: readonly string[];
}

export interface ClonePlan {
  readonly xml: string;
  readonly memoryXml: string | null;
  readonly disks: readonly Pick<DiskPlacement, 'target' | 'path' | 'format' | 'inPlace'>[];
}

export interface RollbackRequest {
  readonly vmId: string;
  readonly configuration: Pick<CapturedConfiguration, 'persistentXml' | 'liveXml' | 'memoryXml'>;
  readonly diskTargets: readonly string[];
}

/** One connection to one host's hypervisor. Every call may throw OperationError `hypervisor_unreachable`. */
export interface HypervisorDriver {
  describeHost(signal?: AbortSignal): Promise<HostDescription>;
  /** Quick whatever state the VMs are in: one that hangs can be looked at apart from the others. */
  listVmIds(signal?: AbortSignal): Promise<string[]>;
  listVms(signal?: AbortSignal): Promise<VmDescription[]>;
  /** Throws `not_found`. */
  describeVm(vmId: string, signal?: AbortSignal): Promise<VmDescription>;
  watchVms(listener: (event: VmEvent) => void): Promise<{ close(): Promise<void> }>;

  /** On failure everything it began is undone and the guest runs as before. */
  beginCapture(request: CaptureRequest, signal?: AbortSignal): Promise<CaptureSession>;
  /**
   * Ends what a dead process of ours left on this VM: pause, freeze, stream, backup job, checkpoint,
   * sockets. A VM that did not run before the capture stays as it is. Idempotent.
   */
  reconcileCapture(capture: {
    vmId: string;
    captureId: string;
    wasRunning: boolean;
  }): Promise<void>;
  dropCheckpoint(vmId: string, checkpoint: string): Promise<void>;

  /** Pure planning: which definition and paths a restore will use. */
  planRollback(request: RollbackRequest, signal?: AbortSignal): Promise<ClonePlan>;
  planClone(request: CloneRequest): ClonePlan;
  /**
   * Writes new content beside the old; the VM is not touched and may run. `onPlanned` is awaited
   * before the first effect, so that the caller can store what `undoRestore` will need.
   */
  stageRestore(
    request: RestoreRequest,
    onPlanned: (staged: StagedRestore) => Promise<void>,
    signal?: AbortSignal,
  ): Promise<StagedRestore>;
  /**
   * Puts staged content in place and defines the VM, which must be off. Idempotent.
   * In-place disks are read from their NBD source now; undoing them needs a snapshot of before.
   */
  commitRestore(staged: StagedRestore, signal?: AbortSignal): Promise<void>;
  /** Removes what `stageRestore` wrote, while the VM goes on untouched. Idempotent. */
  discardStaged(staged: StagedRestore): Promise<void>;
  /** Stops the VM and brings back what was before, from any point of the commit. Idempotent. */
  undoRestore(staged: StagedRestore): Promise<void>;
  /** Removes what commitRestore set aside. Idempotent. */
  discardReplaced(staged: StagedRestore): Promise<void>;

  /** Overwrites whole disks of a VM that is off, e.g. to bring a block device back to a safety snapshot. */
  overwriteDisks(disks: readonly DiskPlacement[], signal?: AbortSignal): Promise<void>;
  /** Writes an image file outside any VM (an export) and makes it durable. The path must not exist. */
  writeImageFile(
    image: { source: NbdEndpoint; path: string; format: 'qcow2' | 'raw' },
    signal?: AbortSignal,
  ): Promise<void>;

  /** Starts the VM from a memory stream; `writeStream` writes all of it and then resolves. */
  resumeFromMemory(
    request: {
      vmId: string;
      memoryXml: string;
      paused: boolean;
      /** Pulls every network cable before the guest runs: the stream holds them as they were. */
      linksDown: boolean;
    },
    writeStream: (write: (bytes: Uint8Array) => Promise<void>) => Promise<void>,
    signal?: AbortSignal,
  ): Promise<void>;
  /** No error when it runs; when it is just being stopped, it is started after that. */
  startVm(vmId: string, options: { paused: boolean }, signal?: AbortSignal): Promise<void>;
  /** Pulls the plug; resolves when the VM is off. No error when it is off already. */
  stopVm(vmId: string, signal?: AbortSignal): Promise<void>;
  removeVm(vmId: string, signal?: AbortSignal): Promise<void>;
  close(): Promise<void>;
}
