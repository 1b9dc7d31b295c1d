import type { MonitorCommand } from './qmp.ts';

export interface MonitorEvent {
  /** QMP event name, e.g. `STOP`, `RESUME`, `MIGRATION`. */
  readonly name: string;
  /** QEMU's own wall-clock time of the event, in milliseconds with microsecond fractions. */
  readonly atMs: number;
  /** Raw JSON of the event's data; empty without any. */
  readonly details: string;
}

export interface MonitorWatch {
  /** Resolves when no more events can come, because the connection is gone. */
  readonly lost: Promise<void>;
  stop(): Promise<void>;
}

/** What a capture does to one running domain: narrow, so that failures can be played in tests. */
export interface DomainControl {
  readonly monitor: MonitorCommand;
  /** The same over a connection on which nothing else can hang. */
  readonly rescueMonitor: MonitorCommand;
  suspend(): Promise<void>;
  resume(): Promise<void>;
  readXml(kind: 'live' | 'persistent' | 'memory'): Promise<string>;
  beginBackup(options: { backupXml: string; checkpointXml: string | null }): Promise<void>;
  /** Ends the backup job that serves this socket; no error when there is none, or it is another's. */
  endBackup(nbdSocketPath: string): Promise<void>;
  /** Whether a backup job is there, whoever began it. */
  hasBackup(): Promise<boolean>;
  /** Whether the guest stands still because somebody asked libvirt for that. */
  isPauseAsked(): Promise<boolean>;
  /** Whether the agent answers now, as an error when it does not. */
  pingAgent(): Promise<void>;
  /** No error when it is gone already. */
  dropCheckpoint(name: string): Promise<void>;
  /** Resolves or rejects when the agent is done with it: the caller has a shorter limit. */
  freezeFileSystems(): Promise<void>;
  thawFileSystems(timeoutMs: number): Promise<void>;
  watchMonitor(listener: (event: MonitorEvent) => void): Promise<MonitorWatch>;
}
