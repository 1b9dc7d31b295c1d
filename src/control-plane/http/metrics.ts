import { collectDefaultMetrics, Counter, Gauge, Histogram, Registry } from 'prom-client';
import type { FleetNumbers } from '../operations/health.ts';

export interface Metrics {
  observeCall(call: { operation: string; status: number; durationMs: number }): void;
  /** The text that Prometheus reads. */
  render(numbers: FleetNumbers): Promise<{ contentType: string; text: string }>;
}

export function createMetrics(): Metrics {
  const registry = new Registry();
  const registers = [registry];
  collectDefaultMetrics({ register: registry, prefix: 'komadori_server_' });
  const calls = new Histogram({
    name: 'komadori_http_call_duration_seconds',
    help: 'How long HTTP calls took.',
    labelNames: ['operation', 'status'] as const,
    buckets: [0.005, 0.02, 0.1, 0.5, 2, 10],
    registers,
  });
  const errors = new Counter({
    name: 'komadori_http_server_errors_total',
    help: 'HTTP calls that were answered with a status of 500 or more.',
    labelNames: ['operation'] as const,
    registers,
  });
  const jobs = new Gauge({
    name: 'komadori_jobs',
    help: 'Jobs by state.',
    labelNames: ['state'] as const,
    registers,
  });
  const snapshots = new Gauge({
    name: 'komadori_snapshots',
    help: 'Snapshots by state.',
    labelNames: ['state'] as const,
    registers,
  });
  const hosts = new Gauge({
    name: 'komadori_host_last_seen_timestamp_seconds',
    help: 'When the worker of a host reported last.',
    labelNames: ['host'] as const,
    registers,
  });
  const audit = new Gauge({
    name: 'komadori_audit_events',
    help: 'Events in the audit trail.',
    registers,
  });
  return {
    observeCall: ({ operation, status, durationMs }) => {
      calls.observe({ operation, status: String(status) }, durationMs / 1000);
      if (status >= 500) errors.inc({ operation });
    },
    render: async (numbers) => {
      for (const gauge of [jobs, snapshots, hosts, audit]) gauge.reset();
      for (const [state, count] of numbers.jobs) jobs.set({ state }, count);
      for (const [state, count] of numbers.snapshots) snapshots.set({ state }, count);
      for (const { name, lastSeenMs } of numbers.hosts)
        if (lastSeenMs !== null) hosts.set({ host: name }, lastSeenMs / 1000);
      if (numbers.auditSequence !== null) audit.set(numbers.auditSequence);
      return { contentType: registry.contentType, text: await registry.metrics() };
    },
  };
}
