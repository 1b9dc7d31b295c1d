import path from 'node:path';
import type { Clock } from '../../../shared/clock.ts';
import type { HostDescription } from '../../../shared/inventory.ts';
import type { Logger } from '../../../shared/logger.ts';
import type { SimulationStore } from './simulation-store.ts';

export interface SimulationContext {
  readonly folder: string;
  readonly store: SimulationStore;
  readonly clock: Clock;
  readonly logger: Logger;
  readonly host: HostDescription;
}

export const imageFolderOf = (folder: string): string => path.join(folder, 'images');
export const nvramFolderOf = (folder: string): string => path.join(folder, 'nvram');
export const memoryFolderOf = (folder: string): string => path.join(folder, 'memory');
export const tpmFolderOf = (folder: string, vmId: string): string => path.join(folder, 'tpm', vmId);
