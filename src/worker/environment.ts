import type { Catalog } from '../control-plane/database/catalog.ts';
import type { Repository } from '../data-plane/chunk-repository/repository.ts';
import type { HypervisorDriver } from '../data-plane/hypervisor/driver.ts';
import type { Clock } from '../shared/clock.ts';
import type { Logger } from '../shared/logger.ts';

export interface WorkerSettings {
  /** Copy-before-write files and memory spools; on a file system with room, never the repository's. */
  readonly scratchFolder: string;
  /** A capture is given up before the scratch file system has less than this free. */
  readonly scratchFloorBytes: number;
  readonly repositoryFloorBytes: number;
  readonly repositoryFolder: string;
  /** Sockets of our NBD servers. */
  readonly runtimeFolder: string;
  /** Where new VMs get their images when the request names no folder. */
  readonly imageFolder: string;
  /** Exports go below one of these and nowhere else. */
  readonly exportFolders: readonly string[];
  readonly freezeDeadlineMs: number;
  readonly jobsAtOnce: number;
}

/** What every job of one worker works with. */
export interface WorkerEnvironment {
  readonly hostId: string;
  readonly toolVersion: string;
  readonly catalog: Catalog;
  readonly driver: HypervisorDriver;
  readonly repository: Repository;
  readonly settings: WorkerSettings;
  readonly clock: Clock;
  readonly logger: Logger;
}
